"""Lesions: does the focal map find what was drawn, voxel by voxel, against raw intensity?

    python -m models.evaluation.lesions mr-brain-flair ../shared/data

Inside the brain that the bundle finds, on the source grid, a patient at a time. The floor is the
FLAIR intensity itself, as a robust z, smoothed by one voxel in-plane.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.metrics import average_precision_score, roc_auc_score

from models.detector import load
from models.errors import NotAssessable
from models.features.detector import FeaturesDetector
from models.registry import Registry
from models.training.recipes import RECIPES
from models.training.sources import Scan

_RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Localisation:
    """One patient's figures: average precision and AUROC of the map and of the floor."""

    patient: str
    prevalence: float
    map_ap: float
    map_auroc: float
    floor_ap: float
    floor_auroc: float
    hit: bool
    """Whether the region of largest mass touches the lesion."""


def localise(detector: FeaturesDetector, scan: Scan) -> Localisation | None:
    """Return how well the map finds the lesion of a scan; None where no lesion lies in the brain.

    Raises:
        NotAssessable: if the scan cannot be judged.
    """
    prepared = detector.sampled(scan.volume)
    brain = prepared.to_source(prepared.brain.astype(np.float32)) > 0.5
    lesion = scan.lesion & brain
    if not lesion.any():
        return None
    finding = detector.detect(scan.volume)
    inside = scan.volume.array[brain]
    middle = np.median(inside)
    spread = np.median(np.abs(inside - middle))
    floor = ndimage.gaussian_filter((scan.volume.array - middle) / spread, (0, 1, 1))
    truth = lesion[brain]
    first = finding.regions[0] if finding.regions else None
    return Localisation(
        scan.name,
        float(truth.mean()),
        *_figures(truth, finding.map[brain]),
        *_figures(truth, np.asarray(floor[brain], dtype=np.float32)),
        first is not None
        and bool(
            scan.lesion[
                tuple(
                    slice(start, start + size)
                    for start, size in zip(first.mask_offset, first.mask.shape, strict=True)
                )
            ][first.mask].any()
        ),
    )


def _figures(truth: NDArray[np.bool_], score: NDArray[np.float32]) -> tuple[float, float]:
    return float(average_precision_score(truth, score)), float(roc_auc_score(truth, score))


def _mean(values: Sequence[float]) -> str:
    """Return the mean over patients with a bootstrap interval."""
    array = np.asarray(values)
    generator = np.random.default_rng(0)
    draws = generator.choice(array, (_RESAMPLES, len(array))).mean(axis=1)
    low, high = np.quantile(draws, (0.025, 0.975))
    return f"{array.mean():.2f} ({low:.2f}-{high:.2f})"


def measure(name: str, data: Path) -> dict[str, Any]:
    """Return the means over the development patients, as text with intervals."""
    info = next(info for info in Registry().bundles() if info.name == name)
    detector = cast("FeaturesDetector", load(info, "cpu"))
    found: list[Localisation] = []
    for scan in RECIPES[name].read(data, "dev"):
        try:
            one = localise(detector, scan)
        except NotAssessable:
            continue
        if one is not None:
            found.append(one)
    return {
        "what": f"voxels of the brain, {len(found)} development patients, mean over patients "
        "with 95 % bootstrap interval",
        "prevalence": _mean([one.prevalence for one in found]),
        "map_ap": _mean([one.map_ap for one in found]),
        "map_auroc": _mean([one.map_auroc for one in found]),
        "intensity_floor_ap": _mean([one.floor_ap for one in found]),
        "intensity_floor_auroc": _mean([one.floor_auroc for one in found]),
        "first_region_touches_lesion": f"{sum(one.hit for one in found)} of {len(found)}",
    }


if __name__ == "__main__":
    torch.set_num_threads(2)
    for key, value in measure(sys.argv[1], Path(sys.argv[2])).items():
        sys.stdout.write(f"{key}: {value}\n")
