"""A histogram: observations counted by upper bounds, as Prometheus has them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

RECEIVE_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
"""Bounds for one instance, from its announcement to the answer."""
WORK_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0)
"""Bounds for a stage of an analysis."""
WAY_SECONDS = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14400.0, 86400.0)
"""Bounds for a study's or a delivery's whole way."""


@dataclass(slots=True)
class Histogram:
    """Counts of observations; not for several threads at once.

    Attributes:
        bounds: upper bounds, rising; above the last is infinity.
        counts: observations up to each bound and above the one before, infinity's last.
        sum: of all observations.
    """

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list[int])
    sum: float = 0.0

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def buckets(self) -> Sequence[tuple[str, float]]:
        """Return the cumulative count up to each bound, with the bound as Prometheus writes it."""
        total, found = 0, list[tuple[str, float]]()
        for bound, count in zip([*map(repr, self.bounds), "+Inf"], self.counts, strict=True):
            total += count
            found.append((bound, float(total)))
        return found
