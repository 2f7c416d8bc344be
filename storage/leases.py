"""Leases: rows that one worker at a time holds for a while, under a rising attempt number.

The attempt number is the fence. A claim raises it; every later write names it and changes nothing
when the number has moved on, so a worker that was thought dead cannot write over its successor.
A stage that people paused claims nothing; what is claimed already is finished.

Waits are by the database's clock. A row written in the future shows that this clock was set back
since; its waits are void, or a job could stand still for as long as the step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Table,
    exists,
    func,
    literal,
    or_,
    select,
    update,
)

from storage.engine import CLOCK_STEP_SECONDS, now, plain
from storage.schema import stage_pause

QUEUED = "queued"
CLAIMED = "claimed"
DEAD = "dead"

RESCUE_LIMIT = 1000
"""Most rows that one rescue looks at."""

REASON_LENGTH = 2000
"""Characters of a reason that are kept."""


@dataclass(frozen=True, slots=True)
class Rescued:
    """What `rescue` did with expired leases: how many it queued again, how many it gave up."""

    requeued: int
    dead: int
    dead_ids: tuple[int, ...] = field(default=(), compare=False)


def queued_values() -> dict[str, Any]:
    """Return the values of a row that waits for its first claim."""
    return {
        "state": QUEUED,
        "attempt": 0,
        "attempts_before": 0,
        "created_at": now(),
        "updated_at": now(),
        "not_before": now(),
        "worker": "",
        "reason": "",
    }


def claim(
    tx: Connection,
    table: Table,
    worker: str,
    lease_seconds: float,
    *conditions: ColumnElement[bool],
) -> int | None:
    """Claim the oldest row that is due and return its id, or None."""
    claimed = claim_row(tx, table, worker, lease_seconds, *conditions)
    return None if claimed is None else claimed["id"]


def claim_row(
    tx: Connection,
    table: Table,
    worker: str,
    lease_seconds: float,
    *conditions: ColumnElement[bool],
    first: Sequence[ColumnElement[Any]] = (),
) -> RowMapping | None:
    """Claim the oldest row that is due and return it, or None; one statement.

    `first` is what goes before age in the order of the rows.
    """
    due = (
        select(table.c.id)
        .where(
            # Written out, not bound: a partial index serves what names its rows literally.
            table.c.state == literal(QUEUED, literal_execute=True),
            or_(table.c.not_before <= now(), clock_was_set_back(table)),
            not_paused(table),
            *conditions,
        )
        .order_by(*first, table.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    claimed = (
        update(table)
        .where(table.c.id == due, table.c.state == QUEUED)
        .values(
            state=CLAIMED,
            attempt=table.c.attempt + 1,
            worker=worker,
            claimed_at=now(),
            updated_at=now(),
            lease_until=now() + lease_seconds,
        )
        .returning(*table.c)
    )
    return tx.execute(claimed).mappings().one_or_none()


def heartbeat(tx: Connection, table: Table, id: int, attempt: int, lease_seconds: float) -> bool:
    """Hold the lease for so long from now; False when it is no longer this attempt's."""
    return write(tx, table, id, attempt, {"lease_until": now() + lease_seconds})


def finish(tx: Connection, table: Table, id: int, attempt: int, state: str) -> bool:
    """End the row's life in `state`; False, and nothing written, for a stale attempt."""
    values = {"state": state, "lease_until": None, "finished_at": now(), "reason": ""}
    return write(tx, table, id, attempt, values)


def fail(
    tx: Connection,
    table: Table,
    id: int,
    attempt: int,
    reason: str,
    delay: float | None,
    *,
    counted: bool = True,
) -> bool:
    """Queue the row again after `delay` seconds, or for None set it aside as dead.

    An attempt that is not counted still keeps its number: the fence only rises.
    """
    values: dict[str, Any] = {"lease_until": None, "reason": plain(reason)[:REASON_LENGTH]}
    if delay is None:
        values |= {"state": DEAD, "finished_at": now()}
    else:
        values |= {"state": QUEUED, "not_before": now() + delay}
    if not counted:
        values["attempts_before"] = table.c.attempts_before + 1
    return write(tx, table, id, attempt, values)


