"""The facts of the books: what is kept, done and sent, row by row, and the files of the spool.

Everything is read in one transaction, as a stream, so that a site of millions of rows is read in
bounded memory. What the facts mean is `gatekeeper.ledger`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Select,
    cast,
    exists,
    func,
    literal,
    null,
    select,
    union_all,
)

from storage.engine import now
from storage.records import DeliveryState
from storage.schema import (
    delivery,
    delivery_item,
    instance,
    job,
    job_result,
    node,
    outcome,
    result,
    study,
)

_ROWS_AT_ONCE = 5000
_NAME = re.compile(r"[0-9a-f]{64}")
# No AE title has a backslash (PS3.5 section 6.2).
_BETWEEN = "\\"


@dataclass(frozen=True, slots=True)
class Kept:
    """A row that needs a file: ``instance``, ``result`` or ``delivery``, and its UID.

    `size` is None where the row states none.
    """

    digest: str
    size: int | None
    owner: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class SpoolFile:
    """A file under ``objects/``: `digest` is its name, empty when the name is none of ours."""

    path: Path
    digest: str
    size: int
    changed_at: float
    """Seconds since the epoch of the last write or link, by the file system's clock."""


@dataclass(frozen=True, slots=True)
class StudyFacts:
    """A study and how its jobs answer for it."""

    study_instance_uid: str
    state: str
    revision: int
    instances: int
    jobs_of_content: int
    """Jobs for the content of the latest completion."""
    revisions_with_job: int
    quiet_for: float
    """Seconds since new content came."""


@dataclass(frozen=True, slots=True)
class JobFacts:
    """A job, what it left, and to whom that was sent."""

    id: int
    study_instance_uid: str
    state: str
    reason: str
    due_for: float
    """Seconds since it may be claimed; negative while it waits."""
    lease_over_for: float | None
    """Seconds since its lease ended; negative while it holds."""
    twins: int
    """Jobs for the same revision of the study and the same models, itself included."""
    outcomes: int
    destinations: tuple[str, ...] | None
    """Nodes that the outcome names; None when it was written by an older version."""
    results: int
    deliveries: tuple[str, ...]
    """Node of each delivery, as often as there are deliveries to it."""


@dataclass(frozen=True, slots=True)
class DeliveryFacts:
    """A delivery, its objects, and its destination as it is now."""

    id: int
    job_id: int | None
    job_state: str | None
    node: str
    node_known: bool
    node_ready: bool
    """Enabled and with a port to call."""
    node_busy: bool
    """A delivery to it is under way."""
    state: str
    reason: str
    due_for: float
    lease_over_for: float | None
    items: int
    stored: int
    foreign: int
    """Objects that are not the job's results."""


def kept(tx: Connection) -> Iterator[Kept]:
    """Yield every row that needs a file, in the order of the digests."""
    digests = union_all(
        select(
            instance.c.digest,
            instance.c.size,
            literal("instance").label("owner"),
            instance.c.sop_instance_uid,
        ),
        select(result.c.digest, result.c.size, literal("result"), result.c.sop_instance_uid),
        select(
            delivery_item.c.digest,
            cast(null(), Integer),
            literal("delivery"),
            delivery_item.c.sop_instance_uid,
        )
        .join(delivery, delivery.c.id == delivery_item.c.delivery_id)
        .where(delivery.c.job_id.is_(None)),
    ).subquery()
    order: Any = digests.c.digest
    if tx.dialect.name == "postgresql":
        # The order of the bytes, as Python's, whatever the database's language.
        order = order.collate("C")
    for row in _stream(tx, select(digests).order_by(order)):
        yield Kept(*row)


def is_kept(tx: Connection, digest: str) -> bool:
    """Return whether an instance or a result still has this digest."""
    found = (
        select(literal(1)).where(table.c.digest == digest).limit(1) for table in (instance, result)
    )
    return any(tx.execute(query).one_or_none() is not None for query in found)


def files(spool: Path) -> Iterator[SpoolFile]:
    """Yield every file under ``objects/`` of this spool, in the order of the names.

    A file that goes away meanwhile is left out.

    Raises:
        OSError: if a folder cannot be read.
    """
    yield from _below(spool / "objects")


def _below(folder: Path) -> Generator[SpoolFile]:
    with os.scandir(folder) as entries:
        ordered = sorted(entries, key=lambda entry: entry.name)
    for entry in ordered:
        if entry.is_dir(follow_symlinks=False):
            yield from _below(Path(entry.path))
            continue
        try:
            found = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        digest = entry.name if _NAME.fullmatch(entry.name) else ""
        changed = max(found.st_mtime, found.st_ctime)
        yield SpoolFile(Path(entry.path), digest, found.st_size, changed)


