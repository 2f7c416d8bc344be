"""Reliability: does a stated probability, or a stated false-hold rate, come true?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from models.evaluation.intervals import Figure, Values, fraction, scores

BINS = 15
NOMINAL_RATES = (0.01, 0.05, 0.10, 0.20)


@dataclass(frozen=True, slots=True)
class Bin:
    """Cases whose stated probability lies in [low, high); the last bin holds 1 too.

    Attributes:
        low: least probability.
        high: end of the bin.
        count: number of cases, at least one.
        stated: mean stated probability.
        observed: part of them that came true, with Clopper and Pearson's interval.
    """

    low: float
    high: float
    count: int
    stated: float
    observed: Figure


def reliability_curve(
    probabilities: Values, truth: Sequence[bool] | NDArray[np.bool_], bins: int = BINS
) -> tuple[Bin, ...]:
    """Return the bins of equal width that hold a case, in order.

    Raises:
        ValueError: if there is no case, or a probability is outside [0, 1].
    """
    stated, came_true = _checked(probabilities, truth)
    edges, index = np.linspace(0.0, 1.0, bins + 1), _bin_of(stated, bins)
    found: list[Bin] = []
    for number in np.unique(index):
        own = index == number
        count = int(own.sum())
        found.append(
            Bin(
                float(edges[number]),
                float(edges[number + 1]),
                count,
                float(stated[own].mean()),
                fraction(int(came_true[own].sum()), count),
            )
        )
    return tuple(found)


def expected_calibration_error(
    probabilities: Values, truth: Sequence[bool] | NDArray[np.bool_], bins: int = BINS
) -> float:
    """Return the mean over cases of |stated - observed| of their bin (Naeini et al., AAAI 2015)."""
    curve = reliability_curve(probabilities, truth, bins)
    total = sum(group.count for group in curve)
    return sum(group.count * abs(group.stated - group.observed.value) for group in curve) / total


def brier(probabilities: Values, truth: Sequence[bool] | NDArray[np.bool_]) -> float:
    """Return the mean squared error of the probabilities (Brier, Monthly Weather Review 1950)."""
    stated, came_true = _checked(probabilities, truth)
    return float(((stated - came_true) ** 2).mean())


@dataclass(frozen=True, slots=True)
class BrierParts:
    """What a Brier score is made of: score = reliability - resolution + uncertainty + within.

    Attributes:
        score: mean squared error of the probabilities.
        reliability: how far the bins' stated probabilities are from what came true; 0 is best.
        resolution: how far the bins differ in what came true; larger is better.
        uncertainty: q (1 - q) for the part q that came true: that of a forecaster who says q.
        within: what the bins hide: variance of the stated less twice their covariance with the
            truth inside a bin; 0 where all of a bin state the same.
        skill: 1 - score / uncertainty; NaN where all or none came true.
    """

    score: float
    reliability: float
    resolution: float
    uncertainty: float
    within: float
    skill: float


def brier_parts(
    probabilities: Values, truth: Sequence[bool] | NDArray[np.bool_], bins: int = BINS
) -> BrierParts:
    """Return Murphy's decomposition (Journal of Applied Meteorology 1973) over equal bins.

    Bins of unequal probabilities leave a rest, which Stephenson, Coelho and Jolliffe (Weather and
    Forecasting 2008) give: with it the parts add up exactly.
    """
    stated, came_true = _checked(probabilities, truth)
    index = _bin_of(stated, bins)
    count = np.bincount(index, minlength=bins)
    held = count > 0
    mean = np.bincount(index, stated, bins)[held] / count[held]
    observed = np.bincount(index, came_true, bins)[held] / count[held]
    part, base = count[held] / len(stated), float(came_true.mean())
    slot = np.cumsum(held)[index] - 1
    inside, outcome = stated - mean[slot], came_true - observed[slot]
    score, uncertainty = brier(probabilities, truth), base * (1 - base)
    return BrierParts(
        score,
        float((part * (mean - observed) ** 2).sum()),
        float((part * (observed - base) ** 2).sum()),
        uncertainty,
        float((inside**2 - 2 * inside * outcome).mean()),
        1 - score / uncertainty if uncertainty > 0 else float("nan"),
    )


@dataclass(frozen=True, slots=True)
class FalseHold:
    """How many clean patients are held at a nominal rate.

    Attributes:
        nominal: a clean patient is held when p <= nominal.
        attainable: the most that the calibration allows: floor(nominal (n + 1)) / (n + 1) for n
            calibration patients; 0 means that nothing is ever held. `nominal` where n is unknown.
        held: number of clean patients held.
        rate: part of them, with Clopper and Pearson's interval.
        nominal_inside: whether the interval holds `nominal`. With few patients it nearly always
            does, which shows nothing.
        exceeds: whether the whole interval lies above `nominal`: the promise is broken.
    """

    nominal: float
    attainable: float
    held: int
    rate: Figure
    nominal_inside: bool
    exceeds: bool


def false_hold_rates(
    p_values: Values,
    calibration_size: int = 0,
    nominal: Values = NOMINAL_RATES,
) -> tuple[FalseHold, ...]:
    """Return the realised false-hold rate of clean patients at each nominal rate.

    Args:
        p_values: one a clean patient who had no part in the calibration.
        calibration_size: number of calibration patients behind them; 0 where unknown.
        nominal: rates to check.
    """
    values = scores(p_values)
    found: list[FalseHold] = []
    for rate in nominal:
        # p-values are multiples of 1 / (n + 1); room for the rounding of their division.
        held = int((values <= rate + 1e-12).sum())
        figure = fraction(held, len(values))
        steps = calibration_size + 1
        found.append(
            FalseHold(
                rate,
                int(rate * steps + 1e-9) / steps if calibration_size else rate,
                held,
                figure,
                figure.low <= rate <= figure.high,
                figure.low > rate,
            )
        )
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Uniformity:
    """Whether clean p-values are as uniform as exchangeability would have them.

    Attributes:
        count: number of p-values.
        distance: largest distance between their distribution and the uniform one.
        p_value: Kolmogorov-Smirnov, two-sided. Small when the p-values are too small or too large;
            a minimum over questions with Bonferroni's correction is rightly too large.
        too_small_p_value: Kolmogorov-Smirnov, one-sided: small when clean scans get p-values that
            are too small, which breaks the promised false-hold rate.
    """

    count: int
    distance: float
    p_value: float
    too_small_p_value: float


def uniformity(p_values: Values, calibration_size: int = 0) -> Uniformity:
    """Return the Kolmogorov-Smirnov test of clean p-values.

    A split-conformal p-value takes the values k / (n + 1) only. Its distribution is compared at
    these values, for which the continuous test's p-value is conservative (Noether 1963).

    Args:
        p_values: one a clean patient.
        calibration_size: n; 0 for continuous p-values.
    """
    values = np.sort(scores(p_values))
    count = len(values)
    if calibration_size:
        steps = calibration_size + 1
        # Counted in whole steps, so that no p-value falls on the wrong side by rounding.
        own = np.rint(values * steps)
        at = np.arange(1, steps + 1)
        gap = np.searchsorted(own, at, side="right") / count - at / steps
        above, below = float(gap.max()), float((-gap).max())
    else:
        above = float((np.arange(1, count + 1) / count - values).max())
        below = float((values - np.arange(count) / count).max())
    above, below = max(0.0, above), max(0.0, below)
    distance = max(above, below)
    return Uniformity(
        count,
        distance,
        float(stats.kstwo.sf(distance, count)),
        float(stats.ksone.sf(above, count)) if above > 0 else 1.0,
    )


def _bin_of(stated: NDArray[np.float64], bins: int) -> NDArray[np.intp]:
    edges = np.linspace(0.0, 1.0, bins + 1)
    return np.clip(np.searchsorted(edges, stated, side="right") - 1, 0, bins - 1)


def _checked(
    probabilities: Values, truth: Sequence[bool] | NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    stated = scores(probabilities)
    came_true = np.asarray(truth, dtype=np.bool_).astype(np.float64)
    if len(stated) != len(came_true):
        raise ValueError("every probability needs its truth")
    if stated.min() < 0 or stated.max() > 1:
        raise ValueError("a probability lies in [0, 1]")
    return stated, came_true
