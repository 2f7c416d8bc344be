"""Versions of the dynamic configuration: appended one after the other, never changed.

The rows are facts about other tables (nodes, active bundles, policy, ...), which stay the truth.
Triggers of the database refuse to update or delete a version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, Table, func, insert, select, text

from storage.engine import facts, now, plain
from storage.records import ConfigurationVersion
from storage.schema import configuration_version as table


def lock(tx: Connection, tables: Sequence[Table]) -> None:
    """Keep everyone else from writing versions or `tables` until this transaction ends.

    SQLite has one writer, which is the lock there. On PostgreSQL readers are not held up.

    Raises:
        DatabaseUnavailableError: when another holds it for longer than the database's lock time.
    """
    if tx.dialect.name == "postgresql":
        quote = tx.dialect.identifier_preparer.format_table
        names = ", ".join(quote(one) for one in (table, *tables))
        tx.execute(text(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE"))


def latest(tx: Connection) -> ConfigurationVersion | None:
    """Return the newest version; None before the first change."""
    row = tx.execute(select(table).order_by(table.c.number.desc()).limit(1)).mappings().first()
    return None if row is None else _version(row)


def latest_number(tx: Connection) -> int:
    """Return the number of the newest version; 0 before the first change."""
    return tx.execute(select(func.coalesce(func.max(table.c.number), 0))).scalar_one()


def get(tx: Connection, number: int) -> ConfigurationVersion | None:
    """Return the version of this number, or None."""
    row = tx.execute(select(table).where(table.c.number == number)).mappings().one_or_none()
    return None if row is None else _version(row)


def listing(tx: Connection, limit: int, before: int | None = None) -> list[ConfigurationVersion]:
    """Return up to `limit` versions, the newest first; with `before`, only older ones than it."""
    query = select(table).order_by(table.c.number.desc()).limit(limit)
    if before is not None:
        query = query.where(table.c.number < before)
    return [_version(row) for row in tx.execute(query).mappings()]


def append(
    tx: Connection,
    who: str,
    why: str,
    document: Mapping[str, Any],
    digest: str,
    restored_from: int | None = None,
) -> ConfigurationVersion:
    """Write the next version and return it; `lock` is to be held."""
    added = (
        insert(table)
        .values(
            number=latest_number(tx) + 1,
            at=now(),
            who=plain(who),
            why=plain(why),
            document=document,
            digest=digest,
            restored_from=restored_from,
        )
        .returning(*table.c)
    )
    return _version(tx.execute(added).mappings().one())


def _version(row: RowMapping) -> ConfigurationVersion:
    return ConfigurationVersion(**facts(row))
