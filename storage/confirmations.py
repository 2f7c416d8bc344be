"""Confirmations: whether a node says that it keeps what a delivery brought it.

A delivery to a node that confirms has one confirmation, under its own number, from the moment in
which everything is stored. Only the node's own word turns the delivery from delivered into
committed. What the node does not keep is queued again, a bounded number of times; then, and when
the node gives no answer, the confirmation is dead and seen as such.

Each question has a row before it is asked, so that an answer that comes later, to another process,
finds its delivery by its Transaction UID. An answer to a question from before a resend settles
nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, func, select, update

from storage import deliveries, leases
from storage.engine import facts, insert, now, plain
from storage.leases import Rescued
from storage.records import Confirmation, ConfirmationState, DeliveryItem, DeliveryState
from storage.schema import confirmation as table
from storage.schema import confirmation_request as asked
from storage.schema import delivery

_OPEN = [
    ConfirmationState.QUEUED.value,
    ConfirmationState.CLAIMED.value,
    # Given up, and answered after all.
    ConfirmationState.DEAD.value,
]


def expect(tx: Connection, delivery_id: int, node: str) -> None:
    """Ask for the confirmation of a delivery that has just ended, the first time or again."""
    tx.execute(
        insert(tx, table)
        .values(id=delivery_id, node=str(node), resends=0, **leases.queued_values())
        .on_conflict_do_update(
            index_elements=[table.c.id],
            set_={
                "state": leases.QUEUED,
                "attempts_before": table.c.attempt,
                "not_before": now(),
                "updated_at": now(),
                "lease_until": None,
                "finished_at": None,
            },
        )
    )


def due(tx: Connection) -> bool:
    """Return whether a node is to be asked."""
    return leases.due(tx, table)


def claim(
    tx: Connection, holder: str, lease_seconds: float, nodes_busy: Sequence[str] = ()
) -> Confirmation | None:
    """Claim the oldest confirmation that is due, of none of the busy nodes, or return None."""
    others = [table.c.node.not_in([str(node) for node in nodes_busy])] if nodes_busy else []
    claimed = leases.claim(tx, table, holder, lease_seconds, *others)
    return None if claimed is None else get(tx, claimed)


def ask(tx: Connection, confirmation: Confirmation, transaction_uid: str) -> bool:
    """Note a question before it is asked; False for a stale attempt."""
    held = leases.write(tx, table, confirmation.id, confirmation.attempt, {})
    if held:
        tx.execute(
            insert(tx, asked).values(
                transaction_uid=str(transaction_uid),
                confirmation_id=confirmation.id,
                resends=confirmation.resends,
                asked_at=now(),
            )
        )
    return held


def unask(tx: Connection, transaction_uid: str) -> None:
    """Take back a question that did not reach the node."""
    tx.execute(asked.delete().where(asked.c.transaction_uid == transaction_uid))


def questions(tx: Connection, confirmation: Confirmation) -> int:
    """Return how often the node was asked since the delivery was last sent or retried."""
    query = select(func.count()).where(
        asked.c.confirmation_id == confirmation.id, asked.c.resends == confirmation.resends
    )
    return tx.execute(query).scalar_one()


def of_transaction(tx: Connection, node: str, transaction_uid: str) -> Confirmation | None:
    """Return the confirmation that was asked for under this UID, as of then; None when none was."""
    query = (
        select(asked.c.confirmation_id, asked.c.resends)
        .join(table, table.c.id == asked.c.confirmation_id)
        .where(asked.c.transaction_uid == transaction_uid, table.c.node == node)
    )
    row = tx.execute(query).one_or_none()
    found = None if row is None else get(tx, row.confirmation_id)
    if row is None or found is None:
        return None
    return dataclasses.replace(found, resends=row.resends)


def expected(tx: Connection, confirmation: Confirmation) -> list[DeliveryItem]:
    """Return the objects that the node is to confirm: all that were sent to it."""
    return [one for one in deliveries.items_of(tx, confirmation.id) if not one.left_out]


def commit(tx: Connection, confirmation: Confirmation) -> bool:
    """Turn the delivery into committed: the node keeps every object of it.

    Returns:
        False, and nothing written, when it was settled before, or is being resent since.
    """
    if not _settle(tx, confirmation, ConfirmationState.COMMITTED, "", confirmation.resends):
        return False
    tx.execute(
        update(delivery)
        .where(delivery.c.id == confirmation.id, delivery.c.state == DeliveryState.DELIVERED.value)
        .values(state=DeliveryState.COMMITTED.value, updated_at=now())
    )
    return True


def resend(
    tx: Connection,
    confirmation: Confirmation,
    sop_instance_uids: Collection[str],
    reason: str,
    limit: int,
) -> ConfirmationState | None:
    """Queue again what the node does not keep, or after `limit` such rounds give up.

    Returns:
        Resending or dead; None, and nothing written, when it was settled before.
    """
    if confirmation.resends >= limit:
        state = ConfirmationState.DEAD
        settled = _settle(tx, confirmation, state, reason, confirmation.resends)
        return state if settled else None
    state = ConfirmationState.RESENDING
    if not _settle(tx, confirmation, state, reason, confirmation.resends + 1):
        return None
    deliveries.resend(tx, confirmation.id, sop_instance_uids)
    return state


def reopen(tx: Connection, delivery_id: int) -> None:
    """Take back what was confirmed of a delivery that is sent again; its questions are void."""
    tx.execute(asked.delete().where(asked.c.confirmation_id == delivery_id))
    tx.execute(
        update(table)
        .where(table.c.id == delivery_id)
        .values(state=ConfirmationState.RESENDING.value, resends=0, updated_at=now())
    )


def fail(tx: Connection, confirmation: Confirmation, reason: str, delay: float | None) -> bool:
    """Ask again after `delay` seconds, or for None give up; False for a stale attempt."""
    return leases.fail(tx, table, confirmation.id, confirmation.attempt, reason, delay)


def waive(tx: Connection, confirmation: Confirmation) -> bool:
    """Forget a confirmation whose node is not asked any more; False for a stale attempt."""
    if not leases.write(tx, table, confirmation.id, confirmation.attempt, {}):
        return False
    forget(tx, confirmation.id)
    return True


def forget(tx: Connection, delivery_id: int) -> None:
    """Forget the confirmation of a delivery whose node is not asked any more, if there is one."""
    tx.execute(asked.delete().where(asked.c.confirmation_id == delivery_id))
    tx.execute(table.delete().where(table.c.id == delivery_id))


def retry(tx: Connection, delivery_id: int) -> bool:
    """Ask afresh for a dead confirmation; False when it is not dead."""
    revived = leases.retry(tx, table, delivery_id)
    if revived:
        # A round of its own, so that what was asked before does not count against it.
        tx.execute(update(table).where(table.c.id == delivery_id).values(resends=0))
        tx.execute(asked.delete().where(asked.c.confirmation_id == delivery_id))
    return revived


def rescue(tx: Connection, maximum_attempts: int, delay: Callable[[int], float] | float) -> Rescued:
    """Take back confirmations whose lease expired; see `leases.rescue`."""
    return leases.rescue(tx, table, maximum_attempts, delay, "sender")


def get(tx: Connection, delivery_id: int) -> Confirmation | None:
    """Return the confirmation of a delivery, or None."""
    query = select(*_COLUMNS).where(table.c.id == delivery_id)
    row = tx.execute(query).mappings().one_or_none()
    return None if row is None else _confirmation(row)


def counts(tx: Connection) -> dict[ConfirmationState, int]:
    """Return how many confirmations are in each state."""
    found = leases.counts(tx, table)
    return {state: found.get(state.value, 0) for state in ConfirmationState}


_COLUMNS: list[ColumnElement[Any]] = [
    table.c[name]
    for name in (
        "id",
        "node",
        "state",
        "attempt",
        "created_at",
        "resends",
        "attempts_before",
        "reason",
    )
]


def _settle(
    tx: Connection,
    confirmation: Confirmation,
    state: ConfirmationState,
    reason: str,
    resends: int,
) -> bool:
    """End a round of asking, whoever heard the answer; only the first of them does."""
    ended = (
        update(table)
        .where(
            table.c.id == confirmation.id,
            table.c.state.in_(_OPEN),
            table.c.resends == confirmation.resends,
        )
        .values(
            state=state.value,
            resends=resends,
            reason=plain(reason)[: leases.REASON_LENGTH],
            lease_until=None,
            finished_at=now(),
            updated_at=now(),
        )
    )
    return tx.execute(ended).rowcount == 1


def _confirmation(row: RowMapping) -> Confirmation:
    return Confirmation(**facts(row, state=ConfirmationState(row["state"])))
