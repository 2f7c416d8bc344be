"""Cursors of the audit: which rows of a table have had their message, each once.

Rows end in another order than they began. So beside the position, up to which every row is done,
stand the rows beyond it that are done already; they are forgotten as the position passes them. The
position and what is done move in the transaction that queues the messages, under a lock on the
cursor: a tick that runs twice, or twice at once, tells nothing twice. PostgreSQL may show a row
after one of a higher number; so the position waits until no transaction of that time can be open.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    delete,
    exists,
    func,
    literal,
    or_,
    select,
    update,
)

from storage.engine import insert, now
from storage.schema import audit_cursor, audit_told

SETTLED_SECONDS = 120.0
"""Longer than any transaction of ours is open (`storage.engine`)."""


def position(tx: Connection, source: str) -> int | None:
    """Return the position of a source; None before it has begun."""
    here = select(audit_cursor.c.position).where(audit_cursor.c.source == source)
    return tx.execute(here).scalar_one_or_none()


def begin(tx: Connection, source: str, column: Column[Any]) -> None:
    """Begin a source behind the rows that are there now; nothing when it has begun.

    Args:
        tx: the open transaction.
        source: name of the cursor.
        column: number of the rows; only ever rises.
    """
    latest = select(func.coalesce(func.max(column), 0)).scalar_subquery()
    made = insert(tx, audit_cursor).values(source=source, position=latest)
    tx.execute(made.on_conflict_do_nothing(index_elements=[audit_cursor.c.source]))


def untold(source: str, column: Column[Any], position: int) -> ColumnElement[bool]:
    """Return the condition that a row is beyond the position and has not had its message."""
    told = select(literal(1)).where(audit_told.c.source == source, audit_told.c.item == column)
    return (column > position) & ~exists(told)


def tell(
    tx: Connection, source: str, column: Column[Any], began: Column[Any], items: Collection[int]
) -> set[int]:
    """Note that rows have their messages, and move the position as far as it goes.

    Args:
        tx: the open transaction; the cursor is locked until it ends.
        source: name of the cursor, which has begun.
        column: number of the rows.
        began: when a row was written first; seconds since 1970.
        items: numbers of the rows.

    Returns:
        Those that had no message: to be made in this transaction.
    """
    held = select(audit_cursor.c.position).where(audit_cursor.c.source == source).with_for_update()
    here = tx.execute(held).scalar_one()
    asked = select(column).where(column.in_(items), untold(source, column, here))
    new = set(tx.execute(asked).scalars())
    if new:
        noted = insert(tx, audit_told).on_conflict_do_nothing()
        tx.execute(noted, [{"source": source, "item": item} for item in sorted(new)])
    young = (column > here) & (began > now() - SETTLED_SECONDS)
    first = select(func.min(column)).where(or_(untold(source, column, here), young))
    stays = tx.execute(first).scalar_one()
    last = select(func.max(audit_told.c.item)).where(audit_told.c.source == source)
    reached = tx.execute(last).scalar_one() if stays is None else stays - 1
    if reached is not None and reached > here:
        tx.execute(
            update(audit_cursor).where(audit_cursor.c.source == source).values(position=reached)
        )
        passed = (audit_told.c.source == source) & (audit_told.c.item <= reached)
        tx.execute(delete(audit_told).where(passed))
    return new


def reach(tx: Connection, source: str, position: int) -> bool:
    """Move the position of a source that is no table; False when it was there or beyond."""
    made = insert(tx, audit_cursor).values(source=source, position=position)
    moved = made.on_conflict_do_update(
        index_elements=[audit_cursor.c.source],
        set_={"position": position},
        where=audit_cursor.c.position < position,
    )
    return tx.execute(moved.returning(audit_cursor.c.position)).scalar_one_or_none() is not None
