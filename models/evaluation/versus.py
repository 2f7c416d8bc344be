"""One evaluated detector against another, on the patients that both assessed."""

from __future__ import annotations

from dataclasses import dataclass

from models.evaluation import grouping
from models.evaluation.comparison import Comparison, delong_test, paired_bootstrap, paired_means
from models.evaluation.intervals import RESAMPLES
from models.evaluation.record import Evaluation


@dataclass(frozen=True, slots=True)
class Versus:
    """First minus second; None where there is nothing to compare.

    Attributes:
        first: name of the first detector.
        second: name of the second.
        study: AUROC over patients, DeLong's paired test.
        study_bootstrap: the same by paired bootstrap.
        voxel_ap: mean over patients of the voxel average precision.
        voxel_aupro30: mean over patients of AU PRO30.
        dice: mean over patients of the Dice at each one's frozen threshold.
    """

    first: str
    second: str
    study: Comparison | None
    study_bootstrap: Comparison | None
    voxel_ap: Comparison | None
    voxel_aupro30: Comparison | None
    dice: Comparison | None


def against(
    first: Evaluation, second: Evaluation, seed: int = 0, resamples: int = RESAMPLES
) -> Versus:
    """Return the paired comparison of two detectors evaluated on one set."""
    common = {scan.name for scan in first.scans if not scan.refused} & {
        scan.name for scan in second.scans if not scan.refused
    }
    one = [scan for scan in first.scans if scan.name in common]
    two = [scan for scan in second.scans if scan.name in common]
    sides = [
        (
            [patient.score for patient in grouping.patients(one) if patient.category == category],
            [patient.score for patient in grouping.patients(two) if patient.category == category],
        )
        for category in sorted({patient.category for patient in grouping.patients(one)})
    ]
    has_normal = any(not patient.category for patient in grouping.patients(one))
    study = bootstrap = None
    if has_normal and len(sides) > 1:
        # Categories are sorted, so the normal patients (no category) come first.
        normal = sides[0]
        abnormal = (
            [score for side in sides[1:] for score in side[0]],
            [score for side in sides[1:] for score in side[1]],
        )
        study = delong_test(normal, abnormal)
        bootstrap = paired_bootstrap(normal, abnormal, seed, resamples)
    return Versus(
        first.detector,
        second.detector,
        study,
        bootstrap,
        paired_means(
            grouping.per_patient(one, lambda scan: scan.voxels.ap if scan.voxels else None),
            grouping.per_patient(two, lambda scan: scan.voxels.ap if scan.voxels else None),
            seed,
            resamples,
        ),
        paired_means(
            grouping.per_patient(one, lambda scan: scan.voxels.aupro30 if scan.voxels else None),
            grouping.per_patient(two, lambda scan: scan.voxels.aupro30 if scan.voxels else None),
            seed,
            resamples,
        ),
        paired_means(
            grouping.per_patient(one, lambda scan: scan.dice),
            grouping.per_patient(two, lambda scan: scan.dice),
            seed,
            resamples,
        ),
    )
