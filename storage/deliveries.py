"""Deliveries: sets of objects on their way to one node each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    bindparam,
    exists,
    func,
    literal,
    select,
    update,
)

from storage import leases
from storage.engine import facts, insert, now
from storage.leases import Rescued
from storage.records import (
    HAS_ALL,
    ConfirmationState,
    Delivery,
    DeliveryItem,
    DeliveryState,
    Instance,
    Result,
)
from storage.schema import confirmation, instance, job, result
from storage.schema import delivery as table
from storage.schema import delivery_item as item

_NOTE = (
    update(item)
    .where(item.c.delivery_id == bindparam("of"), item.c.sop_instance_uid == bindparam("uid"))
    .values(status=bindparam("answer"), stored=item.c.stored | bindparam("has"))
)


def create(
    tx: Connection, node: str, items: Sequence[Result | Instance], job_id: int | None = None
) -> int:
    """Queue a delivery of these objects, in this order, and return its id.

    Raises:
        ValueError: if there are no items.
    """
    if not items:
        raise ValueError("a delivery needs at least one object")
    delivery_id = tx.execute(
        insert(tx, table)
        .values(node=str(node), job_id=job_id, **leases.queued_values())
        .returning(table.c.id)
    ).scalar_one()
    tx.execute(
        insert(tx, item),
        [
            {
                "delivery_id": delivery_id,
                "position": position,
                "sop_instance_uid": str(one.sop_instance_uid),
                "sop_class_uid": str(one.sop_class_uid),
                "transfer_syntax_uid": str(one.transfer_syntax_uid),
                "digest": str(one.digest),
                "stored": False,
            }
            for position, one in enumerate(items)
        ],
    )
    return delivery_id


def claim(
    tx: Connection, sender: str, lease_seconds: float, nodes_busy: Sequence[str] = ()
) -> Delivery | None:
    """Claim the oldest delivery that is due, one attempt more, or return None.

    Args:
        tx: the open transaction.
        sender: who claims.
        lease_seconds: how long the claim holds without a heartbeat.
        nodes_busy: nodes to leave alone, so that a slow one delays no other.
    """
    others = table.c.node.not_in([str(node) for node in nodes_busy])
    claimed = leases.claim(tx, table, sender, lease_seconds, *([others] if nodes_busy else []))
    return None if claimed is None else get(tx, claimed)


def heartbeat(tx: Connection, delivery_id: int, attempt: int, lease_seconds: float) -> bool:
    """Hold the delivery for so many seconds from now; False when it is no longer this attempt's."""
    return leases.heartbeat(tx, table, delivery_id, attempt, lease_seconds)


def pending_items(tx: Connection, delivery_id: int) -> list[DeliveryItem]:
    """Return the objects that the node has not stored yet and is to be sent, in order."""
    return [one for one in items_of(tx, delivery_id) if not (one.stored or one.left_out)]


def leave_out(
    tx: Connection, delivery_id: int, attempt: int, sop_instance_uids: Collection[str]
) -> bool:
    """Note which objects are not sent, these and no others; what is stored stays stored.

    Returns:
        False, and nothing written, when the delivery is no longer this attempt's.
    """
    if not _hold(tx, delivery_id, attempt):
        return False
    named = item.c.sop_instance_uid.in_([str(uid) for uid in sop_instance_uids])
    tx.execute(
        update(item)
        .where(item.c.delivery_id == delivery_id, item.c.left_out != (named & ~item.c.stored))
        .values(left_out=~item.c.left_out)
    )
    return True


def items_of(tx: Connection, delivery_id: int) -> list[DeliveryItem]:
    """Return all objects of a delivery, in order."""
    columns = [column for column in item.c if column.name != "position"]
    query = select(*columns).where(item.c.delivery_id == delivery_id).order_by(item.c.position)
    return [DeliveryItem(**row) for row in tx.execute(query).mappings()]


