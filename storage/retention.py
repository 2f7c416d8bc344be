"""Retention: which received files may go, the row that says so first, and the file after it.

A file may go when its study is complete and analysed as it is, nothing of it waits at the gate or
is held, every delivery of its results has ended (committed, where the node confirms), and nothing
that is not at its end needs it. A held verdict keeps a study until the gate has sent its latest
content on or rejected it; without a gated node, for ever. What we committed to before a node stays,
unless another node has committed to that very instance. Of a prior study, which is never complete,
a file may go when no study whose prior it is waits for it.

`mark` writes `removed_at` and a removal in one transaction; the file is unlinked under the removal,
which is then forgotten. A process that dies in between leaves the removal, and the next one goes
on. An instance that comes again takes its removal back (`instances.record`), so that its new file
is not unlinked; both hold the lock on its UID.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, exists, func, literal, or_, select, update

from storage import commitments, deliveries, study_headers
from storage.engine import insert, now
from storage.instances import one_at_a_time
from storage.records import (
    ConfirmationState,
    DeliveryState,
    ForwardState,
    JobState,
    PriorState,
    StudyState,
)
from storage.schema import (
    confirmation,
    delivery,
    delivery_item,
    forward,
    instance,
    job,
    outcome,
    prior,
    removal,
    study,
)


@dataclass(frozen=True, slots=True)
class Removal:
    """A file that is to go: its row says that it has."""

    instance_id: int
    sop_instance_uid: str
    digest: str


def candidates(
    tx: Connection, older_than_seconds: float, held: Collection[str], limit: int
) -> list[str]:
    """Return the Study Instance UIDs of which files may go, what came longest ago first.

    Args:
        tx: the open transaction.
        older_than_seconds: since an instance was received.
        held: verdicts that keep a study whatever its age.
        limit: most studies.
    """
    some = exists(
        select(literal(1)).where(
            instance.c.study_instance_uid == study.c.study_instance_uid,
            *_may_go(older_than_seconds),
        )
    )
    query = (
        select(study.c.study_instance_uid)
        .where(_is_done(study.c.study_instance_uid, held), some)
        .order_by(study.c.last_received_at, study.c.study_instance_uid)
    )
    return list(tx.execute(query.limit(limit)).scalars())


def prior_candidates(tx: Connection, older_than_seconds: float, limit: int) -> list[str]:
    """Return the Study Instance UIDs of priors of which files may go, the oldest first."""
    query = (
        select(instance.c.study_instance_uid)
        .where(*_prior_may_go(older_than_seconds))
        .group_by(instance.c.study_instance_uid)
        .order_by(func.min(instance.c.received_at), instance.c.study_instance_uid)
    )
    return list(tx.execute(query.limit(limit)).scalars())


def mark_prior(tx: Connection, study_uid: str, older_than_seconds: float) -> list[Removal]:
    """Write of a prior study's files that they are removed, as far as they may be."""
    return _mark(tx, instance.c.study_instance_uid == study_uid, *_prior_may_go(older_than_seconds))


def mark(
    tx: Connection, study_uid: str, older_than_seconds: float, held: Collection[str]
) -> list[Removal]:
    """Write of a study's files that they are removed, as far as they may be, and return them."""
    # A late instance, which would make the study incomplete, waits for us or we for it.
    tx.execute(
        select(study.c.state).where(study.c.study_instance_uid == study_uid).with_for_update()
    )
    marked = _mark(
        tx,
        instance.c.study_instance_uid == study_uid,
        _is_done(literal(study_uid), held),
        *_may_go(older_than_seconds),
    )
    if marked:
        study_headers.note(tx, study_uid)
    return marked


def _mark(tx: Connection, *conditions: ColumnElement[bool]) -> list[Removal]:
    rows = tx.execute(
        update(instance)
        .where(*conditions)
        .values(removed_at=now())
        .returning(instance.c.id, instance.c.sop_instance_uid, instance.c.digest)
    ).all()
    if rows:
        tx.execute(insert(tx, removal), [{"instance_id": row.id} for row in rows])
    return [Removal(*row) for row in rows]


def pending(tx: Connection, limit: int) -> list[Removal]:
    """Return removals whose files may still be there."""
    query = (
        select(instance.c.id, instance.c.sop_instance_uid, instance.c.digest)
        .join(removal, removal.c.instance_id == instance.c.id)
        .order_by(instance.c.id)
        .limit(limit)
    )
    return [Removal(*row) for row in tx.execute(query)]


def hold(tx: Connection, one: Removal) -> bool:
    """Lock the instance until the transaction ends; False when its removal was taken back.

    Within the same transaction the file is unlinked and the removal forgotten.
    """
    one_at_a_time(tx, one.sop_instance_uid)
    query = select(removal.c.instance_id).where(removal.c.instance_id == one.instance_id)
    return tx.execute(query).one_or_none() is not None


