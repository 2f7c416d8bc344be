"""Pauses: at which marks intake is paused, and since when; written by listeners, read by people."""

from __future__ import annotations

from sqlalchemy import Connection, delete, select

from storage.engine import insert, now
from storage.schema import intake_pause as table


def pause(tx: Connection, mark: str) -> None:
    """Note that intake is paused at this mark; noted before, it stays since then."""
    tx.execute(insert(tx, table).values(mark=mark, since=now()).on_conflict_do_nothing())


def resume(tx: Connection, mark: str) -> None:
    """Note that intake is not paused at this mark."""
    tx.execute(delete(table).where(table.c.mark == mark))


def paused(tx: Connection) -> dict[str, float]:
    """Return since when intake is paused, by mark."""
    return {row.mark: row.since for row in tx.execute(select(table).order_by(table.c.mark))}