def places(tx: Connection, delivery_id: int) -> dict[str, tuple[str, str]]:
    """Return Study and Series Instance UID of a delivery's objects, where they are on record."""
    ours = (
        select(item.c.sop_instance_uid, job.c.study_instance_uid, result.c.series_instance_uid)
        .join(table, table.c.id == item.c.delivery_id)
        .join(job, job.c.id == table.c.job_id)
        .join(result, result.c.sop_instance_uid == item.c.sop_instance_uid)
        .where(item.c.delivery_id == delivery_id)
    )
    received = (
        select(
            item.c.sop_instance_uid, instance.c.study_instance_uid, instance.c.series_instance_uid
        )
        .join(instance, instance.c.sop_instance_uid == item.c.sop_instance_uid)
        .where(item.c.delivery_id == delivery_id)
    )
    return {
        uid: (study, series)
        for query in (received, ours)
        for uid, study, series in tx.execute(query)
    }


def record_item(
    tx: Connection,
    delivery_id: int,
    attempt: int,
    sop_instance_uid: str,
    status: int | None,
    stored: bool,
) -> bool:
    """Note the node's answer about one object; see `record_items`."""
    return record_items(tx, delivery_id, attempt, [(sop_instance_uid, status, stored)])


def record_items(
    tx: Connection, delivery_id: int, attempt: int, answers: Sequence[tuple[str, int | None, bool]]
) -> bool:
    """Note the node's answers about objects; what is stored stays stored.

    Args:
        tx: the open transaction.
        delivery_id: the delivery.
        attempt: the attempt that had the answers.
        answers: of each object its SOP Instance UID, the status, and whether the node has it.

    Returns:
        False when an object is not of this delivery; False, and nothing written, when the delivery
        is no longer this attempt's.
    """
    if not _hold(tx, delivery_id, attempt):
        return False
    noted = tx.execute(
        _NOTE,
        [
            {"of": delivery_id, "uid": uid, "answer": status, "has": stored}
            for uid, status, stored in answers
        ],
    )
    return noted.rowcount == len(answers)


def finish(tx: Connection, delivery_id: int, attempt: int) -> bool:
    """Mark a delivery delivered.

    Returns:
        False, and nothing written, when it is no longer this attempt's or an object that is to be
        sent is not stored.
    """
    if pending_items(tx, delivery_id):
        return False
    return leases.finish(tx, table, delivery_id, attempt, DeliveryState.DELIVERED.value)


def fail(tx: Connection, delivery_id: int, attempt: int, reason: str, delay: float | None) -> bool:
    """Queue a delivery again after `delay` seconds, or for None set it aside as dead.

    Returns:
        False, and nothing written, when it is no longer this attempt's.
    """
    return leases.fail(tx, table, delivery_id, attempt, reason, delay)


def rescue(tx: Connection, maximum_attempts: int, delay: Callable[[int], float] | float) -> Rescued:
    """Take back deliveries whose lease expired; see `leases.rescue`."""
    return leases.rescue(tx, table, maximum_attempts, delay, "sender")


def retry(tx: Connection, delivery_id: int) -> bool:
    """Queue a dead delivery again with all its attempts before it; False when it is not dead.

    Objects that the node has stored are not sent again.
    """
    return leases.retry(tx, table, delivery_id)


def resend(tx: Connection, delivery_id: int, sop_instance_uids: Collection[str]) -> bool:
    """Queue a delivered delivery again for these of its objects, all its attempts before it.

    Returns:
        False, and nothing written, when it is not delivered or has none of them.
    """
    missing = tx.execute(
        update(item)
        .where(
            item.c.delivery_id == delivery_id,
            item.c.sop_instance_uid.in_([str(uid) for uid in sop_instance_uids]),
            exists(select(literal(1)).where(table.c.id == delivery_id, has_all())),
        )
        .values(stored=False)
    )
    if not missing.rowcount:
        return False
    tx.execute(
        update(table)
        .where(table.c.id == delivery_id)
        .values(
            state=DeliveryState.QUEUED.value,
            attempts_before=table.c.attempt,
            not_before=now(),
            updated_at=now(),
            finished_at=None,
        )
    )
    return True


def get(tx: Connection, delivery_id: int) -> Delivery | None:
    """Return the delivery of this id, or None."""
    row = tx.execute(select(*_columns()).where(table.c.id == delivery_id)).mappings().one_or_none()
    return None if row is None else _delivery(row)


