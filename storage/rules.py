"""Rules: rows of conditions and actions as documents, in the order in which they are asked."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, RowMapping, delete, func, select, update

from storage.engine import facts, insert, now
from storage.records import RuleRow
from storage.schema import rule as table


def save(tx: Connection, name: str, document: dict[str, Any], *, enabled: bool) -> None:
    """Enter a rule at the end, or replace the one of this name where it stands."""
    last = select(func.coalesce(func.max(table.c.position), 0) + 1).scalar_subquery()
    values = {"document": document, "enabled": enabled, "updated_at": now()}
    tx.execute(
        insert(tx, table)
        .values(name=name, position=last, **values)
        .on_conflict_do_update(index_elements=[table.c.name], set_=values)
    )


def get(tx: Connection, name: str) -> RuleRow | None:
    """Return the rule of this name, or None."""
    row = tx.execute(select(table).where(table.c.name == name)).mappings().one_or_none()
    return None if row is None else _rule(row)


def enable(tx: Connection, name: str, *, enabled: bool) -> bool:
    """Have a rule asked, or not; False when there is none of this name."""
    changed = update(table).where(table.c.name == name).values(enabled=enabled, updated_at=now())
    return tx.execute(changed).rowcount == 1


def move(tx: Connection, name: str, position: int) -> bool:
    """Put a rule at a position, 1 for the first; False when there is none of this name.

    All rules are numbered anew, from 1 and without gaps.
    """
    names = [row.name for row in listing(tx)]
    if name not in names:
        return False
    names.remove(name)
    names.insert(max(0, position - 1), name)
    for number, one in enumerate(names, start=1):
        tx.execute(update(table).where(table.c.name == one).values(position=number))
    return True


def remove(tx: Connection, name: str) -> bool:
    """Remove a rule; False when there is none of this name."""
    return tx.execute(delete(table).where(table.c.name == name)).rowcount == 1


def listing(tx: Connection) -> list[RuleRow]:
    """Return all rules in the order in which they are asked."""
    ordered = select(table).order_by(table.c.position, table.c.name)
    return [_rule(row) for row in tx.execute(ordered).mappings()]


def _rule(row: RowMapping) -> RuleRow:
    return RuleRow(**facts(row))
