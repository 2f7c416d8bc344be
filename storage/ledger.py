"""The facts of the books: what is done, sent, and owed, row by row.

Everything is read in one transaction, as a stream, so that a site of millions of rows is read in
bounded memory. The files are in `storage.stocktake`; what the facts mean is `gatekeeper.accounts`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    exists,
    func,
    literal,
    select,
)

from storage.engine import now
from storage.records import DeliveryState
from storage.schema import (
    commitment,
    commitment_item,
    confirmation,
    delivery,
    delivery_item,
    instance,
    job,
    job_result,
    node,
    notification,
    outcome,
    result,
    study,
)

_ROWS_AT_ONCE = 5000
# No AE title has a backslash (PS3.5 section 6.2).
_BETWEEN = "\\"


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
    confirmation: str | None = None
    """State of its confirmation; None when none is asked for."""


@dataclass(frozen=True, slots=True)
class ConfirmationFacts:
    """A question to a node whether it keeps a delivery, and that delivery."""

    id: int
    node: str
    node_enabled: bool
    """True also for a node that is not known: it is tried, and attempts have an end."""
    state: str
    delivery_state: str
    reason: str
    due_for: float
    lease_over_for: float | None


@dataclass(frozen=True, slots=True)
class CommitmentFacts:
    """What a node asked us to commit to, and the report that it is owed."""

    id: int
    node: str
    node_enabled: bool
    state: str
    decided: bool
    reason: str
    due_for: float
    lease_over_for: float | None
    items: int
    unkept: int
    """Instances that we committed to and do not keep, nor another node in our place."""


@dataclass(frozen=True, slots=True)
class NotificationFacts:
    """What a channel is told of one event."""

    id: int
    channel: str
    state: str
    reason: str
    lease_over_for: float | None


@dataclass(frozen=True, slots=True)
class Idle:
    """Seconds since one of each was claimed last; None when none ever was."""

    jobs: float | None
    deliveries: float | None
    errands: float | None
    """Confirmations and reports on commitments: the same threads take both."""


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
            select(confirmation.c.state)
            .where(confirmation.c.id == delivery.c.id)
            .scalar_subquery(),
        )
        .outerjoin(job, job.c.id == delivery.c.job_id)
        .outerjoin(node, node.c.ae_title == delivery.c.node)
        .order_by(delivery.c.id)
    )
    for row in _stream(tx, query):
        yield DeliveryFacts(*row)


def unsent(tx: Connection) -> Iterator[tuple[int, str, int]]:
    """Yield job, language and number of results in a language that none of its deliveries has."""
    sent = (
        select(delivery.c.job_id, delivery_item.c.sop_instance_uid)
        .join(delivery_item, delivery_item.c.delivery_id == delivery.c.id)
        .where(delivery.c.job_id.is_not(None))
        .distinct()
        .subquery()
    )
    some = exists(select(literal(1)).where(delivery.c.job_id == job_result.c.job_id))
    query = (
        select(job_result.c.job_id, result.c.language, func.count())
        .join(result, result.c.sop_instance_uid == job_result.c.sop_instance_uid)
        .outerjoin(
            sent,
            (sent.c.job_id == job_result.c.job_id)
            & (sent.c.sop_instance_uid == job_result.c.sop_instance_uid),
        )
        .where(some)
        .group_by(job_result.c.job_id, result.c.language)
        .having(func.count(sent.c.job_id) == 0)
        .order_by(job_result.c.job_id, result.c.language)
    )
    for row in _stream(tx, query):
        yield row[0], row[1], row[2]


def confirmations(tx: Connection) -> Iterator[ConfirmationFacts]:
    """Yield every confirmation, the oldest delivery first."""
    query = (
        select(
            confirmation.c.id,
            confirmation.c.node,
            func.coalesce(node.c.enabled, literal(True)),
            confirmation.c.state,
            delivery.c.state,
            confirmation.c.reason,
            now() - confirmation.c.not_before,
            now() - confirmation.c.lease_until,
        )
        .join(delivery, delivery.c.id == confirmation.c.id)
        .outerjoin(node, node.c.ae_title == confirmation.c.node)
        .order_by(confirmation.c.id)
    )
    for row in _stream(tx, query):
        yield ConfirmationFacts(*row)


def commitments(tx: Connection) -> Iterator[CommitmentFacts]:
    """Yield every request for commitment, the oldest first."""
    of_request = commitment_item.c.commitment_id == commitment.c.id
    here = exists(
        select(literal(1)).where(
            instance.c.sop_instance_uid == commitment_item.c.sop_instance_uid,
            instance.c.removed_at.is_(None),
        )
    )
    handed_on = exists(
        select(literal(1))
        .select_from(delivery_item)
        .join(delivery, delivery.c.id == delivery_item.c.delivery_id)
        .where(
            delivery_item.c.sop_instance_uid == commitment_item.c.sop_instance_uid,
            delivery.c.state == DeliveryState.COMMITTED.value,
        )
        .correlate(commitment_item)
    )
    promised = (
        of_request,
        commitment.c.decided_at.is_not(None),
        commitment_item.c.failure.is_(None),
    )
    query = (
        select(
            commitment.c.id,
            commitment.c.node,
            func.coalesce(node.c.enabled, literal(True)),
            commitment.c.state,
            commitment.c.decided_at.is_not(None),
            commitment.c.reason,
            now() - commitment.c.not_before,
            now() - commitment.c.lease_until,
            _count(commitment_item, of_request),
            _count(commitment_item, *promised, ~here, ~handed_on),
        )
        .outerjoin(node, node.c.ae_title == commitment.c.node)
        .order_by(commitment.c.id)
    )
    for row in _stream(tx, query):
        yield CommitmentFacts(*row)


def notifications(tx: Connection) -> Iterator[NotificationFacts]:
    """Yield every notification, the oldest first."""
    query = select(
        notification.c.id,
        notification.c.channel,
        notification.c.state,
        notification.c.reason,
        now() - notification.c.lease_until,
    ).order_by(notification.c.id)
    for row in _stream(tx, query):
        yield NotificationFacts(*row)


def idle(tx: Connection) -> Idle:
    """Return for how long nobody claimed anything."""

    def since(*tables: Table) -> float | None:
        queries = [select(now() - func.max(one.c.claimed_at)) for one in tables]
        found: list[float | None] = [tx.execute(query).scalar_one() for query in queries]
        return min((seconds for seconds in found if seconds is not None), default=None)

    return Idle(since(job), since(delivery), since(confirmation, commitment))


def _count(table: Any, *conditions: ColumnElement[bool]) -> Any:
    return select(func.count()).select_from(table).where(*conditions).scalar_subquery()


def _stream(tx: Connection, query: Select[*tuple[Any, ...]]) -> Iterator[Any]:
    return iter(tx.execute(query, execution_options={"yield_per": _ROWS_AT_ONCE}))
