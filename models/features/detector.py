"""The `features` detector: a bundle's reference put to one scan, answered as a Finding."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models import brain_extraction
from models.brain_extraction import BrainNet
from models.calibration import Surprise, conformal_p_value, standardised
from models.errors import ModelError
from models.features import backbone, model
from models.features.backbone import Backbone
from models.features.config import FeaturesConfig
from models.features.model import Description, Reference
from models.features.prepare import Prepared, normalised, sampled
from models.finding import Finding, Level
from models.grid import interpolate
from models.regions import regions
from models.registry import SHARED_WEIGHTS, BundleInfo
from models.tensors import read_tensors, take
from models.volume import Volume

WEIGHTS = "features.safetensors"
NETWORKS = ("brain-extraction", "efficientnet-lite0")
"""Shared weights that the detector needs."""
MAP_UNIT = "decades of surprise: 3 = reached by 1 in 1,000 normal voxels"
QUESTIONS = {
    "global": "Does the whole image look like the reference scans: sharpness, texture, contrast?",
    "focal": "Is any place in the brain unlike every reference brain at that place?",
}


@dataclass(frozen=True, slots=True)
class Calibration:
    """Leave-one-subject-out scores of the reference subjects.

    Attributes:
        scores: level -> one score a subject, in the same order of subjects.
        description: which subjects, how many, from where.
        map_threshold: surprise above which a voxel belongs to a region.
        deciding: the levels that decide.
    """

    scores: Mapping[str, tuple[float, ...]]
    description: str
    map_threshold: float
    deciding: tuple[str, ...]

    def combined(self, scores: Mapping[str, float]) -> float:
        """Return the deciding score: the largest standardised score of the deciding levels.

        It is one score, calibrated as one, so one p-value holds for it without a correction for
        the number of levels.
        """
        return max(standardised(scores[name], self.scores[name]) for name in self.deciding)

    @property
    def combined_scores(self) -> tuple[float, ...]:
        """The deciding score of every calibration subject."""
        count = len(next(iter(self.scores.values())))
        return tuple(
            self.combined({name: values[index] for name, values in self.scores.items()})
            for index in range(count)
        )

    @property
    def digest(self) -> str:
        """SHA-256 of the calibration scores."""
        text = json.dumps({name: list(values) for name, values in sorted(self.scores.items())})
        return hashlib.sha256(text.encode()).hexdigest()


def load(info: BundleInfo, device: str) -> FeaturesDetector:
    """Return the detector of a bundle; see `models.detector.load`."""
    files = {path.name: (path, sha) for path, sha in info.weight_files().items()}
    shared = info.manifest["shared_weights"]
    try:
        path, sha = files[WEIGHTS]
        config = FeaturesConfig.from_dict(info.manifest["preprocessing"])
        scores = {
            name: tuple(float(value) for value in values)
            for name, values in info.manifest["calibration"]["scores"].items()
        }
        calibration = Calibration(
            scores,
            str(info.manifest["calibration"]["description"]),
            float(info.manifest["calibration"]["map_threshold"]),
            config.deciding,
        )
        networks = {
            name: read_tensors(SHARED_WEIGHTS / name / "weights.safetensors", shared[name])
            for name in NETWORKS
        }
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"bundle {info.name}: the manifest is incomplete ({error!r})") from error
    if set(scores) != set(QUESTIONS) or len({len(values) for values in scores.values()}) != 1:
        raise ModelError(f"bundle {info.name}: the calibration scores are incomplete")
    tensors = read_tensors(path, sha)
    return FeaturesDetector(
        info,
        config,
        calibration,
        reference_from(tensors, config),
        surprise_from(tensors),
        backbone.from_weights(networks["efficientnet-lite0"]).to(device),
        brain_extraction.from_weights(networks["brain-extraction"]).to(device),
    )


def reference_from(tensors: Mapping[str, Tensor], config: FeaturesConfig) -> Reference:
    """Return the reference in a bundle's weights, shapes checked."""
    channels = sum(backbone.BLOCKS[block].channels_out for block in config.blocks)
    pooled = backbone.BLOCKS[config.global_block].channels_out
    return Reference(
        take(tensors, "level_mean", (config.levels, pooled)),
        take(tensors, "precision", (pooled, pooled)),
        take(tensors, "patch_mean", (channels + 1,)),
        take(tensors, "patch_scale", (channels + 1,)),
        take(tensors, "memory", (None, channels + 4)),
    )


