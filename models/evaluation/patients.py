"""Study-level measures: one score a patient, larger is stranger, with intervals over patients.

A scan that a detector refused has no score and is not here; the number refused is reported beside
the measures, never folded into them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, sqrt
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from models.evaluation.intervals import (
    RESAMPLES,
    Figure,
    Values,
    area,
    auroc,
    fraction,
    percentile,
    scores,
    stratified,
)

FALSE_POSITIVE_RATES = (0.05, 0.10, 0.20)
Z95 = 1.959963984540054


@dataclass(frozen=True, slots=True, eq=False)
class Placements:
    """DeLong's structural components: where each score lies among those of the other side.

    Attributes:
        abnormal: float64, (n,): the part of the normal scores below each abnormal one, ties half.
        normal: float64, (m,): the part of the abnormal scores above each normal one, ties half.
    """

    abnormal: NDArray[np.float64]
    normal: NDArray[np.float64]

    @property
    def area(self) -> float:
        """The AUROC."""
        return float(self.abnormal.mean())


def placements(normal: Values, abnormal: Values) -> Placements:
    """Return the components of DeLong, DeLong and Clarke-Pearson (Biometrics 1988, eq. 3).

    By midranks (Sun and Xu, IEEE Signal Processing Letters 2014), O(n log n).

    Raises:
        ValueError: if either side is empty or holds NaN.
    """
    x, y = scores(abnormal), scores(normal)
    both = stats.rankdata(np.concatenate([x, y]))
    own_x, own_y = stats.rankdata(x), stats.rankdata(y)
    return Placements((both[: len(x)] - own_x) / len(y), 1.0 - (both[len(x) :] - own_y) / len(x))


def delong_variance(parts: Placements) -> float:
    """Return the variance of the AUROC; NaN where a side has fewer than two patients."""
    if len(parts.abnormal) < 2 or len(parts.normal) < 2:
        return float("nan")
    return float(
        parts.abnormal.var(ddof=1) / len(parts.abnormal)
        + parts.normal.var(ddof=1) / len(parts.normal)
    )


def delong_auroc(normal: Values, abnormal: Values) -> Figure:
    """Return the AUROC with DeLong's interval, clipped to [0, 1].

    Where DeLong's variance is zero (perfect separation) or undefined (one patient on a side) its
    interval would be a point, which says more than the patients do: `wilson_auroc` is used instead.
    """
    parts = placements(normal, abnormal)
    variance = delong_variance(parts)
    if isnan(variance) or variance <= 0:
        return wilson_auroc(parts.area, len(parts.normal), len(parts.abnormal))
    half = Z95 * sqrt(variance)
    return Figure(parts.area, max(0.0, parts.area - half), min(1.0, parts.area + half))


def wilson_auroc(value: float, normals: int, abnormals: int) -> Figure:
    """Return an AUROC with the score-type interval of Newcombe (Statistics in Medicine 2006).

    Method 5: the areas t with |value - t| <= 1.96 sqrt(V(t)), V after Hanley and McNeil with both
    group sizes replaced by their mean; it has width at 0 and 1 and for small groups.
    """
    star = (normals + abnormals) / 2 - 1

    def excess(t: float) -> float:
        spread = 1 + star * ((1 - t) / (2 - t) + t / (1 + t))
        return (value - t) ** 2 - Z95**2 * t * (1 - t) * spread / (normals * abnormals)

    # The excess is negative at the value itself, but zero at 0 and 1, which are no ends.
    near = min(max(value, 1e-9), 1 - 1e-9)
    low = _root(excess, 0.0, near) if value > 0 else 0.0
    high = _root(excess, near, 1.0) if value < 1 else 1.0
    return Figure(value, low, high)


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    return float(cast("float", optimize.brentq(function, low, high)))


def average_precision(
    normal: Values, abnormal: Values, seed: int = 0, resamples: int = RESAMPLES
) -> Figure:
    """Return the average precision (AUPRC) with a stratified bootstrap interval over patients.

    It depends on the ratio of abnormal to normal patients in the set: see `prevalence` of the set.
    """
    return stratified(_average_precision, normal, abnormal, seed, resamples)


def _average_precision(normal: NDArray[np.float64], abnormal: NDArray[np.float64]) -> float:
    # One term a distinct abnormal score: its share of the recall times the precision at it.
    values, counts = np.unique(abnormal, return_counts=True)
    true = np.cumsum(counts[::-1])[::-1]
    false = len(normal) - np.searchsorted(np.sort(normal), values, side="left")
    return float((counts * true / (true + false)).sum() / len(abnormal))


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Sensitivity where the part of normal patients flagged is at most `nominal_fpr`.

    Attributes:
        nominal_fpr: the part that is allowed.
        threshold: patients with a score above it are flagged: the smallest such threshold among
            the normal scores, chosen on the very patients measured.
        fpr: the part of the normal patients it flags. With m normal patients a rate under 1 / m is
            reached by flagging none of them.
        sensitivity: the part of the abnormal patients it flags, Clopper-Pearson, for the threshold
            as it is: the uncertainty of the threshold is not in it.
    """

    nominal_fpr: float
    threshold: float
    fpr: Figure
    sensitivity: Figure


