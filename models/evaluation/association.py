"""Association of a score, for instance a Dice, with a clinical value or an outcome: by ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import atanh, factorial, sqrt, tanh
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from models.evaluation.intervals import Figure, Values, scores
from models.evaluation.patients import Z95, delong_auroc

LARGEST_EXACT = 8
"""Most patients for which all permutations are counted (8! = 40,320)."""
PERMUTATIONS = 20_000


@dataclass(frozen=True, slots=True)
class Correlation:
    """Spearman's rho.

    Attributes:
        rho: with the interval of Bonett and Wright (Psychometrika 2000), NaN under four patients
            and at 1 and -1, where it does not exist.
        p_value: two-sided, by permutation.
        exact: whether every permutation was counted; otherwise `PERMUTATIONS` random ones.
        patients: number of pairs.
    """

    rho: Figure
    p_value: float
    exact: bool
    patients: int


def spearman(first: Values, second: Values, seed: int = 0) -> Correlation:
    """Return the rank correlation of two values a patient, ties by midranks.

    Raises:
        ValueError: if they do not pair up, hold NaN, are fewer than three, or one is constant.
    """
    a, b = scores(first), scores(second)
    if len(a) != len(b) or len(a) < 3:
        raise ValueError("a rank correlation needs at least three pairs")
    x, y = _centred(a), _centred(b)
    if not x.any() or not y.any():
        raise ValueError("a constant has no rank correlation")
    norm = sqrt(float((x**2).sum() * (y**2).sum()))
    rho = float((x * y).sum()) / norm
    exact = len(a) <= LARGEST_EXACT

    def statistic(ranks: NDArray[np.float64], axis: Literal[-1, 1] = -1) -> NDArray[np.float64]:
        return (ranks * y).sum(axis=axis) / norm

    result = stats.permutation_test(
        (x,),
        statistic,
        permutation_type="pairings",
        vectorized=True,
        n_resamples=factorial(len(a)) if exact else PERMUTATIONS,
        batch=5000,
        rng=np.random.default_rng(seed),
    )
    return Correlation(_interval(rho, len(a)), float(result.pvalue), exact, len(a))


def partial_spearman(first: Values, second: Values, given: Values) -> Correlation:
    """Return the rank correlation of two values with the ranks of a third held fixed.

    A Dice is lower for small lesions whatever the detector: held against an outcome, the size of
    the lesion is given. rho = (r12 - r13 r23) / sqrt((1 - r13^2) (1 - r23^2)) of the rank
    correlations; two-sided p from t with n - 3 degrees of freedom (Kendall, Biometrika 1942).

    Raises:
        ValueError: if they do not pair up, are fewer than five, or one is constant, or follows the
            third exactly.
    """
    a, b, c = (_centred(scores(one)) for one in (first, second, given))
    count = len(a)
    if not len(b) == len(c) == count or count < 5:
        raise ValueError("a partial rank correlation needs at least five patients with all three")
    if not (a.any() and b.any() and c.any()):
        raise ValueError("a constant has no rank correlation")
    a, b = (one - c * float((one * c).sum() / (c**2).sum()) for one in (a, b))
    norm = sqrt(float((a**2).sum() * (b**2).sum()))
    if norm < 1e-9 * count**3:
        raise ValueError("a value that follows the third exactly has no partial correlation")
    rho = max(-1.0, min(1.0, float((a * b).sum()) / norm))
    if abs(rho) > 1 - 1e-12:
        return Correlation(Figure(rho, float("nan"), float("nan")), 0.0, False, count)
    t = rho * sqrt((count - 3) / (1 - rho**2))
    p_value = float(2 * stats.t.sf(abs(t), count - 3))
    return Correlation(_interval(rho, count - 1), p_value, False, count)


@dataclass(frozen=True, slots=True)
class Separation:
    """A value in patients with and without an outcome.

    Attributes:
        auroc: chance that one with the outcome has the larger value, ties half; DeLong's interval.
        p_value: Mann and Whitney's, two-sided.
        exact: whether every order was counted (no ties, at most `LARGEST_EXACT_SUM` patients);
            otherwise normal with tie and continuity correction.
        with_outcome: median of the value in them, and their number.
        without: the same of the others.
    """

    auroc: Figure
    p_value: float
    exact: bool
    with_outcome: tuple[float, int]
    without: tuple[float, int]


LARGEST_EXACT_SUM = 60
"""Most patients for which Mann and Whitney's distribution is counted exactly."""


def with_outcome(values: Values, outcome: Sequence[bool] | NDArray[np.bool_]) -> Separation:
    """Return how a value, for instance a Dice, goes with an outcome that patients had or not.

    Raises:
        ValueError: if they do not pair up, or fewer than two patients are of one kind.
    """
    own, had = scores(values), np.asarray(outcome, np.bool_)
    if len(own) != len(had):
        raise ValueError("every value needs its outcome")
    x, y = own[had], own[~had]
    if min(len(x), len(y)) < 2:
        raise ValueError("an association needs two patients with the outcome and two without")
    exact = len(np.unique(own)) == len(own) <= LARGEST_EXACT_SUM
    test = stats.mannwhitneyu(x, y, method="exact" if exact else "asymptotic")
    return Separation(
        delong_auroc(y, x),
        float(test.pvalue),
        exact,
        (float(np.median(x)), len(x)),
        (float(np.median(y)), len(y)),
    )


def _centred(values: NDArray[np.float64]) -> NDArray[np.float64]:
    ranks = stats.rankdata(values).astype(np.float64)
    return ranks - ranks.mean()


def _interval(rho: float, count: int) -> Figure:
    if count < 4:
        return Figure(rho, float("nan"), float("nan"))
    if abs(rho) >= 1:
        return Figure(rho, float("nan"), float("nan"))
    half = Z95 * sqrt((1 + rho**2 / 2) / (count - 3))
    return Figure(rho, tanh(atanh(rho) - half), tanh(atanh(rho) + half))
