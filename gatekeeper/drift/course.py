"""Course: how the statistic of an attribute went, series by series, worked out anew; pure.

What is kept of a stream is the statistic as it is. The way there follows from the values since the
reference began, which are kept too.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass

from gatekeeper.drift.stream import tie_of
from gatekeeper.drift.values import SCORE
from models.drift.sequential import Statistic, bets, p_value, raised
from storage.records import DriftObservation


@dataclass(frozen=True, slots=True)
class Step:
    """One series of a stream.

    Attributes:
        number: of the series within its stream.
        at: when it was judged, seconds since 1970.
        value: of the attribute.
        statistic: after it; None within the reference.
    """

    number: int
    at: float
    value: float
    statistic: float | None


def course(
    observed: Iterable[DriftObservation], attribute: str, reference_series: int
) -> tuple[Step, ...]:
    """Return the series that state an attribute, the oldest first.

    Args:
        observed: series since the reference began, the oldest first.
        attribute: ``score`` or one of the header.
        reference_series: how many are the reference.
    """
    before: list[float] = []
    levels = Statistic().levels
    steps: list[Step] = []
    for one in observed:
        value = one.score if attribute == SCORE else one.numbers.get(attribute)
        if value is None:
            continue
        told = None
        if len(before) >= reference_series:
            tie = tie_of(one.series_instance_uid, attribute)
            levels = raised(levels, bets(p_value(before, value, tie)))
            told = sum(levels) / len(levels)
        insort(before, value)
        steps.append(Step(one.number, one.at, value, told))
    return tuple(steps)