def listing(
    tx: Connection, state: DeliveryState | None = None, node: str | None = None, limit: int = 100
) -> list[Delivery]:
    """Return deliveries, the newest first, of this state and to this node where given."""
    conditions: list[ColumnElement[bool]] = []
    if state is not None:
        conditions.append(table.c.state == state.value)
    if node is not None:
        conditions.append(table.c.node == node)
    return [_delivery(row) for row in leases.newest(tx, _columns(), table, conditions, limit)]


def for_job(tx: Connection, job_id: int) -> list[Delivery]:
    """Return the deliveries of a job's results, the oldest first."""
    query = select(*_columns()).where(table.c.job_id == job_id).order_by(table.c.id)
    return [_delivery(row) for row in tx.execute(query).mappings()]


def for_jobs(tx: Connection, job_ids: Collection[int]) -> dict[int, list[Delivery]]:
    """Return the deliveries of these jobs' results, of each job the oldest first."""
    query = select(*_columns()).where(table.c.job_id.in_(job_ids)).order_by(table.c.id)
    found: dict[int, list[Delivery]] = {}
    for row in tx.execute(query).mappings():
        found.setdefault(row["job_id"], []).append(_delivery(row))
    return found


def for_study(tx: Connection, study_uid: str) -> list[Delivery]:
    """Return the deliveries of a study's results and of its own instances, the oldest first."""
    of_results = select(job.c.id).where(job.c.study_instance_uid == study_uid)
    of_instances = (
        select(item.c.delivery_id)
        .join(instance, instance.c.sop_instance_uid == item.c.sop_instance_uid)
        .where(instance.c.study_instance_uid == study_uid)
    )
    query = (
        select(*_columns())
        .where(
            table.c.job_id.in_(of_results)
            | (table.c.job_id.is_(None) & table.c.id.in_(of_instances))
        )
        .order_by(table.c.id)
    )
    return [_delivery(row) for row in tx.execute(query).mappings()]


def counts(tx: Connection) -> dict[DeliveryState, int]:
    """Return how many deliveries are in each state."""
    found = leases.counts(tx, table)
    return {state: found.get(state.value, 0) for state in DeliveryState}


def counts_of(tx: Connection, node: str) -> dict[str, int]:
    """Return how many deliveries to a node are in each state that has any."""
    query = select(table.c.state, func.count()).where(table.c.node == node)
    rows = tx.execute(query.group_by(table.c.state)).all()
    return {row[0]: row[1] for row in rows}


def has_all() -> ColumnElement[bool]:
    """Return the condition that a delivery's node has answered every object as stored."""
    return table.c.state.in_([state.value for state in HAS_ALL])


def _hold(tx: Connection, delivery_id: int, attempt: int) -> bool:
    """Keep a delivery this attempt's until the transaction ends; False when it no longer is."""
    held = (
        select(table.c.id)
        .where(
            table.c.id == delivery_id,
            table.c.attempt == attempt,
            table.c.state == DeliveryState.CLAIMED.value,
        )
        .with_for_update()
    )
    return tx.execute(held).first() is not None


def _columns() -> list[ColumnElement[Any]]:
    total = select(func.count()).select_from(item).where(item.c.delivery_id == table.c.id)
    left_out = {"updated_at", "claimed_at", "worker", "finished_at"}
    return [
        *(column for column in table.c if column.name not in left_out),
        table.c.finished_at.label("delivered_at"),
        total.scalar_subquery().label("items"),
        total.where(item.c.stored).scalar_subquery().label("items_stored"),
        total.where(item.c.left_out).scalar_subquery().label("items_left_out"),
        select(confirmation.c.state)
        .where(confirmation.c.id == table.c.id)
        .scalar_subquery()
        .label("confirmation"),
    ]


def _delivery(row: RowMapping) -> Delivery:
    state = DeliveryState(row["state"])
    at = row["delivered_at"] if state in HAS_ALL else None
    asked = None if row["confirmation"] is None else ConfirmationState(row["confirmation"])
    return Delivery(**facts(row, state=state, delivered_at=at, confirmation=asked))
