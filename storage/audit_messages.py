"""Audit messages: the bounded outbox of what a repository is told, and what did not fit into it.

A message is written in the transaction of its event where there is one, so that both are one
commit; one that is written twice under the same key is one message. The outbox has a limit: a
message that finds it full is not kept but counted, by event, in the same transaction.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Sequence

from sqlalchemy import (
    Connection,
    RowMapping,
    bindparam,
    delete,
    func,
    literal_column,
    select,
    update,
)

from storage import leases
from storage.engine import facts, insert, insert_on, now, plain
from storage.leases import Rescued
from storage.prepared import Prepared
from storage.records import AuditDrop, AuditMessage, AuditMessageState
from storage.schema import audit_drop
from storage.schema import audit_message as table

_DAY_SECONDS = 86400.0
_FORGET_LIMIT = 10_000
# Written out, not bound: a partial index serves what names its rows literally.
_WAITS = table.c.state == literal_column(f"'{leases.QUEUED}'")
_GIVEN = ("event", "subject", "dedup", "happened_at", "severity", "content")
_ENDED = (AuditMessageState.SENT.value, AuditMessageState.DEAD.value)


def enqueue(
    tx: Connection,
    event: str,
    subject: str,
    content: str,
    happened_at: float,
    severity: int,
    backlog: int,
    dedup: str | None = None,
) -> int | None:
    """Queue a message and return its id; None when its key was used before, or there is no room.

    Args:
        tx: the transaction of the event, where there is one.
        event: which message it is.
        subject: what it is about.
        content: the XML.
        happened_at: when; seconds since 1970.
        severity: as syslog counts.
        backlog: most messages that may wait.
        dedup: the same for the same event, however often it is noticed; None for a new one.
    """
    if is_full(tx, backlog):
        drop(tx, event)
        return None
    given = {
        "event": event,
        "subject": plain(subject),
        "dedup": dedup or str(uuid.uuid4()),
        "happened_at": happened_at,
        "severity": severity,
        "content": plain(content),
    }
    made = _INSERTING.run(tx, given)
    return made[0][0] if made else None


def drop(tx: Connection, event: str, count: int = 1) -> None:
    """Count messages that are not kept."""
    statement = insert(tx, audit_drop).values(
        event=event, count=count, first_at=now(), last_at=now()
    )
    tx.execute(
        statement.on_conflict_do_update(
            index_elements=[audit_drop.c.event],
            set_={"count": audit_drop.c.count + count, "last_at": now()},
        )
    )


def drops(tx: Connection) -> list[AuditDrop]:
    """Return what was not kept, by event."""
    rows = tx.execute(select(audit_drop).order_by(audit_drop.c.event)).mappings()
    return [AuditDrop(**row) for row in rows]


def is_due(tx: Connection) -> bool:
    """Return whether a message waits for a claim: a look that writes nothing."""
    return leases.due(tx, table)


def claim(tx: Connection, sender: str, lease_seconds: float, limit: int) -> list[AuditMessage]:
    """Claim the oldest messages that are due, one attempt more each; none if none is."""
    claimed: list[AuditMessage] = []
    while len(claimed) < limit:
        row = leases.claim_row(tx, table, sender, lease_seconds)
        if row is None:
            break
        claimed.append(_message(row))
    return claimed


def sent(tx: Connection, message_id: int, attempt: int) -> bool:
    """Note that the repository has the message; False for a stale attempt."""
    return leases.finish(tx, table, message_id, attempt, AuditMessageState.SENT.value)


def fail(tx: Connection, message_id: int, attempt: int, reason: str, delay: float | None) -> bool:
    """Queue it again after `delay` seconds, or for None set it aside as dead; see `leases.fail`."""
    return leases.fail(tx, table, message_id, attempt, reason, delay)


def rescue(tx: Connection, maximum_attempts: int, delay: Callable[[int], float] | float) -> Rescued:
    """Take back messages whose lease expired; see `leases.rescue`."""
    return leases.rescue(tx, table, maximum_attempts, delay, "sender")


def retry(tx: Connection) -> int:
    """Queue every dead message with all its attempts before it; return how many."""
    return tx.execute(
        update(table)
        .where(table.c.state == AuditMessageState.DEAD.value)
        .values(
            state=AuditMessageState.QUEUED.value,
            attempts_before=table.c.attempt,
            not_before=now(),
            updated_at=now(),
            finished_at=None,
        )
    ).rowcount


def listing(
    tx: Connection, states: Collection[AuditMessageState] = (), limit: int = 100
) -> list[AuditMessage]:
    """Return messages, the newest first, in one of these states where any is given."""
    conditions = [table.c.state.in_([one.value for one in states])] if states else []
    rows: Sequence[RowMapping] = leases.newest(tx, list(table.c), table, conditions, limit)
    return [_message(row) for row in rows]


def counts(tx: Connection) -> dict[AuditMessageState, int]:
    """Return how many messages are in each state."""
    found = leases.counts(tx, table)
    return {state: found.get(state.value, 0) for state in AuditMessageState}


def forget(tx: Connection, days: float) -> int:
    """Remove what ended more than so many days ago, with its key; return how many."""
    long_ago = table.c.finished_at < now() - days * _DAY_SECONDS
    some = select(table.c.id).where(long_ago, table.c.state.in_(_ENDED)).order_by(table.c.id)
    gone = delete(table).where(table.c.id.in_(some.limit(_FORGET_LIMIT)))
    return tx.execute(gone).rowcount


def is_full(tx: Connection, backlog: int) -> bool:
    """Return whether so many messages wait; counts them only when that may be."""
    [(oldest, newest)] = _SPAN.run(tx, {})
    if oldest is None or newest - oldest + 1 < backlog:
        return False
    return tx.execute(select(func.count()).select_from(table).where(_WAITS)).scalar_one() >= backlog


_SPAN = Prepared(
    lambda _dialect: select(
        select(func.min(table.c.id)).where(_WAITS).scalar_subquery(),
        select(func.max(table.c.id)).scalar_subquery(),
    )
)

_INSERTING = Prepared(
    lambda dialect: (
        insert_on(dialect, table)
        .values({**{name: bindparam(name) for name in _GIVEN}, **leases.queued_values()})
        .on_conflict_do_nothing(index_elements=[table.c.dedup])
        .returning(table.c.id)
    )
)


def _message(row: RowMapping) -> AuditMessage:
    left_out = {"dedup", "updated_at", "claimed_at", "worker", "lease_until"}
    known = {name: value for name, value in row.items() if name not in left_out}
    return AuditMessage(**facts(known, state=AuditMessageState(row["state"])))
