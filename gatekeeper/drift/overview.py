"""Overview: what people see of drift, and what they do about it, for command line and pages.

To acknowledge is to say that a change has been seen: it stays, with the name. To reset is to begin
the reference anew with the next series, after a cause is known: then that is what is usual. Both
are on the audit trail. Protocols are named here, and nowhere outside the site's database.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from gatekeeper.drift.scanner import clock_of
from gatekeeper.drift.stream import Change, begun_anew, limit_of
from gatekeeper.drift.values import HEADER, SCORE
from gatekeeper.errors import GatekeeperError
from gatekeeper.settings import DriftSettings
from models.drift.clock import ClockState
from models.drift.sequential import Statistic
from storage import audit, drift
from storage.records import DriftDevice, DriftObservation, DriftStream

COLLECTING, STEADY, DRIFTING, ACKNOWLEDGED = "collecting", "steady", "drifting", "acknowledged"
"""Of a stream: too few series yet, nothing found, something found, a person has seen it."""


class DriftError(GatekeeperError):
    """What was asked of a stream or scanner cannot be done."""


@dataclass(frozen=True, slots=True)
class StreamLine:
    """One stream in a list.

    Attributes:
        number: for `show`, `acknowledge` and `reset`.
        device, protocol, detector: what it is of.
        state: in a word.
        series: since the reference began.
        begun_at: when that was, seconds since 1970.
        statistic: of the score, as a part of what raises an alarm.
        changes: what was found, the earliest first.
    """

    number: int
    device: str
    protocol: str
    detector: str
    state: str
    series: int
    begun_at: float
    statistic: float
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class AttributeLine:
    """One attribute of a stream.

    Attributes:
        name: ``score`` or an attribute of the header.
        statistic: of the test.
        limit: that raises an alarm.
        reference: values of the reference, in the order they came, as far as it is kept.
        latest: those after it.
        change: what was found; None when nothing was.
    """

    name: str
    statistic: float
    limit: float
    reference: tuple[float, ...]
    latest: tuple[float, ...]
    change: Change | None


@dataclass(frozen=True, slots=True)
class StreamView:
    """One stream with its attributes, and its scores over time.

    Attributes:
        line: as in a list.
        terms: version and calibration of the detector.
        attributes: the score first.
        times: seconds since 1970 of each series since the reference began, the oldest first.
        scores, p_values: of the same series.
    """

    line: StreamLine
    terms: str
    attributes: tuple[AttributeLine, ...]
    times: tuple[float, ...]
    scores: tuple[float, ...]
    p_values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ScannerLine:
    """One scanner.

    Attributes:
        name: device with serial number or station.
        device, station, serial: as it says itself.
        software: present version.
        software_since: seconds since 1970; None for the version it was first seen with.
        versions: how many it had.
        clock: in a word.
        clock_since: since when, seconds since 1970.
        lag: median seconds from making to receipt of the latest images; None with too few.
        usual_lag: of its first images.
        seen_at: when it was last seen.
    """

    name: str
    device: str
    station: str
    serial: str
    software: str
    software_since: float | None
    versions: int
    clock: ClockState
    clock_since: float | None
    lag: float | None
    usual_lag: float | None
    seen_at: float


def streams(tx: Connection, settings: DriftSettings) -> tuple[StreamLine, ...]:
    """Return all streams, those that drift first."""
    order = [DRIFTING, ACKNOWLEDGED, STEADY, COLLECTING]
    lines = [_line(one, settings) for one in drift.listing(tx)]
    return tuple(sorted(lines, key=lambda line: order.index(line.state)))


def show(tx: Connection, number: int, settings: DriftSettings) -> StreamView | None:
    """Return one stream with its values, or None."""
    stream = drift.get(tx, number)
    return None if stream is None else view_of(stream, drift.observations(tx, stream), settings)


def view_of(
    stream: DriftStream, observed: Sequence[DriftObservation], settings: DriftSettings
) -> StreamView:
    """Return one stream with its values, the oldest first, since its reference began."""
    attributes: list[AttributeLine] = []
    for name in (SCORE, *HEADER):
        values = tuple(
            one.score if name == SCORE else one.numbers[name]
            for one in observed
            if name == SCORE or name in one.numbers
        )
        found = stream.found.get(name)
        attributes.append(
            AttributeLine(
                name=name,
                statistic=Statistic.of_json(stream.statistics.get(name, {})).value,
                limit=limit_of(name, settings),
                reference=values[: settings.reference_series],
                latest=values[settings.reference_series :],
                change=None if found is None else Change.of_json(found),
            )
        )
    return StreamView(
        line=_line(stream, settings),
        terms=stream.terms,
        attributes=tuple(attributes),
        times=tuple(one.at for one in observed),
        scores=tuple(one.score for one in observed),
        p_values=tuple(one.p_value for one in observed),
    )


def scanners(tx: Connection, settings: DriftSettings) -> tuple[ScannerLine, ...]:
    """Return all scanners by name."""
    return tuple(_scanner(one, settings) for one in drift.devices(tx))


def acknowledge(tx: Connection, number: int, by: str, why: str) -> None:
    """Note that a person has seen what was found in a stream.

    Raises:
        DriftError: if there is no such stream, or nothing was found in it.
    """
    stream = _held(tx, number)
    if not stream.found:
        raise DriftError(f"nothing was found in stream {number}")
    found: dict[str, Any] = {
        name: {**change, "acknowledged_by": change.get("acknowledged_by") or by}
        for name, change in stream.found.items()
    }
    drift.write(tx, dataclasses.replace(stream, found=found), stream)
    detail = {"stream": number, "attributes": sorted(found), "why": why}
    audit.append(tx, by, "drift acknowledged", detail=detail)


def reset(tx: Connection, number: int, by: str, why: str, at: float) -> None:
    """Begin the reference of a stream anew, with its next series.

    Args:
        tx: the open transaction.
        number: of the stream.
        by: who does.
        why: the reason, for who reads it later.
        at: the time, seconds since 1970.

    Raises:
        DriftError: if there is no such stream.
    """
    stream = _held(tx, number)
    drift.write(tx, begun_anew(stream, at), stream)
    drift.clear(tx, number)
    detail = {"stream": number, "attributes": sorted(stream.found), "why": why}
    audit.append(tx, by, "drift reference reset", detail=detail)


def accept_clock(tx: Connection, name: str, by: str, why: str) -> None:
    """Take the present lag of a scanner for its usual one.

    Raises:
        DriftError: if there is no such scanner.
    """
    before = drift.device(tx, name, hold=True)
    if before is None:
        raise DriftError("there is no such scanner: `gatekeeper drift status` lists them")
    after = dataclasses.replace(
        before,
        first_lags=before.latest_lags,
        clock=ClockState.UNKNOWN.value,
        clock_since=None,
        counted=before.counted + 1,
    )
    drift.write_device(tx, after, before)
    audit.append(tx, by, "drift clock accepted", detail={"scanner": name, "why": why})


def _held(tx: Connection, number: int) -> DriftStream:
    stream = drift.get(tx, number, hold=True)
    if stream is None:
        raise DriftError(f"there is no stream {number}: `gatekeeper drift status` lists them")
    return stream


def _line(stream: DriftStream, settings: DriftSettings) -> StreamLine:
    changes = sorted(
        (Change.of_json(one) for one in stream.found.values()), key=lambda one: one.number
    )
    level = Statistic.of_json(stream.statistics.get(SCORE, {})).value
    return StreamLine(
        number=stream.id,
        device=stream.device,
        protocol=stream.protocol,
        detector=stream.detector,
        state=_state(stream, changes, settings),
        series=stream.size,
        begun_at=stream.begun_at,
        statistic=level / limit_of(SCORE, settings),
        changes=tuple(changes),
    )


def _state(stream: DriftStream, changes: list[Change], settings: DriftSettings) -> str:
    if any(not one.acknowledged_by for one in changes):
        return DRIFTING
    if changes:
        return ACKNOWLEDGED
    return COLLECTING if stream.size < settings.reference_series else STEADY


def _scanner(one: DriftDevice, settings: DriftSettings) -> ScannerLine:
    clock = clock_of(one, settings)
    present: dict[str, Any] = one.software[-1] if one.software else {}
    return ScannerLine(
        name=one.name,
        device=one.device,
        station=one.station,
        serial=one.serial,
        software=present.get("version", ""),
        software_since=present.get("since") if len(one.software) > 1 else None,
        versions=len(one.software),
        clock=clock.state,
        clock_since=one.clock_since,
        lag=clock.lag,
        usual_lag=clock.usual,
        seen_at=one.seen_at,
    )
