"""Commitments: what nodes asked us to commit to, what was decided, and the report owed to them.

A request is one row for its node and Transaction UID, however often it is sent. The report is
owed until the node has taken it or attempts end; who sends it holds the row by a lease.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, exists, select, update

from storage import leases
from storage.engine import facts, insert, now
from storage.leases import Rescued
from storage.records import Commitment, CommitmentItem, CommitmentState
from storage.schema import commitment as table
from storage.schema import commitment_item as item


class TransactionInUseError(Exception):
    """A node used a Transaction UID a second time, for other instances."""


def request(
    tx: Connection,
    node: str,
    transaction_uid: str,
    items: Sequence[CommitmentItem],
    holder: str,
    lease_seconds: float,
) -> Commitment | None:
    """Keep a node's request, held by who keeps it; None when it is known and still under way.

    A request that was reported on, or given up, is taken up again and decided afresh: the node
    would not ask again had it our answer.

    Args:
        tx: the open transaction.
        node: AE title of who asks.
        transaction_uid: the request's own UID.
        items: the instances, at least one; `failure` is ignored.
        holder: who will report first.
        lease_seconds: how long it has for that.

    Raises:
        ValueError: if there are no items.
        TransactionInUseError: if the UID was used for other instances.
    """
    if not items:
        raise ValueError("a commitment needs at least one instance")
    held = {
        "state": leases.CLAIMED,
        "worker": holder,
        "claimed_at": now(),
        "lease_until": now() + lease_seconds,
        "updated_at": now(),
    }
    values = leases.queued_values() | held | {"attempt": 1}
    made = tx.execute(
        insert(tx, table)
        .values(node=str(node), transaction_uid=str(transaction_uid), **values)
        .on_conflict_do_nothing(index_elements=[table.c.node, table.c.transaction_uid])
        .returning(table.c.id)
    ).scalar_one_or_none()
    if made is not None:
        _insert_items(tx, made, items)
        return existing(tx, made)
    query = select(table.c.id).where(
        table.c.node == str(node), table.c.transaction_uid == str(transaction_uid)
    )
    known = tx.execute(query.with_for_update()).scalar_one()
    if _asked(items_of(tx, known)) != _asked(items):
        raise TransactionInUseError
    taken_up = (
        update(table)
        .where(
            table.c.id == known,
            table.c.state.in_([CommitmentState.REPORTED.value, CommitmentState.DEAD.value]),
        )
        .values(
            **held,
            attempt=table.c.attempt + 1,
            attempts_before=table.c.attempt,
            decided_at=None,
            finished_at=None,
            reason="",
        )
    )
    return existing(tx, known) if tx.execute(taken_up).rowcount else None


def due(tx: Connection) -> bool:
    """Return whether a report waits to be sent."""
    return leases.due(tx, table)


def claim(
    tx: Connection, holder: str, lease_seconds: float, nodes_busy: Sequence[str] = ()
) -> Commitment | None:
    """Claim the oldest report that is due, to none of the nodes that are busy, or return None."""
    others = [table.c.node.not_in([str(node) for node in nodes_busy])] if nodes_busy else []
    claimed = leases.claim(tx, table, holder, lease_seconds, *others)
    return None if claimed is None else existing(tx, claimed)


def decide(
    tx: Connection, commitment_id: int, attempt: int, failures: Sequence[int | None]
) -> bool:
    """Write what we commit to: for each item, in order, its failure reason or None.

    Returns:
        False, and nothing written, when the report is no longer this attempt's.
    """
    if not leases.write(tx, table, commitment_id, attempt, {"decided_at": now()}):
        return False
    mine = item.c.commitment_id == commitment_id
    tx.execute(update(item).where(mine).values(failure=None))
    for position, failure in enumerate(failures):
        if failure is not None:
            tx.execute(
                update(item).where(mine, item.c.position == position).values(failure=failure)
            )
    return True


def items_of(tx: Connection, commitment_id: int) -> list[CommitmentItem]:
    """Return the instances of a commitment, in the order of its request."""
    query = (
        select(item.c.sop_class_uid, item.c.sop_instance_uid, item.c.failure)
        .where(item.c.commitment_id == commitment_id)
        .order_by(item.c.position)
    )
    return [CommitmentItem(**row) for row in tx.execute(query).mappings()]


def reported(tx: Connection, commitment_id: int, attempt: int) -> bool:
    """Note that the node has taken the report; False for a stale attempt."""
    return leases.finish(tx, table, commitment_id, attempt, CommitmentState.REPORTED.value)


def fail(
    tx: Connection, commitment_id: int, attempt: int, reason: str, delay: float | None
) -> bool:
    """Owe the report again after `delay` seconds, or for None give it up; see `leases.fail`."""
    return leases.fail(tx, table, commitment_id, attempt, reason, delay)


def rescue(tx: Connection, maximum_attempts: int, delay: Callable[[int], float] | float) -> Rescued:
    """Take back reports whose lease expired; see `leases.rescue`."""
    return leases.rescue(tx, table, maximum_attempts, delay, "reporter")


def get(tx: Connection, node: str, transaction_uid: str) -> Commitment | None:
    """Return a node's commitment of this Transaction UID, or None."""
    query = select(*_COLUMNS).where(
        table.c.node == node, table.c.transaction_uid == transaction_uid
    )
    row = tx.execute(query).mappings().one_or_none()
    return None if row is None else _commitment(row)


def existing(tx: Connection, commitment_id: int) -> Commitment:
    """Return the commitment of this id, which is known to exist."""
    query = select(*_COLUMNS).where(table.c.id == commitment_id)
    return _commitment(tx.execute(query).mappings().one())


def counts(tx: Connection) -> dict[CommitmentState, int]:
    """Return how many commitments are in each state."""
    found = leases.counts(tx, table)
    return {state: found.get(state.value, 0) for state in CommitmentState}


def promised(sop_instance_uid: ColumnElement[str]) -> ColumnElement[bool]:
    """Return the condition that we committed to an instance of this UID before some node."""
    return exists(
        select(item.c.position).where(
            item.c.sop_instance_uid == sop_instance_uid,
            # What is not decided yet may be promised in a moment.
            item.c.failure.is_(None),
        )
    )


_COLUMNS: list[ColumnElement[Any]] = [
    table.c[name]
    for name in (
        "id",
        "node",
        "transaction_uid",
        "state",
        "attempt",
        "created_at",
        "attempts_before",
        "decided_at",
        "reason",
    )
]


def _insert_items(tx: Connection, commitment_id: int, items: Sequence[CommitmentItem]) -> None:
    tx.execute(
        insert(tx, item),
        [
            {
                "commitment_id": commitment_id,
                "position": position,
                "sop_class_uid": str(one.sop_class_uid),
                "sop_instance_uid": str(one.sop_instance_uid),
            }
            for position, one in enumerate(items)
        ],
    )


def _asked(items: Sequence[CommitmentItem]) -> list[tuple[str, str]]:
    return [(str(one.sop_class_uid), str(one.sop_instance_uid)) for one in items]


def _commitment(row: RowMapping) -> Commitment:
    return Commitment(**facts(row, state=CommitmentState(row["state"])))
