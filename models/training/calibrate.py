"""Calibration by leaving one subject out: what the reference's own scans score."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from models.calibration import Surprise
from models.features import model
from models.features.backbone import STRIDES
from models.features.config import FeaturesConfig
from models.features.model import Description
from models.training.fit import Described, fit, of, subjects

REGIONS_IN_AT_MOST = 0.1
"""About this part of the normal subjects may show a region above the map's threshold."""
_THRESHOLDS = np.arange(1.0, 4.0, 0.1)


@dataclass(frozen=True, slots=True, eq=False)
class Calibrated:
    """What the reference says of itself.

    Attributes:
        subjects: sorted; the order of every score list.
        scores: level -> one score a subject: the largest of its scans.
        surprise: distance to decades.
        map_threshold: decades; about `REGIONS_IN_AT_MOST` of the subjects have a region above.
    """

    subjects: list[str]
    scores: dict[str, list[float]]
    surprise: Surprise
    map_threshold: float


def calibrate(
    scans: Sequence[Described],
    chosen: Mapping[str, Tensor],
    config: FeaturesConfig,
    progress: Callable[[int, int], None],
) -> Calibrated:
    """Score every subject by a reference fitted without it.

    The scores are those of a model of n - 1 subjects and are used for the model of n, as the
    jackknife does (Barber et al., Predictive inference with the jackknife+, Ann Stat 2021): close
    to, but not quite, split conformal's guarantee.
    """
    names = subjects(scans)
    scores: dict[str, list[float]] = {"global": [], "focal": []}
    distances: list[list[NDArray[np.float32]]] = []
    for done, name in enumerate(names):
        progress(done, len(names))
        reference = fit([scan for scan in scans if scan.subject != name], chosen, config)
        own = of(scans, name)
        focal = [model.focal_distances(one, reference, config) for one in own]
        scores["global"].append(max(model.global_score(one, reference) for one in own))
        scores["focal"].append(max(model.focal_score(one, config) for one in focal))
        distances.append([one.numpy() for one in focal])
    progress(len(names), len(names))
    surprise = Surprise.fit([np.concatenate(own) for own in distances])
    threshold = _map_threshold(
        [
            [(one, surprise(values)) for one, values in zip(of(scans, name), own, strict=True)]
            for name, own in zip(names, distances, strict=True)
        ],
        config,
    )
    rounded = {level: [round(value, 6) for value in values] for level, values in scores.items()}
    return Calibrated(names, rounded, surprise, threshold)


def _map_threshold(
    normal: Sequence[Sequence[tuple[Description, NDArray[np.float32]]]], config: FeaturesConfig
) -> float:
    """Return the lowest threshold above which regions are rare in normal subjects."""
    for threshold in _THRESHOLDS:
        shown = [
            any(_largest_ml(one, decades > threshold, config) for one, decades in own)
            for own in normal
        ]
        if sum(shown) <= max(1, round(REGIONS_IN_AT_MOST * len(shown))):
            return round(float(threshold), 2)
    return round(float(_THRESHOLDS[-1]), 2)


def _largest_ml(description: Description, above: NDArray[np.bool_], config: FeaturesConfig) -> bool:
    """Return whether any component of the patches above is large enough to be a region."""
    cells = np.zeros(description.inside.shape, dtype=np.bool_)
    cells[description.inside] = above
    labels, count = cast("tuple[NDArray[np.int32], int]", ndimage.label(cells))
    if not count:
        return False
    side = STRIDES[config.blocks[0]] * config.pixel_mm
    cell_ml = side * side * LEVEL_SPAN_MM / config.levels / 1000.0
    return bool(np.bincount(labels.ravel())[1:].max() * cell_ml >= config.smallest_region_ml)


LEVEL_SPAN_MM = 130.0
"""Height of an adult brain over which the levels are spread."""


def stacked(surprise: Surprise) -> dict[str, Tensor]:
    """Return the surprise scale as tensors for a bundle."""
    return {
        "surprise_distances": torch.from_numpy(surprise.distances),
        "surprise_decades": torch.from_numpy(surprise.decades),
    }
