"""Figures with their intervals: the patient is the unit, and few patients say little."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isnan

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Values = Sequence[float] | NDArray[np.float64]
"""One number a patient (or a case), (n,)."""

FEWEST = 5
"""Patients under which a mean has no interval."""
RESAMPLES = 2000
"""Bootstrap resamples behind an interval, where the caller names none."""


@dataclass(frozen=True, slots=True)
class Figure:
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if isnan(self.low):
            return f"{self.value:.2f} (no interval)"
        return f"{self.value:.2f} ({self.low:.2f}-{self.high:.2f})"

    def as_list(self) -> list[float]:
        """Return value, low, high, to three decimals."""
        return [round(self.value, 3), round(self.low, 3), round(self.high, 3)]


def proportion(hits: Sequence[bool]) -> Figure:
    """Return the part of `hits` that is true, with Clopper and Pearson's exact interval."""
    return fraction(int(sum(hits)), len(hits))


@functools.lru_cache(maxsize=8192)
def fraction(count: int, total: int) -> Figure:
    """Return `count` / `total` with Clopper and Pearson's exact interval (Biometrika 1934).

    Raises:
        ValueError: if `total` is not positive or `count` is not within it.
    """
    interval = stats.binomtest(count, total).proportion_ci(method="exact")
    return Figure(count / total, float(interval.low), float(interval.high))


def area(normal: NDArray[np.float64], abnormal: NDArray[np.float64]) -> float:
    """Return the AUROC: the chance that an abnormal score is above a normal one, ties half.

    Infinite scores are in order. Both (n,), neither empty.
    """
    ordered = np.sort(normal)
    below = np.searchsorted(ordered, abnormal, side="left")
    not_above = np.searchsorted(ordered, abnormal, side="right")
    return float((below + not_above).sum() / (2 * len(normal) * len(abnormal)))


def auroc(
    normal: Values,
    abnormal: Values,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Figure:
    """Return the AUROC with a percentile bootstrap interval; one score a patient.

    Normal and abnormal patients are resampled apart (stratified).
    """
    return stratified(area, normal, abnormal, seed, resamples)


def stratified(
    statistic: Callable[[NDArray[np.float64], NDArray[np.float64]], float],
    normal: Values,
    abnormal: Values,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Figure:
    """Return `statistic(normal, abnormal)` with its stratified percentile bootstrap interval.

    Raises:
        ValueError: if either side is empty or holds NaN.
    """
    a, b = scores(normal), scores(abnormal)
    generator = np.random.default_rng(seed)
    draws = [
        statistic(generator.choice(a, len(a)), generator.choice(b, len(b)))
        for _ in range(resamples)
    ]
    return percentile(statistic(a, b), draws)


def mean(values: Values, seed: int = 0, resamples: int = RESAMPLES) -> Figure:
    """Return the mean of one value a patient, with a percentile bootstrap interval.

    Under `FEWEST` patients the interval is NaN: resampling so few would promise too much.

    Raises:
        ValueError: if there is none, or one is NaN.
    """
    array = scores(values)
    if len(array) < FEWEST:
        return Figure(float(array.mean()), float("nan"), float("nan"))
    generator = np.random.default_rng(seed)
    draws = generator.choice(array, (resamples, len(array))).mean(axis=1)
    return percentile(float(array.mean()), draws)


def percentile(value: float, draws: Values) -> Figure:
    """Return `value` with the central 95 % of `draws` that are defined.

    The interval is NaN where no draw is defined or all are equal: patients that are perfectly
    apart, or one alone, look certain to a bootstrap and are not.
    """
    defined = np.asarray(draws, dtype=np.float64)
    defined = defined[~np.isnan(defined)]
    if not len(defined):
        return Figure(value, float("nan"), float("nan"))
    if float(defined.min()) == float(defined.max()):
        return Figure(value, float("nan"), float("nan"))
    low, high = np.quantile(defined, (0.025, 0.975))
    return Figure(value, float(low), float(high))


def scores(values: Values) -> NDArray[np.float64]:
    """Return scores as float64, (n,).

    Raises:
        ValueError: if there is none, or one is NaN.
    """
    array = np.asarray(values, dtype=np.float64).ravel()
    if not len(array) or bool(np.isnan(array).any()):
        raise ValueError("scores must be present and defined")
    return array
