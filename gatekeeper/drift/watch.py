"""Watch: the tick of drift. Each settled job is looked at once, in the order they were made.

A job waits until its study's headers were read (`gatekeeper.study_index`), and those after it wait
with it: what came later must not be the reference of what came before. May be killed, and run twice
at once: a job, its streams and what is announced are one transaction.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import Connection

from gatekeeper.drift import scanner
from gatekeeper.drift.stream import Change, Watched
from gatekeeper.drift.values import SeriesValues, acquired_of, values_of
from gatekeeper.log import get_logger
from gatekeeper.notify.announce import announce
from gatekeeper.notify.events import ClockWrong, DriftFound, SoftwareChanged
from gatekeeper.settings import DriftSettings
from storage import drift, study_headers
from storage.engine import Database
from storage.records import DriftDue, DriftObservation, StudyHeader

log = get_logger()

_Key = tuple[str, str, str]


class _OvertakenError(Exception):
    """Somebody else looked at the same stream or scanner meanwhile; nothing was written."""


@dataclass(slots=True)
class _Look:
    """One tick: streams as they were read, and as they are with what was looked at since."""

    database: Database
    settings: DriftSettings
    watched: dict[_Key, Watched] = field(default_factory=dict[_Key, Watched])


def look(database: Database, settings: DriftSettings) -> int:
    """Look at what was settled; return how many jobs.

    Raises:
        DatabaseUnavailableError: in trouble; what is due stays so.
    """
    with database.read() as tx:
        due = drift.due(tx, settings.jobs_at_once)
        headers = study_headers.of_studies(tx, {one.study_instance_uid for one in due})
    looking = _Look(database, settings)
    done = 0
    for one in due:
        if one.waits:
            break
        try:
            done += _job(looking, one, headers.get(one.study_instance_uid))
        except _OvertakenError:
            break
    return done


def _job(looking: _Look, due: DriftDue, header: StudyHeader | None) -> bool:
    found, unknown = values_of(due.evidence, header)
    events: list[tuple[str, dict[str, object]]] = []
    with looking.database.begin() as tx:
        if not drift.take(tx, due.job_id):
            raise _OvertakenError
        for one in found:
            for stream, change in _series(tx, looking, one, due):
                said = DriftFound(one.device, change.attribute, stream)
                announce(tx, said, f"{stream}:{change.attribute}:{change.number}")
                events.append(("drift_found", {"key": change.attribute, "count": change.number}))
        events += _scanner(tx, looking.settings, header, due.at)
    for watched in looking.watched.values():
        watched.stored = watched.stream
    for event, fields in events:
        log.warning(event, **fields)
    if unknown:
        log.info("drift_evidence_unknown", job=due.job_id, count=unknown)
    return True


def _series(
    tx: Connection, looking: _Look, one: SeriesValues, due: DriftDue
) -> list[tuple[int, Change]]:
    key = (one.device, one.protocol, one.detector)
    watched = looking.watched.get(key)
    if watched is None:
        stored = drift.find(tx, *key)
        watched = (
            Watched.new(one, due.at)
            if stored is None
            else Watched.of(stored, drift.observations(tx, stored))
        )
    stream = watched.stream
    if stream.id and drift.is_observed(tx, stream.id, one.series_instance_uid):
        return []
    found = watched.add(one, due.at, looking.settings)
    number = drift.write(tx, watched.stream, watched.stored)
    if number is None:
        raise _OvertakenError
    watched.numbered(number)
    looking.watched[key] = watched
    observed = DriftObservation(
        job_id=due.job_id,
        series_instance_uid=one.series_instance_uid,
        number=watched.stream.counted,
        at=due.at,
        score=one.score,
        p_value=one.p_value,
        numbers=dict(one.numbers),
    )
    keep_from = watched.stream.counted - watched.stream.size + 1
    if not drift.observe(tx, number, observed, keep_from):
        raise _OvertakenError
    return [(number, change) for change in found]


def _scanner(
    tx: Connection, settings: DriftSettings, header: StudyHeader | None, at: float
) -> list[tuple[str, dict[str, object]]]:
    """Look at the scanner of the series with the most images."""
    one = next((one for one in acquired_of(header) if scanner.name_of(one)), None)
    if one is None:
        return []
    before = drift.device(tx, scanner.name_of(one), hold=True)
    noticed = scanner.notice(before, one, at, settings)
    if not drift.write_device(tx, noticed.scanner, before):
        raise _OvertakenError
    events: list[tuple[str, dict[str, object]]] = []
    name, count = noticed.scanner.name, noticed.scanner.counted
    if noticed.clock_is_new and noticed.clock.lag is not None:
        lag = round(noticed.clock.lag)
        announce(tx, ClockWrong(one.device, lag), f"{name}:{count}")
        events.append(("clock_wrong", {"seconds": lag, "state": noticed.clock.state.value}))
    if noticed.software_is_new:
        announce(tx, SoftwareChanged(one.device), f"{name}:{count}")
        events.append(("software_changed", {"count": count}))
    return events