def write(tx: Connection, table: Table, id: int, attempt: int, values: Mapping[str, Any]) -> bool:
    """Write to a claimed row under the fence; False, and nothing written, for a stale attempt."""
    fenced = (
        update(table)
        .where(table.c.id == id, table.c.attempt == attempt, table.c.state == CLAIMED)
        .values(updated_at=now(), **values)
    )
    return tx.execute(fenced).rowcount == 1


def rescue(
    tx: Connection,
    table: Table,
    maximum_attempts: int,
    delay: Callable[[int], float] | float,
    holder: str,
) -> Rescued:
    """Take back expired leases: queue them again after `delay`, or dead when attempts are used up.

    Args:
        tx: the open transaction.
        table: the leased table.
        maximum_attempts: attempts that a row has, counted from its latest retry.
        delay: seconds, or a function from the number of attempts made to seconds.
        holder: who held the lease, for the reason shown to people.
    """
    expired = tx.execute(
        select(table.c.id, table.c.attempt, table.c.attempts_before)
        .where(
            table.c.state == CLAIMED,
            or_(table.c.lease_until < now(), clock_was_set_back(table)),
        )
        .order_by(table.c.id)
        .limit(RESCUE_LIMIT)
        .with_for_update(skip_locked=True)
    ).all()
    dead: list[int] = []
    for found, attempt, before in expired:
        made = attempt - before
        reason = f"the {holder} of attempt {attempt} stopped without an answer"
        if made >= maximum_attempts:
            dead.append(found)
            reason += f"; given up after {made} attempts"
            fail(tx, table, found, attempt, reason, None)
        else:
            fail(tx, table, found, attempt, reason, delay(made) if callable(delay) else delay)
    return Rescued(len(expired) - len(dead), len(dead), tuple(dead))


def retry(tx: Connection, table: Table, id: int, *conditions: ColumnElement[bool]) -> bool:
    """Queue a dead row at once with all its attempts before it; False when it is not dead."""
    revived = (
        update(table)
        .where(table.c.id == id, table.c.state == DEAD, *conditions)
        .values(
            state=QUEUED,
            attempts_before=table.c.attempt,
            not_before=now(),
            updated_at=now(),
            finished_at=None,
        )
    )
    return tx.execute(revived).rowcount == 1


def counts(tx: Connection, table: Table) -> dict[str, int]:
    """Return how many rows are in each state that has any."""
    rows = tx.execute(select(table.c.state, func.count().label("number")).group_by(table.c.state))
    return {row.state: row.number for row in rows}


def due(tx: Connection, table: Table) -> bool:
    """Return whether a row waits for a claim: a look that writes nothing."""
    waiting = select(table.c.id).where(
        table.c.state == QUEUED,
        or_(table.c.not_before <= now(), clock_was_set_back(table)),
        not_paused(table),
    )
    return tx.execute(waiting.limit(1)).first() is not None


def newest(
    tx: Connection,
    columns: Sequence[ColumnElement[Any]],
    table: Table,
    conditions: Sequence[ColumnElement[bool]],
    limit: int,
) -> Sequence[RowMapping]:
    """Return rows, the newest first."""
    query = select(*columns).where(*conditions).order_by(table.c.id.desc()).limit(limit)
    return tx.execute(query).mappings().all()


def not_paused(table: Table) -> ColumnElement[bool]:
    """Return the condition that nobody paused what claims rows of this table."""
    return ~exists(select(literal(1)).where(stage_pause.c.stage == table.name))


def clock_was_set_back(table: Table) -> ColumnElement[bool]:
    """Return the condition that a row was written in the future, so that its waits are void."""
    return table.c.updated_at > now() + CLOCK_STEP_SECONDS
