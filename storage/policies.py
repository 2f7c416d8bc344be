"""Policy: values that an administrator set in place of those in the settings file."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, delete, select

from storage.engine import insert
from storage.schema import site_policy as table


def save(tx: Connection, key: str, value: Any) -> None:
    """Set a value, in place of the one set before."""
    tx.execute(
        insert(tx, table)
        .values(key=key, value=value)
        .on_conflict_do_update(index_elements=[table.c.key], set_={"value": value})
    )


def remove(tx: Connection, key: str) -> bool:
    """Leave a key to the settings file; False when it was not set."""
    return tx.execute(delete(table).where(table.c.key == key)).rowcount == 1


def values(tx: Connection) -> dict[str, Any]:
    """Return every value by its key, in the order of the keys."""
    return {row.key: row.value for row in tx.execute(select(table).order_by(table.c.key))}