def surprise_from(tensors: Mapping[str, Tensor]) -> Surprise:
    """Return the surprise scale in a bundle's weights, shapes checked."""
    distances = take(tensors, "surprise_distances", (None,)).numpy()
    decades = take(tensors, "surprise_decades", (len(distances),)).numpy()
    return Surprise(distances, decades)


class FeaturesDetector:
    """`models.detector.Detector` over frozen image features."""

    def __init__(
        self,
        info: BundleInfo,
        config: FeaturesConfig,
        calibration: Calibration,
        reference: Reference,
        surprise: Surprise,
        network: Backbone,
        extractor: BrainNet,
    ) -> None:
        self._info = info
        self._config = config
        self.calibration = calibration
        self._reference = reference
        self._surprise = surprise
        self._network = network
        self._extractor = extractor

    def detect(self, volume: Volume) -> Finding:
        """Return how far `volume` departs from the reference; see `models.detector.Detector`."""
        clock = _Clock()
        found = self.sampled(volume)
        prepared = normalised(found, self._config)
        clock.lap("prepare")
        with torch.inference_mode():
            description = model.describe(prepared, self._network, self._config)
            clock.lap("features")
            distances = model.focal_distances(description, self._reference, self._config)
        clock.lap("distances")
        scores = {
            "global": model.global_score(description, self._reference),
            "focal": model.focal_score(distances, self._config),
        }
        surprise = surprise_map(
            prepared, description, self._surprise(distances.numpy()), self._config
        )
        clock.lap("map")
        threshold = self.calibration.map_threshold
        places = regions(volume, surprise, threshold, self._config.smallest_region_ml * 1000)
        clock.lap("regions")
        combined = self.calibration.combined(scores)
        return Finding(
            score=combined,
            p_value=conformal_p_value(combined, self.calibration.combined_scores),
            levels=tuple(self._level(name, scores[name]) for name in QUESTIONS),
            map=surprise,
            map_unit=MAP_UNIT,
            map_threshold=threshold,
            map_maximum=float(self._surprise.decades[-1]),
            regions=places,
            display_window=_display_window(found),
            detector=self._info.detector,
            profile=self._info.name,
            bundle_version=self._info.version,
            model_digest=self._info.digest,
            calibration_digest=self.calibration.digest,
            calibration_description=self.calibration.description,
            milliseconds=clock.milliseconds,
        )

    def sampled(self, volume: Volume) -> Prepared:
        """Return `volume` on the working grid, intensities as they are."""
        return sampled(volume, self._config, self._extractor)

    def _level(self, name: str, score: float) -> Level:
        calibration = self.calibration.scores[name]
        return Level(
            name=name,
            question=QUESTIONS[name],
            score=score,
            p_value=conformal_p_value(score, calibration),
            calibration_size=len(calibration),
            calibration_median=float(np.median(calibration)),
        )


def surprise_map(
    prepared: Prepared,
    description: Description,
    decades: NDArray[np.float32],
    config: FeaturesConfig,
) -> NDArray[np.float32]:
    """Return the patches' surprise on the source grid, (slices, rows, columns); 0 outside."""
    cells = np.zeros(description.inside.shape, dtype=np.float32)
    cells[description.inside] = decades
    stride = backbone.STRIDES[config.blocks[0]]
    for axis, size in ((1, config.rows), (2, config.columns)):
        # Cell j of a block of stride s lies at pixel s (j + 1) - 1; see `models.features.model`.
        cells = interpolate(cells, axis, (np.arange(size) + 1.0) / stride - 1.0)
    cells *= prepared.brain
    return prepared.to_source(cells)


def _display_window(found: Prepared) -> tuple[float, float]:
    """Return (centre, width) from the darkest of the image to a little over its brightest brain."""
    step = tuple(slice(None, None, max(1, size // 128)) for size in found.source.array.shape)
    sample = found.source.array[step]
    low = float(np.quantile(sample, 0.001))
    high = low + 1.1 * (float(found.quantiles()[-1]) - low)
    return (low + high) / 2, max(high - low, 1e-6)


class _Clock:
    """Milliseconds of each step since the last."""

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.milliseconds[name] = (now - self._last) * 1000
        self._last = now
