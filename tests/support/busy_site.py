"""The books of a site that has run for long, written in bulk: all that pages and REST read.

Of each study there are its header, two images, a job with its outcome, a delivery of the results,
a forward and an audit message; of one in two hundred a hold, of one in five a line of the audit
trail, whole by its digests; a few rows wait or are dead at every stage.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import Table, create_engine, func, select, text

from gatekeeper.configuration.changes import changing
from gatekeeper.drift.values import HEADER
from gatekeeper.settings import Settings
from storage import audit, nodes, study_headers
from storage import configuration_versions as versions
from storage.engine import Database, moment_now
from storage.records import Node, Role, StudyHeader
from storage.schema import audit as audit_table
from storage.schema import (
    audit_message,
    channel,
    decision_record,
    delivery,
    drift_device,
    drift_observation,
    drift_stream,
    echo,
    feedback,
    forward,
    instance,
    job,
    notification,
    outcome,
    study,
    study_header,
)
from support.past import Series, evidence

ROOT = "1.2.826.0.1.3680043.8.498."
FAMILIES = ("Smith", "Müller", "García", "Nguyễn", "Kowalski", "Yamada", "Okafor", "Ivanova")
DEVICES = 10
STREAMS = 60
VERSIONS = 200
SERIES = 300
"""Of each stream of drift."""
_MR, _EXPLICIT = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.1.2.1"
_DIGEST = "a" * 64
_ROWS_AT_ONCE = 5000


def uid_of(number: int) -> str:
    """Return the Study Instance UID of a study by its number, from 1; UIDs are in no order."""
    return f"{ROOT}{random.Random(number).randrange(10**30)}"


def is_held(number: int) -> bool:
    return number % 200 == 0


def fill(database: Database, url: str, settings: Settings, count: int) -> None:
    """Write the books of so many studies, the newest received just now.

    Args:
        database: migrated and empty.
        url: its address.
        settings: of the site.
        count: studies.
    """
    with database.read() as tx:
        present = moment_now(tx)
    _configure(database, settings)
    begin = present - 60.0 * count
    for batch in _batches(range(1, count + 1), 2000):
        rows: dict[Table, list[dict[str, Any]]] = {}
        for number in batch:
            for table, row in _of_study(number, count, begin + 60.0 * number):
                rows.setdefault(table, []).append(row)
        _write(database, rows)
    _write(database, {audit_table: list(_trail(count, begin))})
    _write(database, _drift(count, begin))
    _count_on(database)
    if database.dialect == "postgresql":
        # As autovacuum, which is off in a server of tests, does within a minute.
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text("VACUUM ANALYZE"))
        engine.dispose()


def _configure(database: Database, settings: Settings) -> None:
    """Enter nodes, and as many versions of the configuration as years of changes leave."""
    archive = Node("PACS", "192.0.2.1", 104, roles=(Role.ARCHIVE,), receives_results=True)
    known = [
        archive,
        Node("AI", "192.0.2.2", 104, roles=(Role.DOWNSTREAM,), receives_studies=True),
        *(
            Node(f"CT{number}", "192.0.2.3", 104 + number, may_send=True, description="a scanner")
            for number in range(DEVICES)
        ),
    ]
    for why in ("nodes entered", "the archive moved"):
        with changing(database, "anna", why, settings) as tx:
            for one in known:
                nodes.save(tx, one)
        known = [Node("PACS", "192.0.2.9", 104, roles=(Role.ARCHIVE,), receives_results=True)]
    with database.begin() as tx:
        first, second = versions.listing(tx, 2)
        for number in range(VERSIONS):
            one = (second, first)[number % 2]
            versions.append(tx, "anna", f"change {number}", one.document, one.digest)
        for one in nodes.listing(tx):
            row = {"node": one.ae_title, "at": 1.7e9, "answered": True, "detail": "0000H"}
            tx.execute(echo.insert(), row)


def _of_study(number: int, count: int, at: float) -> Iterator[tuple[Table, dict[str, Any]]]:
    chance = random.Random(number)
    uid, device = uid_of(number), number % DEVICES
    day = 1 + number % 28
    verdict = chance.choices(("CLEAR", "SUSPECT", "UNREADABLE"), (89.9, 10, 0.1))[0]
    waits, dead = number > count - min(20, count // 200), number % max(50, count // 20) == 0
    held = is_held(number) and not waits
    verdict = "SUSPECT" if held else verdict
    present = at + 60.0 * (count - number)
    times = {"first_received_at": at, "last_received_at": at, "completed_at": at}
    yield (
        study,
        {
            "study_instance_uid": uid,
            "source_ae": f"CT{device}",
            "state": "complete",
            "revision": 1,
            "content_digest": _DIGEST,
            **times,
        },
    )
    header = StudyHeader(
        study_instance_uid=uid,
        content_digest=_DIGEST,
        instances=2,
        series_count=1,
        patient_name=f"{chance.choice(FAMILIES)}^Given{number}",
        patient_id=f"PID{number:07d}",
        accession_number=f"ACC{chance.randrange(10**9)}",
        study_date=f"2024{1 + number % 12:02d}{day:02d}",
        study_description=chance.choice(("MR Brain", "MR Head with contrast", "CT Thorax")),
        modalities=("MR", "SR") if chance.random() > 0.001 else ("PT",),
        device=f"SIEMENS DEVICE_{device}",
        series=({"series_instance_uid": f"{uid}.1", "instances": 2},),
    )
    yield study_header, study_headers.values_of(header) | {"received_at": at, "read_at": at}
    for place in (1, 2):
        yield (
            instance,
            {
                "id": 2 * number + place,
                "sop_instance_uid": f"{uid}.1.{place}",
                "digest": f"{2 * number + place:064x}",
                "sop_class_uid": _MR,
                "transfer_syntax_uid": _EXPLICIT,
                "study_instance_uid": uid,
                "series_instance_uid": f"{uid}.1",
                "modality": "MR",
                "size": 131072,
                "source_ae": f"CT{device}",
                "own_result": False,
                "received_at": at,
            },
        )
    state = "queued" if waits else "dead" if dead else "done"
    yield (
        job,
        _leased(number, state, at)
        | {
            "study_instance_uid": uid,
            "content_digest": _DIGEST,
            "model_digest": "b" * 64,
            "revision": 1,
        },
    )
    sent = "delivered" if state == "done" and number % max(70, count // 33) else "dead"
    if not waits:
        yield delivery, _leased(number, sent, at) | {"job_id": number, "node": "PACS"}
        yield from _said(number, dead, at)
    if state == "done":
        yield outcome, _outcome(number, verdict, at)
    yield (
        forward,
        {
            "id": number,
            "study_instance_uid": uid,
            "content_digest": _DIGEST,
            "revision": 1,
            "node": "AI",
            "gated": True,
            "state": "held" if held else "waiting" if waits else "sent",
            "created_at": at,
            "verdict": "" if waits else verdict,
            "reason": "It is held for a person." if held else "",
            "held_at": at if held else None,
            "hold_until": present + 3600.0 * (2 + number % 37) if held else None,
            "decided_by": "",
        },
    )
    yield (
        decision_record,
        {
            "study_instance_uid": uid,
            "number": 1,
            "made_at": at,
            "payload": "{}",
            "digest": f"{number:064x}",
            "key_id": "c" * 64,
            "signature": "",
        },
    )
    if number % 50 == 0 and state == "done":
        opinion = {"job_id": number, "reviewer": "anna", "verdict": verdict, "agrees": True}
        yield feedback, {"id": number, "at": at, "remark": "", **opinion}


def _said(number: int, dead: bool, at: float) -> Iterator[tuple[Table, dict[str, Any]]]:
    """Yield what repositories and channels were told of a study."""
    state = "dead" if dead else "done"
    facts = {"event": "transfer", "subject": uid_of(number), "dedup": str(number)}
    told = {"happened_at": at, "severity": 5, "content": "<AuditMessage/>"}
    yield audit_message, _leased(number, state, at) | facts | told
    if number % 10 == 0:
        facts["event"] = "held"
        about = {"channel": "mail", "delivery_id": str(number), "facts": {}, "digest_id": None}
        yield notification, _leased(number, state, at) | facts | about


def _outcome(number: int, verdict: str, at: float) -> dict[str, Any]:
    p_value = 0.01 if verdict == "SUSPECT" else 0.5
    device = f"SIEMENS DEVICE_{number % DEVICES}"
    found = evidence([Series(p_value, device=device)], uid=uid_of(number))
    return {
        "job_id": number,
        "verdict": verdict,
        "reason": "Because of a reason of some length, as there are.",
        "score": 1.0,
        "p_value": p_value,
        "evidence": found,
        "stages": {"read": 1.0, "score": 900.0},
        "created_at": at,
        "destinations": ["PACS"],
    }


def _trail(count: int, begin: float) -> Iterator[dict[str, Any]]:
    """Yield the lines of an audit trail, chained as `storage.audit` chains them."""
    previous = audit.BEGINNING
    for number in range(1, count // 5 + 1):
        line: dict[str, Any] = {
            "at": begin + 300.0 * number,
            "actor": "anna" if number % 2 else "policy",
            "action": "released",
            "study": uid_of(5 * number),
            "job": 5 * number,
            "detail": {"node": "AI", "reason": "The scanner was right."},
            "previous": previous,
        }
        previous = audit._digest(line)  # pyright: ignore[reportPrivateUsage]
        yield {"id": number, **line, "digest": previous}


def _drift(count: int, begin: float) -> dict[Table, list[dict[str, Any]]]:
    rows: dict[Table, list[dict[str, Any]]] = {
        one: [] for one in (drift_stream, drift_device, drift_observation, channel)
    }
    rows[channel] = [
        {
            "name": "mail",
            "kind": "email",
            "address": "quality@example.org",
            "events": ["held"],
            "details": "none",
            "enabled": True,
        }
    ]
    for stream in range(1, STREAMS + 1):
        device = f"SIEMENS DEVICE_{stream % DEVICES}"
        rows[drift_stream].append(
            {
                "id": stream,
                "device": device,
                "protocol": f"PROTOCOL_{stream}",
                "detector": "mr-brain-t1",
                "terms": "1 " + _DIGEST,
                "begun_at": begin,
                "counted": SERIES,
                "size": SERIES,
                "statistics": {},
                "found": {},
            }
        )
        chance = random.Random(stream)
        for number in range(1, SERIES + 1):
            place = (stream - 1) * SERIES + number
            rows[drift_observation].append(
                {
                    "id": place,
                    "stream_id": stream,
                    "job_id": 1 + place % max(1, count - 20),
                    "series_instance_uid": f"{ROOT}{stream}.{number}",
                    "number": number,
                    "at": begin + 60.0 * number,
                    "score": chance.gauss(1.0, 0.1),
                    "p_value": chance.random(),
                    "numbers": {name: chance.gauss(5.0, 0.1) for name in HEADER},
                }
            )
    for number in range(DEVICES):
        rows[drift_device].append(
            {
                "name": f"SIEMENS DEVICE_{number} 12345",
                "device": f"SIEMENS DEVICE_{number}",
                "station": f"MR{number}",
                "serial": "12345",
                "software": [{"version": "syngo MR E11", "since": begin}],
                "first_lags": [60.0] * 50,
                "latest_lags": [61.0] * 50,
                "clock": "steady",
                "clock_since": None,
                "counted": count // DEVICES,
                "seen_at": begin,
            }
        )
    return rows


def _leased(number: int, state: str, at: float) -> dict[str, Any]:
    ended = state not in ("queued", "claimed")
    return {
        "id": number,
        "state": state,
        "attempt": 1,
        "attempts_before": 0,
        "created_at": at,
        "updated_at": at,
        "not_before": 0.0,
        "finished_at": at + 5.0 if ended else None,
        "worker": "",
        "reason": "It did not answer." if state == "dead" else "",
    }


def _write(database: Database, rows: dict[Table, list[dict[str, Any]]]) -> None:
    for table in sorted(rows, key=_ORDER.index):
        for some in _batches(rows[table], _ROWS_AT_ONCE):
            with database.begin() as tx:
                tx.execute(table.insert(), list(some))


def _count_on(database: Database) -> None:
    """Have the database give out numbers after those that were written by hand."""
    if database.dialect != "postgresql":
        return
    with database.begin() as tx:
        for table in _ORDER:
            if "id" in table.c:
                highest = select(func.coalesce(func.max(table.c.id), 1)).scalar_subquery()
                sequence = func.pg_get_serial_sequence(table.name, "id")
                tx.execute(select(func.setval(sequence, highest)))


def _batches(values: Iterable[Any], size: int) -> Iterator[tuple[Any, ...]]:
    rest = iter(values)
    while some := tuple(itertools.islice(rest, size)):
        yield some


_ORDER = [
    study,
    study_header,
    instance,
    job,
    outcome,
    delivery,
    forward,
    decision_record,
    feedback,
    channel,
    notification,
    audit_message,
    audit_table,
    drift_stream,
    drift_device,
    drift_observation,
]
