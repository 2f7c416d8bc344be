"""Comparison of two detectors on the same patients: paired, so that the patients cancel out.

p-values are two-sided and not adjusted for several comparisons.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import copysign, inf, isnan, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from models.evaluation.intervals import RESAMPLES, Figure, Values, area, percentile, scores
from models.evaluation.patients import Z95, placements

LARGEST_EXACT = 12
"""Most patients for which every sign flip is counted."""
SIGN_FLIPS = 20_000


@dataclass(frozen=True, slots=True)
class Comparison:
    """One detector against another, first minus second.

    Attributes:
        first: the first one's measure.
        second: the second one's measure.
        difference: first minus second, with its 95 % interval.
        p_value: that there is no difference; NaN where it cannot be told.
        patients: number of patients with both.
    """

    first: float
    second: float
    difference: Figure
    p_value: float
    patients: int


def delong_test(
    normal: tuple[Values, Values],
    abnormal: tuple[Values, Values],
) -> Comparison:
    """Return the paired test of two AUROCs (DeLong et al., Biometrics 1988, eq. 5 to 8).

    Args:
        normal: the scores of the first and of the second detector, patient by patient alike.
        abnormal: the same for the abnormal patients.

    Raises:
        ValueError: if the two do not have the same patients, or a score is NaN.
    """
    _paired(*normal)
    _paired(*abnormal)
    first = placements(normal[0], abnormal[0])
    second = placements(normal[1], abnormal[1])
    m, n = len(first.normal), len(first.abnormal)
    difference = first.area - second.area
    if m < 2 or n < 2:
        figure = Figure(difference, float("nan"), float("nan"))
        return Comparison(first.area, second.area, figure, float("nan"), m + n)
    # Var(A1 - A2) = var(V10_1 - V10_2) / n + var(V01_1 - V01_2) / m.
    variance = float(
        (first.abnormal - second.abnormal).var(ddof=1) / n
        + (first.normal - second.normal).var(ddof=1) / m
    )
    half = Z95 * sqrt(variance)
    return Comparison(
        first.area,
        second.area,
        Figure(difference, difference - half, difference + half),
        _two_sided(difference, variance),
        m + n,
    )


def paired_bootstrap(
    normal: tuple[Values, Values],
    abnormal: tuple[Values, Values],
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Comparison:
    """Return the difference of two AUROCs with a stratified bootstrap over the same patients.

    The p-value is twice the smaller part of the resamples on one side of zero, with one added to
    both counts, so it is never 0.

    Raises:
        ValueError: as `delong_test`.
    """
    a1, a2 = _paired(*normal)
    b1, b2 = _paired(*abnormal)
    generator = np.random.default_rng(seed)
    draws = np.empty(resamples)
    for row in range(resamples):
        i = generator.integers(0, len(a1), len(a1))
        j = generator.integers(0, len(b1), len(b1))
        draws[row] = area(a1[i], b1[j]) - area(a2[i], b2[j])
    first, second = area(a1, b1), area(a2, b2)
    return Comparison(
        first,
        second,
        percentile(first - second, draws),
        bootstrap_p(draws),
        len(a1) + len(b1),
    )


def paired_means(
    first: Mapping[str, float],
    second: Mapping[str, float],
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Comparison | None:
    """Return the mean difference of one measure a patient, over the patients that have both.

    For instance each patient's voxel average precision against that of the intensity floor. The
    interval is a bootstrap over patients, the p-value a sign-flip permutation of the differences
    (exact up to 12 patients): with n patients it is never under 2 / 2^n. None where fewer than two
    patients have both.
    """
    common = sorted(
        name
        for name in first.keys() & second.keys()
        if not (isnan(first[name]) or isnan(second[name]))
    )
    if len(common) < 2:
        return None
    a = np.array([first[name] for name in common])
    b = np.array([second[name] for name in common])
    generator = np.random.default_rng(seed)
    draws = generator.choice(a - b, (resamples, len(common))).mean(axis=1)
    return Comparison(
        float(a.mean()),
        float(b.mean()),
        percentile(float((a - b).mean()), draws),
        _sign_flip_p(a - b, seed),
        len(common),
    )


def _paired(first: Values, second: Values) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    a, b = scores(first), scores(second)
    if len(a) != len(b):
        raise ValueError("a paired comparison needs the same patients")
    return a, b


def _two_sided(difference: float, variance: float) -> float:
    if variance <= 0:
        z = 0.0 if difference == 0 else copysign(inf, difference)
    else:
        z = difference / sqrt(variance)
    return float(2 * stats.norm.sf(abs(z)))


def _sign_flip_p(differences: NDArray[np.float64], seed: int) -> float:
    count = len(differences)
    if count <= LARGEST_EXACT:
        signs = 1 - 2 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
        first = 0
    else:
        signs = 1 - 2 * np.random.default_rng(seed).integers(0, 2, (SIGN_FLIPS, count))
        first = 1
    means = np.abs((signs * differences).mean(axis=1))
    # Room for the rounding of sums in another order.
    extreme = int((means >= abs(float(differences.mean())) * (1 - 1e-9)).sum())
    return (extreme + first) / (len(signs) + first)


def bootstrap_p(draws: NDArray[np.float64]) -> float:
    """Return twice the smaller part of the draws on one side of zero, never 0."""
    below = (1 + int((draws <= 0).sum())) / (len(draws) + 1)
    above = (1 + int((draws >= 0).sum())) / (len(draws) + 1)
    return float(min(1.0, 2 * min(below, above)))
