"""Voxel-level measures from a tally of scores: exact for ties, bounded in memory.

Every score is rounded down to its sign, exponent and leading bits (`FINE_BITS` of the mantissa: one
part in 32,768), which keeps the order and makes scores closer than that ties. A `Tally` holds, for
each distinct rounded score, how many voxels outside and inside a lesion have it and how much of the
mean region overlap they carry. Tallies add up, so scans stream through one at a time: at most
32,768 entries for each doubling of the score, whatever the number of voxels.

All areas use the trapezoid rule between distinct scores; average precision is the step sum
(sum of (R_n - R_{n-1}) P_n), as in scikit-learn. Where a measure is undefined (no lesion voxel, or
nothing but lesion) it is NaN.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

FINE_BITS = 15
COARSE_BITS = 10
LIMIT = 0.3
"""False-positive rate up to which AUROC30 and AU PRO30 integrate."""

_MANTISSA_BITS = 23
_SIGN = 0x80000000


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """Voxels by score.

    Attributes:
        keys: uint32, (k,), ascending: the rounded scores in an order-preserving code.
        negatives: int64, (k,): voxels outside every lesion.
        positives: int64, (k,): lesion voxels.
        overlap: float64, (k,): sum over lesion voxels of 1 / voxels of their region.
        regions: number of lesion regions.
    """

    keys: NDArray[np.uint32]
    negatives: NDArray[np.int64]
    positives: NDArray[np.int64]
    overlap: NDArray[np.float64]
    regions: int

    @property
    def voxels(self) -> int:
        """Number of voxels."""
        return int(self.negatives.sum() + self.positives.sum())

    @property
    def prevalence(self) -> float:
        """Part of the voxels that are lesion: what AP is for a score that knows nothing."""
        return float(self.positives.sum() / self.voxels) if self.voxels else float("nan")

    @property
    def scores(self) -> NDArray[np.float32]:
        """The rounded scores, float32, (k,), ascending."""
        return _decoded(self.keys)

    def coarsened(self, bits: int = COARSE_BITS) -> Tally:
        """Return the tally with only `bits` of each mantissa."""
        return _summed(
            _cut(self.keys, bits), self.negatives, self.positives, self.overlap, self.regions
        )


def tally(
    scores: NDArray[np.float32],
    lesion: NDArray[np.bool_],
    mask: NDArray[np.bool_] | None = None,
    bits: int = FINE_BITS,
) -> Tally:
    """Return the tally of one scan.

    Args:
        scores: (slices, rows, columns); larger is stranger.
        lesion: bool, like `scores`. Regions are its connected components inside the mask; voxels
            that share a face, an edge or a corner are connected.
        mask: bool, like `scores`: the voxels that count; all where None.
        bits: of the mantissa that are kept, at most 23.

    Raises:
        ValueError: if a score in the mask is NaN, or the shapes differ.
    """
    if scores.shape != lesion.shape or (mask is not None and mask.shape != scores.shape):
        raise ValueError("scores, lesion and mask must have one shape")
    inside = np.ones(scores.shape, dtype=np.bool_) if mask is None else mask
    truth = lesion & inside
    labels, count = cast(
        "tuple[NDArray[np.int32], int]",
        ndimage.label(truth, structure=np.ones((3,) * scores.ndim)),
    )
    label = labels[inside]
    values = scores[inside].astype(np.float32)
    if bool(np.isnan(values).any()):
        raise ValueError("a score in the mask is NaN")
    keys = _cut(_coded(values), bits)
    share = np.zeros(count + 1)
    sizes = np.bincount(label, minlength=count + 1)
    share[1:] = 1.0 / sizes[1:]
    positive = label > 0
    return _summed(
        keys, (~positive).astype(np.int64), positive.astype(np.int64), share[label], count
    )


def merged(tallies: Iterable[Tally]) -> Tally:
    """Return the sum of tallies; their regions stay apart. All must have the same `bits`."""
    parts = list(tallies)
    if not parts:
        nothing = np.zeros(0, dtype=np.int64)
        return Tally(nothing.astype(np.uint32), nothing, nothing, nothing.astype(np.float64), 0)
    return _summed(
        np.concatenate([part.keys for part in parts]),
        np.concatenate([part.negatives for part in parts]),
        np.concatenate([part.positives for part in parts]),
        np.concatenate([part.overlap for part in parts]),
        sum(part.regions for part in parts),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """Counts at or above each threshold, from the strictest on; the first point is (0, 0, 0).

    Attributes:
        fpr: float64, (k + 1,): part of the voxels outside every lesion that are flagged.
        tpr: float64, (k + 1,): part of the lesion voxels that are flagged.
        pro: float64, (k + 1,): mean over regions of the part flagged (per-region overlap).
        precision: float64, (k + 1,): part of the flagged voxels that are lesion; the first is that
            of the strictest threshold.
        dice: float64, (k + 1,).
    """

    fpr: NDArray[np.float64]
    tpr: NDArray[np.float64]
    pro: NDArray[np.float64]
    precision: NDArray[np.float64]
    dice: NDArray[np.float64]


def curves(
    negatives: NDArray[np.float64] | NDArray[np.int64],
    positives: NDArray[np.float64] | NDArray[np.int64],
    overlap: NDArray[np.float64],
    regions: float,
) -> Curves:
    """Return the curves of counts by ascending score, each (k,).

    Everything undefined is NaN: rates over no voxel at all.
    """
    false = np.concatenate([[0.0], np.cumsum(negatives[::-1], dtype=np.float64)])
    true = np.concatenate([[0.0], np.cumsum(positives[::-1], dtype=np.float64)])
    covered = np.concatenate([[0.0], np.cumsum(overlap[::-1])])
    nan = np.full(len(true), np.nan)
    precision = np.ones(len(true))
    flagged = true + false
    np.divide(true, flagged, out=precision, where=flagged > 0)
    if len(precision) > 1:
        precision[0] = precision[1]
    return Curves(
        fpr=false / false[-1] if false[-1] > 0 else nan,
        tpr=true / true[-1] if true[-1] > 0 else nan,
        pro=np.minimum(covered / regions, 1.0) if regions > 0 else nan,
        precision=precision,
        dice=2 * true / (flagged + true[-1]) if true[-1] > 0 else nan,
    )


@dataclass(frozen=True, slots=True)
class VoxelMeasures:
    """The measures of one tally; NaN where undefined.

    Attributes:
        auroc: area under the ROC curve.
        auroc30: (1 / 0.3) times the area to a false-positive rate of 0.3; chance is 0.15.
        ap: average precision, the area under the precision-recall curve; chance is the prevalence.
        aupro: area under mean per-region overlap against false-positive rate.
        aupro30: (1 / 0.3) times that area to 0.3; chance is 0.15.
        best_dice: the largest Dice coefficient of any threshold: what a threshold chosen on the
            truth would reach, not what the detector reaches.
        best_dice_threshold: voxels at or above it are flagged at `best_dice`.
    """

    auroc: float
    auroc30: float
    ap: float
    aupro: float
    aupro30: float
    best_dice: float
    best_dice_threshold: float


def measured(counts: Tally) -> VoxelMeasures:
    """Return the measures of a tally."""
    curve = curves(counts.negatives, counts.positives, counts.overlap, counts.regions)
    nan = float("nan")
    if not len(counts.keys) or np.isnan(curve.dice).any():
        return VoxelMeasures(nan, nan, nan, nan, nan, nan, nan)
    best = int(np.argmax(curve.dice[1:]))
    threshold = float(_decoded(counts.keys)[len(counts.keys) - 1 - best])
    return VoxelMeasures(
        auroc=area_to(curve.fpr, curve.tpr, 1.0),
        auroc30=area_to(curve.fpr, curve.tpr, LIMIT),
        ap=average_precision(curve),
        aupro=area_to(curve.fpr, curve.pro, 1.0),
        aupro30=area_to(curve.fpr, curve.pro, LIMIT),
        best_dice=float(curve.dice[1 + best]),
        best_dice_threshold=threshold,
    )


def area_to(x: NDArray[np.float64], y: NDArray[np.float64], limit: float) -> float:
    """Return (1 / limit) times the trapezoid area of `y` over ascending `x` from 0 to `limit`.

    The curve is linear between its points, so the last trapezoid is cut at the limit.
    """
    if np.isnan(x).any() or np.isnan(y).any():
        return float("nan")
    stop = int(np.searchsorted(x, limit, side="right"))
    if stop == len(x):
        return float(np.trapezoid(y, x)) / limit
    at_limit = np.interp(limit, x[stop - 1 : stop + 1], y[stop - 1 : stop + 1])
    whole = float(np.trapezoid(y[:stop], x[:stop]))
    last = float((limit - x[stop - 1]) * (y[stop - 1] + at_limit) / 2)
    return (whole + last) / limit


def average_precision(curve: Curves) -> float:
    """Return sum of (R_n - R_{n-1}) P_n."""
    return float((np.diff(curve.tpr) * curve.precision[1:]).sum())


def partial_auc_of_mcclish(standardised: float, limit: float = LIMIT) -> float:
    """Return (1 / limit) times the area to `limit` from McClish's standardised partial area M.

    scikit-learn's ``max_fpr`` gives M (McClish, Medical Decision Making 1989), which is 0.5 at
    chance; A = ((2 M - 1) (limit - limit^2 / 2)) + limit^2 / 2.
    """
    least = limit**2 / 2
    return ((2 * standardised - 1) * (limit - least) + least) / limit


@dataclass(frozen=True, slots=True)
class Confusion:
    """Voxels flagged by a fixed threshold (score above it), exactly: nothing is rounded."""

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    @property
    def dice(self) -> float:
        """Dice coefficient; NaN where there is no lesion voxel and none is flagged."""
        total = 2 * self.true_positives + self.false_positives + self.false_negatives
        return 2 * self.true_positives / total if total else float("nan")

    @property
    def fpr(self) -> float:
        """Part of the voxels outside every lesion that are flagged."""
        total = self.false_positives + self.true_negatives
        return self.false_positives / total if total else float("nan")

    def __add__(self, other: Confusion) -> Confusion:
        return Confusion(
            self.true_positives + other.true_positives,
            self.false_positives + other.false_positives,
            self.false_negatives + other.false_negatives,
            self.true_negatives + other.true_negatives,
        )


def confusion(
    scores: NDArray[np.float32],
    lesion: NDArray[np.bool_],
    mask: NDArray[np.bool_],
    threshold: float,
) -> Confusion:
    """Return the counts of voxels in `mask` whose score is above `threshold`."""
    flagged = scores[mask] > threshold
    truth = lesion[mask]
    both = int(np.count_nonzero(flagged & truth))
    flags, lesions = int(np.count_nonzero(flagged)), int(np.count_nonzero(truth))
    return Confusion(both, flags - both, lesions - both, truth.size - flags - lesions + both)


def _coded(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Return float32 as uint32 in the same order; -0 is 0."""
    bits = (values + np.float32(0.0)).view(np.uint32)
    negative = bits >= _SIGN
    return np.where(negative, ~bits, bits | np.uint32(_SIGN))


def _decoded(keys: NDArray[np.uint32]) -> NDArray[np.float32]:
    positive = keys >= _SIGN
    return np.where(positive, keys ^ np.uint32(_SIGN), ~keys).astype(np.uint32).view(np.float32)


def _cut(keys: NDArray[np.uint32], bits: int) -> NDArray[np.uint32]:
    drop = np.uint32(_MANTISSA_BITS - bits)
    return (keys >> drop) << drop


def _summed(
    keys: NDArray[np.uint32],
    negatives: NDArray[np.int64],
    positives: NDArray[np.int64],
    overlap: NDArray[np.float64],
    regions: int,
) -> Tally:
    unique, inverse = np.unique(keys, return_inverse=True)
    size = len(unique)
    # Sums of counts in float64 are exact up to 2^53 voxels.
    return Tally(
        unique,
        np.bincount(inverse, negatives, size).astype(np.int64),
        np.bincount(inverse, positives, size).astype(np.int64),
        np.bincount(inverse, overlap, size).astype(np.float64),
        regions,
    )