def studies(tx: Connection) -> Iterator[StudyFacts]:
    """Yield every study."""
    of_study = job.c.study_instance_uid == study.c.study_instance_uid
    query = select(
        study.c.study_instance_uid,
        study.c.state,
        study.c.revision,
        _count(
            instance,
            instance.c.study_instance_uid == study.c.study_instance_uid,
            instance.c.own_result.is_(False),
        ),
        _count(job, of_study, job.c.content_digest == study.c.content_digest),
        select(func.count(job.c.revision.distinct())).where(of_study).scalar_subquery(),
        now() - study.c.last_received_at,
    ).order_by(study.c.study_instance_uid)
    for row in _stream(tx, query):
        yield StudyFacts(*row)


def without_study(tx: Connection) -> Iterator[tuple[str, str]]:
    """Yield SOP and Study Instance UID of each instance, not our own, whose study has no row."""
    known = exists(
        select(literal(1)).where(study.c.study_instance_uid == instance.c.study_instance_uid)
    )
    query = select(instance.c.sop_instance_uid, instance.c.study_instance_uid).where(
        instance.c.own_result.is_(False), ~known
    )
    for row in _stream(tx, query):
        yield row[0], row[1]


def jobs(tx: Connection) -> Iterator[JobFacts]:
    """Yield every job, the oldest first."""
    twin = job.alias("twin")
    sent = (
        select(func.aggregate_strings(delivery.c.node, _BETWEEN))
        .where(delivery.c.job_id == job.c.id)
        .scalar_subquery()
    )
    query = select(
        job.c.id,
        job.c.study_instance_uid,
        job.c.state,
        job.c.reason,
        now() - job.c.not_before,
        now() - job.c.lease_until,
        _count(
            twin,
            twin.c.study_instance_uid == job.c.study_instance_uid,
            twin.c.revision == job.c.revision,
            twin.c.model_digest == job.c.model_digest,
        ),
        _count(outcome, outcome.c.job_id == job.c.id),
        select(outcome.c.destinations).where(outcome.c.job_id == job.c.id).scalar_subquery(),
        _count(job_result, job_result.c.job_id == job.c.id),
        sent,
    ).order_by(job.c.id)
    for row in _stream(tx, query):
        *facts, destinations, results, nodes = row
        yield JobFacts(
            *facts,
            destinations=None if destinations is None else tuple(destinations),
            results=results,
            deliveries=tuple(nodes.split(_BETWEEN)) if nodes else (),
        )


def deliveries(tx: Connection) -> Iterator[DeliveryFacts]:
    """Yield every delivery, the oldest first."""
    other = delivery.alias("other")
    under_way = other.c.state == DeliveryState.CLAIMED.value
    items = delivery_item.c.delivery_id == delivery.c.id
    of_job = exists(
        select(literal(1))
        .where(
            job_result.c.job_id == delivery.c.job_id,
            job_result.c.sop_instance_uid == delivery_item.c.sop_instance_uid,
        )
        .correlate(delivery, delivery_item)
    )
    query = (
        select(
            delivery.c.id,
            delivery.c.job_id,
            job.c.state,
            delivery.c.node,
            node.c.ae_title.is_not(None),
            func.coalesce(node.c.enabled & (node.c.port != 0), literal(False)),
            exists(select(literal(1)).where(other.c.node == delivery.c.node, under_way)),
            delivery.c.state,
            delivery.c.reason,
            now() - delivery.c.not_before,
            now() - delivery.c.lease_until,
            _count(delivery_item, items),
            _count(delivery_item, items, delivery_item.c.stored),
            _count(delivery_item, items, delivery.c.job_id.is_not(None), ~of_job),
        )
        .outerjoin(job, job.c.id == delivery.c.job_id)
        .outerjoin(node, node.c.ae_title == delivery.c.node)
        .order_by(delivery.c.id)
    )
    for row in _stream(tx, query):
        yield DeliveryFacts(*row)


def idle_seconds(tx: Connection) -> tuple[float | None, float | None]:
    """Return the seconds since a job, and a delivery, was claimed last; None when none ever was."""
    found = [
        tx.execute(select(now() - func.max(table.c.claimed_at))).scalar_one()
        for table in (job, delivery)
    ]
    return found[0], found[1]


def _count(table: Any, *conditions: ColumnElement[bool]) -> Any:
    return select(func.count()).select_from(table).where(*conditions).scalar_subquery()


def _stream(tx: Connection, query: Select[*tuple[Any, ...]]) -> Iterator[Any]:
    return iter(tx.execute(query, execution_options={"yield_per": _ROWS_AT_ONCE}))
