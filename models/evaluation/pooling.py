"""Pooled voxel measures with an interval over patients.

Voxels of one patient are not independent, so the interval comes from resampling patients, never
voxels. For speed the resamples work on at most `BINS` bins of the pooled scores, each with about
the same share of voxels inside and outside lesions; the estimate itself is not binned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from models.evaluation.intervals import RESAMPLES, Figure, percentile
from models.evaluation.measures import (
    LIMIT,
    Tally,
    VoxelMeasures,
    area_to,
    average_precision,
    curves,
    measured,
    merged,
)

BINS = 2048


@dataclass(frozen=True, slots=True)
class VoxelFigures:
    """The voxel measures of `measures.VoxelMeasures`, each with its interval over patients."""

    auroc: Figure
    auroc30: Figure
    ap: Figure
    aupro: Figure
    aupro30: Figure
    best_dice: Figure


def pooled(
    whole: Tally, patients: Sequence[Tally], seed: int = 0, resamples: int = RESAMPLES
) -> VoxelFigures:
    """Return the measures of `whole` with percentile intervals from resampled patients.

    Args:
        whole: the tally of all scans.
        patients: one tally a patient, coarsened alike; only the intervals use them.
        seed: of the resampling.
        resamples: how many.
    """
    value = measured(whole)
    draws = _draws(patients, seed, resamples)
    return VoxelFigures(
        *(
            percentile(getattr(value, field.name), draws[:, column])
            for column, field in enumerate(fields(VoxelFigures))
        )
    )


def ap_difference(
    first: Sequence[Tally], second: Sequence[Tally], seed: int = 0, resamples: int = RESAMPLES
) -> Figure:
    """Return the pooled AP of one map less that of another, with its interval, paired.

    Args:
        first: one tally a patient, of the one map.
        second: of the other, the same patients in the same order.
        seed: of the resampling, which draws the same patients of both.
        resamples: how many.

    Raises:
        ValueError: if the patients differ in number.
    """
    if len(first) != len(second):
        raise ValueError("a paired comparison needs the same patients")
    column = [field.name for field in fields(VoxelFigures)].index("ap")
    draws = [_draws(one, seed, resamples)[:, column] for one in (first, second)]
    values = [measured(merged(one)).ap for one in (first, second)]
    return percentile(values[0] - values[1], draws[0] - draws[1])


def _draws(patients: Sequence[Tally], seed: int, resamples: int) -> NDArray[np.float64]:
    """Return the measures of each resample, (resamples, 6); NaN where undefined."""
    counts, regions = _binned(patients)
    generator = np.random.default_rng(seed)
    count = len(patients)
    weights = generator.multinomial(count, np.full(count, 1 / count), size=resamples)
    found = np.full((resamples, len(fields(VoxelFigures))), np.nan)
    for row, weight in enumerate(weights.astype(np.float64)):
        # (patients) @ (patients, 3 * bins) -> (3, bins)
        negatives, positives, overlap = (weight @ counts).reshape(3, -1)
        curve = curves(negatives, positives, overlap, float(weight @ regions))
        if np.isnan(curve.dice).any() or np.isnan(curve.fpr).any():
            continue
        found[row] = (
            area_to(curve.fpr, curve.tpr, 1.0),
            area_to(curve.fpr, curve.tpr, LIMIT),
            average_precision(curve),
            area_to(curve.fpr, curve.pro, 1.0),
            area_to(curve.fpr, curve.pro, LIMIT),
            float(curve.dice.max()),
        )
    return found


def _binned(patients: Sequence[Tally]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return counts (patients, 3 * bins), ascending in score, and regions (patients,)."""
    whole = merged(patients)
    share = whole.negatives / max(1, whole.negatives.sum())
    share = share + whole.positives / max(1, whole.positives.sum())
    middle = np.cumsum(share) - share / 2
    bins = np.minimum((middle / 2 * BINS).astype(np.int64), BINS - 1)
    rows: list[NDArray[np.float64]] = []
    for patient in patients:
        own = bins[np.searchsorted(whole.keys, patient.keys)]
        rows.append(
            np.concatenate(
                [
                    np.bincount(own, weight, BINS).astype(np.float64)
                    for weight in (patient.negatives, patient.positives, patient.overlap)
                ]
            )
        )
    return np.stack(rows), np.array([patient.regions for patient in patients], dtype=np.float64)


MEASURES: tuple[str, ...] = tuple(field.name for field in fields(VoxelMeasures))
"""Names of the measures of a scan."""
