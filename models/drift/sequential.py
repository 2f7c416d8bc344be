"""Sequential: a change of distribution found as values come, at a stated rate of false alarms.

Three steps, each without an assumption on the distribution:

1. Each value becomes a conformal p-value: its rank, from above, among all values since the
   reference began, ties broken by a uniform number. As long as the values are exchangeable (one
   after another from one unchanging population), these p-values are independent and uniform
   (Vovk, Nouretdinov and Gammerman, Testing exchangeability on-line, ICML 2003).
2. Each p-value is bet on by `BETS`: densities on (0, 1), each the best one against one change of a
   normal population, by its normal score z = inverse of Phi at 1 - p. Under no drift no bet has
   an expected gain.
3. Each bet has a Shiryaev-Roberts statistic, R = (1 + R) f(p), and their mean is the statistic. R
   less the number of values is a martingale, so the mean number of values before the statistic
   reaches `c` is at least c, and of streams of m values at most the part m / c reaches it (Vovk,
   Testing randomness online, Statistical Science 2021, section 5; Shin, Ramdas and Rinaldo,
   E-detectors, 2024). Both are bounds: the real rate is lower.

Several statistics on one stream keep the stated rate together when each has its share of it:
`threshold`. Not exchangeable, and so found as drift: repeated scans of one patient in a row, day
and night populations, the same scan sent twice. A stream that drifted from its first value on is
its own reference, and nothing is found.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

SHIFTS = (0.5, 1.0, 2.0, 3.0)
"""Shifts, in standard deviations, that are bet on, upwards and downwards."""
SPREADS = (2.0, 0.5)
"""Factors of the standard deviation that are bet on."""
BETS = (
    *(f"higher by {shift:g}" for shift in SHIFTS),
    *(f"lower by {shift:g}" for shift in SHIFTS),
    "wider",
    "narrower",
)
"""What each bet is on; shifts in standard deviations of the reference."""
CEILING = 1e200
"""Of a statistic, so that it stays a number."""

_NORMAL = NormalDist()
_EDGE = 1e-12


@dataclass(frozen=True, slots=True)
class Statistic:
    """The state of the test after some values.

    Attributes:
        levels: R of each of `BETS`.
        runs: the largest product of each bet over a run of values that ends here, at least 1.
        began: number of the value at which that run begins: where a change is most likely.
    """

    levels: tuple[float, ...] = (0.0,) * len(BETS)
    runs: tuple[float, ...] = (1.0,) * len(BETS)
    began: tuple[int, ...] = (0,) * len(BETS)

    @property
    def value(self) -> float:
        """What is compared with the threshold."""
        return sum(self.levels) / len(self.levels)

    @property
    def strongest(self) -> tuple[str, int]:
        """The bet that gained most, and the number of the value since which it did."""
        index = max(range(len(BETS)), key=lambda one: self.levels[one])
        return BETS[index], self.began[index]

    def after(self, p_value: float, number: int) -> Statistic:
        """Return the state after the value of this number and p-value."""
        gains = bets(p_value)
        levels = raised(self.levels, gains)
        runs: list[float] = []
        began: list[int] = []
        for run, start, gain in zip(self.runs, self.began, gains, strict=True):
            begins = run <= 1.0
            product = (1.0 if begins else run) * gain
            runs.append(min(CEILING, max(1.0, product)))
            began.append(number if begins else start)
        return Statistic(levels, tuple(runs), tuple(began))

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {"levels": list(self.levels), "runs": list(self.runs), "began": list(self.began)}

    @classmethod
    def of_json(cls, stored: Mapping[str, Any]) -> Statistic:
        """Return what `as_json` gave; of another set of bets, a test that begins."""
        if len(stored.get("levels", ())) != len(BETS):
            return cls()
        return cls(tuple(stored["levels"]), tuple(stored["runs"]), tuple(stored["began"]))


def raised(levels: Sequence[float], gains: Sequence[float]) -> tuple[float, ...]:
    """Return R of each bet after its gain; their mean is `Statistic.value`."""
    return tuple(
        min(CEILING, (1.0 + level) * gain) for level, gain in zip(levels, gains, strict=True)
    )


def p_value(before: Sequence[float], value: float, tie: float) -> float:
    """Return the conformal p-value of a value: small where it is high.

    Args:
        before: all earlier values, in ascending order.
        value: the new one.
        tie: uniform on [0, 1), drawn for this value alone.
    """
    below, up_to = bisect_left(before, value), bisect_right(before, value)
    higher = len(before) - up_to
    return (higher + tie * (1 + up_to - below)) / (len(before) + 1)


def bets(p_value: float) -> tuple[float, ...]:
    """Return the gain of each of `BETS` on a p-value; each has mean 1 where it is uniform."""
    z = _NORMAL.inv_cdf(1.0 - min(max(p_value, _EDGE), 1.0 - _EDGE))
    higher = [math.exp(shift * z - shift * shift / 2.0) for shift in SHIFTS]
    lower = [math.exp(-shift * z - shift * shift / 2.0) for shift in SHIFTS]
    spread = [math.exp(z * z / 2.0 * (1.0 - scale**-2)) / scale for scale in SPREADS]
    return (*higher, *lower, *spread)


def threshold(run_length: float, share: float) -> float:
    """Return what a statistic has to reach.

    Args:
        run_length: fewest values between false alarms, on average, of all statistics together.
        share: of the rate of false alarms that this one has; all shares together are at most 1.

    Raises:
        ValueError: if either is out of range.
    """
    if run_length < 1 or not 0.0 < share <= 1.0:
        raise ValueError("a run length is at least 1, a share above 0 and at most 1")
    return run_length / share
