"""Stream: one series after another of a device and protocol, and whether they are alike; pure.

Half of the stated rate of false alarms is the score's, the other half is shared by the attributes
of the header. A change is found once: what was found stays until a person begins the reference
anew.
"""

from __future__ import annotations

import dataclasses
import hashlib
from bisect import insort
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gatekeeper.drift.values import HEADER, SCORE, SeriesValues
from gatekeeper.settings import DriftSettings
from models.drift.sequential import Statistic, p_value, threshold
from storage.records import DriftObservation, DriftStream

_SCORE_SHARE = 0.5
_HEADER_SHARE = 0.5 / len(HEADER)


@dataclass(frozen=True, slots=True)
class Change:
    """A change that was found.

    Attributes:
        attribute: ``score`` or an attribute of the header.
        bet: which change gained most, in words: ``higher by 1``, in standard deviations.
        number: of the series with which it was found.
        since: number of the series since which it is most likely.
        at: seconds since 1970 of the series with which it was found.
        acknowledged_by: who has seen it; empty when nobody has.
    """

    attribute: str
    bet: str
    number: int
    since: int
    at: float
    acknowledged_by: str = ""

    @classmethod
    def of_json(cls, stored: Mapping[str, Any]) -> Change:
        """Return what was stored."""
        return cls(**{name: stored[name] for name in cls.__slots__ if name in stored})


@dataclass(slots=True)
class Watched:
    """A stream with the values of its reference, in memory.

    Attributes:
        stored: as it was read; None for one that is new.
        stream: as it is now.
        before: attribute -> its values, ascending.
    """

    stored: DriftStream | None
    stream: DriftStream
    before: dict[str, list[float]] = field(default_factory=dict[str, list[float]])

    @classmethod
    def of(cls, stored: DriftStream, observed: Iterable[DriftObservation]) -> Watched:
        """Return a stream that was read."""
        watched = cls(stored, stored)
        for one in observed:
            for name, value in (*one.numbers.items(), (SCORE, one.score)):
                watched.before.setdefault(name, []).append(value)
        for values in watched.before.values():
            values.sort()
        return watched

    @classmethod
    def new(cls, one: SeriesValues, at: float) -> Watched:
        """Return the stream that a series begins."""
        return cls(None, DriftStream(0, one.device, one.protocol, one.detector, one.terms, at))

    def add(self, one: SeriesValues, at: float, settings: DriftSettings) -> list[Change]:
        """Look at the next series, and return what was found with it for the first time."""
        if one.terms != self.stream.terms or self.stream.size >= settings.maximum_series:
            self._begin_anew(one.terms, at)
        number = self.stream.counted + 1
        statistics = dict(self.stream.statistics)
        found = dict(self.stream.found)
        new: list[Change] = []
        for name, value in one.attributes.items():
            values = self.before.setdefault(name, [])
            if len(values) >= settings.reference_series:
                known = Statistic.of_json(statistics.get(name, {}))
                tie = tie_of(one.series_instance_uid, name)
                after = known.after(p_value(values, value, tie), number)
                statistics[name] = after.as_json()
                if name not in found and after.value >= limit_of(name, settings):
                    change = Change(name, *_strongest(after, number), at)
                    found[name] = dataclasses.asdict(change)
                    new.append(change)
            insort(values, value)
        self.stream = dataclasses.replace(
            self.stream,
            counted=number,
            size=self.stream.size + 1,
            statistics=statistics,
            found=found,
        )
        return new

    def numbered(self, number: int) -> None:
        """Note under which number it was written."""
        self.stream = dataclasses.replace(self.stream, id=number)

    def _begin_anew(self, terms: str, at: float) -> None:
        same = terms == self.stream.terms
        self.before.clear()
        self.stream = dataclasses.replace(
            begun_anew(self.stream, at), terms=terms, found=self.stream.found if same else {}
        )


def begun_anew(stream: DriftStream, at: float) -> DriftStream:
    """Return a stream whose reference begins with its next series, nothing found in it."""
    return dataclasses.replace(stream, begun_at=at, size=0, statistics={}, found={})


def limit_of(attribute: str, settings: DriftSettings) -> float:
    """Return what the statistic of an attribute has to reach."""
    share = _SCORE_SHARE if attribute == SCORE else _HEADER_SHARE
    return threshold(settings.run_length, share)


def tie_of(series_instance_uid: str, attribute: str) -> float:
    """Return a number on [0, 1) drawn for a series and attribute, the same however often asked."""
    digest = hashlib.sha256(f"{attribute}\0{series_instance_uid}".encode()).digest()
    return int.from_bytes(digest[:6]) / 2**48


def _strongest(after: Statistic, number: int) -> tuple[str, int, int]:
    bet, since = after.strongest
    return bet, number, since
