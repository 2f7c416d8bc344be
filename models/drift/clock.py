"""Clock: whether a device's clock is right, by when its images say that they were made.

A lag is the time from an image's making, as its header says, to its receipt here. It is the clock's
error and the way of the image together, and the way is never negative: an image from the future is
a wrong clock for certain, a change of the usual lag is one or a change of the way. The median of
the latest lags is robust: up to half of them may be of images that were sent again or late.
"""

from __future__ import annotations

import enum
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


class ClockState(enum.StrEnum):
    """What is said of a clock."""

    UNKNOWN = "unknown"
    """Too few images say when they were made."""
    STEADY = "steady"
    AHEAD = "ahead"
    """Images come from the future."""
    CHANGED = "changed"
    """The usual lag is another than it was."""


@dataclass(frozen=True, slots=True)
class Clock:
    """What the lags of a device say.

    Attributes:
        state: in a word.
        lag: median of the latest lags, seconds; None with too few.
        usual: median of the reference lags, seconds; None with too few.
    """

    state: ClockState
    lag: float | None = None
    usual: float | None = None


def look(reference: Sequence[float], latest: Sequence[float], limit: float, fewest: int) -> Clock:
    """Return what lags say.

    Args:
        reference: lags when the device was first seen, seconds.
        latest: the newest lags, seconds.
        limit: seconds of a median before the future, or away from the usual.
        fewest: lags of each, under which nothing is said.
    """
    usual = statistics.median(reference) if len(reference) >= fewest else None
    if len(latest) < fewest:
        return Clock(ClockState.UNKNOWN, None, usual)
    lag = statistics.median(latest)
    if lag < -limit:
        return Clock(ClockState.AHEAD, lag, usual)
    if usual is not None and abs(lag - usual) > limit:
        return Clock(ClockState.CHANGED, lag, usual)
    return Clock(ClockState.STEADY, lag, usual)
