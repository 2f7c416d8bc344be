"""Figures with their intervals: the patient is the unit, and few patients say little."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

_RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Figure:
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f}-{self.high:.2f})"

    def as_list(self) -> list[float]:
        """Return value, low, high, to three decimals."""
        return [round(self.value, 3), round(self.low, 3), round(self.high, 3)]


def proportion(hits: Sequence[bool]) -> Figure:
    """Return the part of `hits` that is true, with Clopper and Pearson's exact interval."""
    count = sum(hits)
    interval = stats.binomtest(count, len(hits)).proportion_ci(method="exact")
    return Figure(count / len(hits), float(interval.low), float(interval.high))


def auroc(normal: Sequence[float], abnormal: Sequence[float], seed: int = 0) -> Figure:
    """Return the area under the ROC curve with a bootstrap interval; one score a patient."""
    generator = np.random.default_rng(seed)
    a, b = np.asarray(normal), np.asarray(abnormal)
    draws = [
        _area(generator.choice(a, len(a)), generator.choice(b, len(b))) for _ in range(_RESAMPLES)
    ]
    low, high = np.quantile(draws, (0.025, 0.975))
    return Figure(_area(a, b), float(low), float(high))


def _area(normal: np.ndarray, abnormal: np.ndarray) -> float:
    above = (abnormal[:, None] > normal[None, :]).mean()
    ties = (abnormal[:, None] == normal[None, :]).mean()
    return float(above + ties / 2)