def operating_point(normal: Values, abnormal: Values, nominal_fpr: float) -> OperatingPoint:
    """Return the operating point at a false-positive rate."""
    a, b = np.sort(scores(normal)), scores(abnormal)
    # The largest number that may be flagged, with room for rounding in m * rate.
    allowed = int(nominal_fpr * len(a) + 1e-9)
    threshold = float(a[len(a) - 1 - min(allowed, len(a) - 1)])
    return OperatingPoint(
        nominal_fpr,
        threshold,
        fraction(int((a > threshold).sum()), len(a)),
        fraction(int((b > threshold).sum()), len(b)),
    )


@dataclass(frozen=True, slots=True)
class CategoryFigures:
    """One category of abnormal patients against all normal ones.

    Attributes:
        category: its name; `ALL` for all abnormal patients together.
        patients: number of abnormal patients.
        auroc: with DeLong's interval.
        auroc_bootstrap: with a stratified bootstrap interval.
        ap: average precision, with a stratified bootstrap interval.
        points: sensitivity at 5, 10 and 20 % false-positive rate.
    """

    category: str
    patients: int
    auroc: Figure
    auroc_bootstrap: Figure
    ap: Figure
    points: tuple[OperatingPoint, ...]


ALL = "all"


def by_category(
    normal: Values,
    abnormal: Mapping[str, Values],
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> tuple[CategoryFigures, ...]:
    """Return the figures of all abnormal patients together, then of each category by name.

    Raises:
        ValueError: if there is no normal or no abnormal patient, or a score is NaN.
    """
    groups: dict[str, list[float]] = {
        ALL: [value for values in abnormal.values() for value in values]
    }
    if len(abnormal) > 1:
        groups |= {name: list(abnormal[name]) for name in sorted(abnormal) if abnormal[name]}
    return tuple(
        CategoryFigures(
            category=name,
            patients=len(values),
            auroc=delong_auroc(normal, values),
            auroc_bootstrap=auroc(normal, values, seed, resamples),
            ap=average_precision(normal, values, seed, resamples),
            points=tuple(operating_point(normal, values, rate) for rate in FALSE_POSITIVE_RATES),
        )
        for name, values in groups.items()
    )


def cluster_auroc(
    values: Values,
    abnormal: Sequence[bool] | NDArray[np.bool_],
    patients: Sequence[str],
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Figure:
    """Return the AUROC over slices with an interval from resampled patients (cluster bootstrap).

    Slices of one patient resemble each other; resampling slices would make the interval too
    narrow. Resamples without both kinds of slice are left out.

    Args:
        values: one score a slice.
        abnormal: whether the slice is.
        patients: whose slice it is.
        seed: of the resampling.
        resamples: how many.

    Raises:
        ValueError: if one kind of slice is missing, or a score is NaN.
    """
    array = scores(values)
    truth = np.asarray(abnormal, dtype=np.bool_)
    names, owner = np.unique(np.asarray(patients), return_inverse=True)
    value = area(scores(array[~truth]), scores(array[truth]))
    order = np.argsort(array, kind="stable")
    _, tie = np.unique(array, return_inverse=True)
    tie, owner, truth = tie[order], owner[order], truth[order]
    generator = np.random.default_rng(seed)
    count = len(names)
    draws = np.full(resamples, np.nan)
    for row in range(resamples):
        weight = np.bincount(generator.integers(0, count, count), minlength=count)[owner]
        positives = np.bincount(tie, weight * truth)
        negatives = np.bincount(tie, weight * ~truth)
        total = positives.sum() * negatives.sum()
        if total > 0:
            below = np.cumsum(negatives) - negatives / 2
            draws[row] = float((positives * below).sum() / total)
    return percentile(value, draws)
