"""Association of a score with a clinical value: Spearman's rank correlation."""

from __future__ import annotations

from dataclasses import dataclass
from math import atanh, factorial, sqrt, tanh
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from models.evaluation.intervals import Figure, Values, scores
from models.evaluation.patients import Z95

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
