"""The facts of the books about forwards; what they mean is `gatekeeper.accounts`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, select

from storage import copies
from storage.engine import now
from storage.records import ForwardState, JobState, StudyState
from storage.schema import forward, instance, job, node, study

_ROWS_AT_ONCE = 5000


@dataclass(frozen=True, slots=True)
class ForwardFacts:
    """A forward, and what it waits for."""

    id: int
    study_instance_uid: str
    node: str
    node_known: bool
    gated: bool
    state: str
    reason: str
    decided_by: str
    waited_for: float
    """Seconds since it was written down."""
    judged_for: float | None
    """Seconds since the last job for its content ended; None while one has not."""
    hold_over_for: float | None
    """Seconds since its hold ended; negative while it holds, None when there is no end."""


@dataclass(frozen=True, slots=True)
class Uncopied:
    """Instances that a node was to get and has no delivery of."""

    study_instance_uid: str
    node: str
    count: int
    waited_for: float
    """Seconds since the first of them came."""


def forwards(tx: Connection) -> Iterator[ForwardFacts]:
    """Yield every forward, the oldest first."""
    of_content = and_(
        job.c.study_instance_uid == forward.c.study_instance_uid,
        job.c.content_digest == forward.c.content_digest,
    )
    ended = [JobState.DONE.value, JobState.DEAD.value]
    unfinished = select(job.c.id).where(of_content, job.c.state.not_in(ended)).exists()
    finished = select(now() - func.max(job.c.finished_at)).where(of_content, ~unfinished)
    query = (
        select(
            forward.c.id,
            forward.c.study_instance_uid,
            forward.c.node,
            node.c.ae_title.is_not(None),
            forward.c.gated,
            forward.c.state,
            forward.c.reason,
            forward.c.decided_by,
            now() - forward.c.created_at,
            finished.scalar_subquery(),
            now() - forward.c.hold_until,
        )
        .outerjoin(node, node.c.ae_title == forward.c.node)
        .order_by(forward.c.id)
    )
    for row in tx.execute(query, execution_options={"yield_per": _ROWS_AT_ONCE}):
        yield ForwardFacts(*row)


def uncopied(tx: Connection) -> Iterator[Uncopied]:
    """Yield what nodes lack of studies that were sent to them, or are copied as they come."""
    sent = and_(
        forward.c.study_instance_uid == study.c.study_instance_uid,
        forward.c.content_digest == study.c.content_digest,
        forward.c.state == ForwardState.SENT.value,
        study.c.state == StudyState.COMPLETE.value,
    )
    yield from _lacking(tx, forward.c.node, forward, sent)
    copying = [
        row.ae_title
        for row in tx.execute(select(node.c.ae_title, node.c.roles).where(node.c.receives_studies))
        if "downstream" not in row.roles
    ]
    arriving = and_(node.c.ae_title.in_(copying), study.c.state == StudyState.RECEIVING.value)
    yield from _lacking(tx, node.c.ae_title, node, arriving)


def _lacking(
    tx: Connection, ae_title: ColumnElement[str], of: Any, condition: ColumnElement[bool]
) -> Iterator[Uncopied]:
    query = (
        select(
            study.c.study_instance_uid,
            ae_title,
            func.count(),
            now() - func.min(instance.c.received_at),
        )
        .select_from(study.join(of, condition))
        .join(instance, instance.c.study_instance_uid == study.c.study_instance_uid)
        .where(
            instance.c.own_result.is_(False),
            instance.c.prior.is_(False),
            instance.c.removed_at.is_(None),
            instance.c.source_ae != ae_title,
            ~copies.delivered_to(ae_title),
        )
        .group_by(study.c.study_instance_uid, ae_title)
    )
    for row in tx.execute(query, execution_options={"yield_per": _ROWS_AT_ONCE}):
        yield Uncopied(*row)