def forget(tx: Connection, one: Removal) -> None:
    """Note that the file is gone."""
    tx.execute(removal.delete().where(removal.c.instance_id == one.instance_id))


def _is_done(study_uid: ColumnElement[str], held: Collection[str]) -> ColumnElement[bool]:
    """Return the condition that a study is analysed as it is, and its results are delivered."""
    # Each of them one level deep: further down a study would not be taken for the one outside.
    latest = study.alias("latest")
    of_study = job.c.study_instance_uid == study_uid
    analysed = (
        select(literal(1))
        .select_from(job)
        .join(latest, latest.c.study_instance_uid == job.c.study_instance_uid)
        .where(
            of_study,
            latest.c.state == StudyState.COMPLETE.value,
            job.c.state == JobState.DONE.value,
            job.c.content_digest == latest.c.content_digest,
        )
    )
    unfinished = select(literal(1)).where(of_study, job.c.state != JobState.DONE.value)
    is_held = (
        select(literal(1))
        .select_from(outcome)
        .join(job, job.c.id == outcome.c.job_id)
        .where(of_study, outcome.c.verdict.in_([str(one) for one in held]))
    )
    sent = (
        select(literal(1))
        .select_from(delivery)
        .join(job, job.c.id == delivery.c.job_id)
        .where(of_study)
    )
    at_the_gate = select(literal(1)).where(forward.c.study_instance_uid == study_uid)
    is_open = forward.c.state.in_([ForwardState.WAITING.value, ForwardState.HELD.value])
    decided = at_the_gate.join(
        latest, latest.c.study_instance_uid == forward.c.study_instance_uid
    ).where(
        forward.c.gated,
        forward.c.content_digest == latest.c.content_digest,
        forward.c.state.in_([ForwardState.SENT.value, ForwardState.REJECTED.value]),
    )
    forwarded = at_the_gate.where(forward.c.delivery_id.is_not(None))
    return and_(
        exists(analysed),
        ~exists(unfinished),
        ~exists(at_the_gate.where(is_open)),
        or_(~exists(is_held), exists(decided)),
        or_(exists(sent), exists(forwarded)),
        ~exists(sent.where(_under_way())),
    )


def _prior_may_go(older_than_seconds: float) -> list[ColumnElement[bool]]:
    """Return the conditions that the file of an instance of a prior study may go.

    Nobody is fetching the study, and no study that it is a prior of is still to be forwarded.
    """
    of_study = prior.c.prior_study_uid == instance.c.study_instance_uid
    fetching = select(literal(1)).where(
        of_study, prior.c.state.in_([PriorState.QUEUED.value, PriorState.CLAIMED.value])
    )
    forwarding = (
        select(literal(1))
        .select_from(prior)
        .join(forward, forward.c.study_instance_uid == prior.c.study_instance_uid)
        .where(
            of_study,
            forward.c.state.in_([ForwardState.WAITING.value, ForwardState.HELD.value]),
        )
    )
    return [
        instance.c.prior.is_(True),
        *_needed_by_nobody(older_than_seconds),
        ~exists(fetching),
        ~exists(forwarding),
    ]


def _may_go(older_than_seconds: float) -> list[ColumnElement[bool]]:
    """Return the conditions that an instance's file may go, its study being done."""
    return [
        instance.c.prior.is_(False),
        instance.c.own_result.is_(False),
        *_needed_by_nobody(older_than_seconds),
    ]


def _needed_by_nobody(older_than_seconds: float) -> list[ColumnElement[bool]]:
    """Return the conditions that a file is old enough, single, on no way, and not promised."""
    other = instance.alias("other")
    conflict = select(literal(1)).where(
        other.c.sop_instance_uid == instance.c.sop_instance_uid,
        other.c.digest != instance.c.digest,
        other.c.prior.is_(False),
        instance.c.prior.is_(False),
    )
    handed_on = (
        select(literal(1))
        .select_from(delivery_item)
        .join(delivery, delivery.c.id == delivery_item.c.delivery_id)
        .where(
            delivery_item.c.sop_instance_uid == instance.c.sop_instance_uid,
            delivery_item.c.digest == instance.c.digest,
            delivery.c.state == DeliveryState.COMMITTED.value,
        )
    )
    needed = (
        select(delivery_item.c.digest)
        .join(delivery, delivery.c.id == delivery_item.c.delivery_id)
        .where(_under_way())
    )
    return [
        instance.c.removed_at.is_(None),
        instance.c.received_at <= now() - older_than_seconds,
        ~exists(conflict),
        instance.c.digest.not_in(needed),
        or_(~commitments.promised(instance.c.sop_instance_uid), exists(handed_on)),
    ]


def _under_way() -> ColumnElement[bool]:
    """Return the condition that a delivery is not at its end, its confirmation included."""
    unconfirmed = select(confirmation.c.id).where(
        confirmation.c.state != ConfirmationState.COMMITTED.value
    )
    return or_(~deliveries.has_all(), delivery.c.id.in_(unconfirmed))
