"""Coverage: the false-hold rate that a calibration of so many scans really gives.

A stated rate holds on average over calibrations. One calibration of n scans has a rate of its own:
with k = floor(rate * (n + 1)), a scan is held when it scores above the k-th largest calibration
score, and where scores have no ties the part of normal scans above that score is the k-th smallest
of n uniform variables, Beta(k, n + 1 - k) (Vovk, Conditional validity of inductive conformal
predictors, ACML 2012, proposition 2a; the Beta law of Vovk 2012 as in Angelopoulos and Bates, A
gentle introduction to conformal prediction, 2021, section 3.2). Of m further scans the number held
is then beta-binomial(m, k, n + 1 - k).

All of it supposes that normal scans are exchangeable with the calibration scans: the same scanner,
protocol and population, one scan a person.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

CONFIDENCE = 0.95
"""Of every interval here, central."""
_ROUNDING = 1e-9
"""Keeps 0.05 * 20, which is over or under 1 in floating point, at 1."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """The realised rate of false holds of one calibration, as a distribution.

    Attributes:
        size: n, the calibration scans.
        rate: the stated rate.
        rank: k; 0 where so few scans cannot hold anything at this rate.
        expected: mean realised rate, k / (n + 1).
        low, high: central 95 % of the realised rate.
    """

    size: int
    rate: float
    rank: int
    expected: float
    low: float
    high: float


@functools.lru_cache(maxsize=4096)
def coverage(size: int, rate: float) -> Coverage:
    """Return what `size` calibration scans give at a stated rate.

    Raises:
        ValueError: if the size is negative or the rate is not between 0 and 1.
    """
    if size < 0 or not 0.0 < rate < 1.0:
        raise ValueError("a calibration has 0 or more scans, and a rate between 0 and 1")
    rank = math.floor(rate * (size + 1) + _ROUNDING)
    if rank == 0:
        return Coverage(size, rate, 0, 0.0, 0.0, 0.0)
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = (
        float(special.betaincinv(rank, size + 1 - rank, part)) for part in (tail, 1.0 - tail)
    )
    return Coverage(size, rate, rank, rank / (size + 1), low, high)


@functools.lru_cache(maxsize=4096)
def plausible(known: Coverage, judged: int) -> tuple[int, int]:
    """Return the least and the most normal scans of `judged` that are held in 95 % of cases."""
    if known.rank == 0 or judged == 0:
        return 0, 0
    # Loading it takes a quarter of a second, which who asks for `coverage` alone need not wait for.
    from scipy import stats

    law = stats.betabinom(judged, known.rank, known.size + 1 - known.rank)
    tail = (1.0 - CONFIDENCE) / 2.0
    return int(law.ppf(tail)), int(law.ppf(1.0 - tail))


@dataclass(frozen=True, slots=True)
class Splits:
    """Realised rates of many random calibrations.

    Attributes:
        known: what theory says of each.
        rates: realised rate of each split, (repeats,).
        judged: scans judged in each split, (repeats,).
        held: scans held in each split, (repeats,).
    """

    known: Coverage
    rates: NDArray[np.float64]
    judged: NDArray[np.int64]
    held: NDArray[np.int64]

    @property
    def inside(self) -> float:
        """Part of the splits whose count held lies in the interval of `plausible`."""
        limits = {int(count): plausible(self.known, int(count)) for count in set(self.judged)}
        within = [
            limits[int(count)][0] <= held <= limits[int(count)][1]
            for count, held in zip(self.judged, self.held, strict=True)
        ]
        return float(np.mean(within))


def combined(levels: NDArray[np.float64], reference: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the deciding score of each scan as `models.calibration.Calibration` makes it.

    Args:
        levels: (scans, levels): raw scores of the deciding levels.
        reference: (calibration scans, levels): those that they are standardised by.
    """
    middle, upper = np.quantile(reference, (0.5, 0.75), axis=0)
    return ((levels - middle) / np.maximum((upper - middle) / 0.6745, 1e-12)).max(axis=1)


def repeated(
    levels: NDArray[np.float64],
    groups: Sequence[str],
    size: int,
    rate: float,
    repeats: int,
    seed: int = 0,
) -> Splits:
    """Calibrate on random groups, judge the others, `repeats` times.

    Args:
        levels: (scans, levels): raw scores of the deciding levels.
        groups: whose each scan is; a group is in the calibration as a whole or not at all.
        size: calibration groups; where a group has several scans, its first stands for it in the
            calibration, as a site calibrates by subject, and all of them are judged.
        rate: stated rate.
        repeats: how often.
        seed: of the choice.

    Raises:
        ValueError: if no group is left to judge.
    """
    names = np.asarray(sorted(set(groups)))
    if not 0 < size < len(names):
        raise ValueError("there must be groups to calibrate on, and groups to judge")
    of = np.searchsorted(names, np.asarray(groups))
    generator = np.random.default_rng(seed)
    known = coverage(size, rate)
    judged, held = np.zeros(repeats, np.int64), np.zeros(repeats, np.int64)
    for index in range(repeats):
        order = generator.permutation(len(of))
        chosen = generator.permutation(len(names))[:size]
        # The first scan of each group in a random order, so that no scan is always the one.
        firsts = np.unique(of[order], return_index=True)[1]
        reference = levels[order[firsts[chosen]]]
        rest = levels[~np.isin(of, chosen)]
        against = np.sort(combined(reference, reference))
        scores = combined(rest, reference)
        beyond = size - np.searchsorted(against, scores, side="left")
        judged[index] = len(rest)
        held[index] = int(np.sum((1 + beyond) / (size + 1) <= rate + _ROUNDING))
    return Splits(known, held / judged, judged, held)
