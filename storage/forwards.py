"""Forwards: contents of studies on their way, as received, to one node each."""

from __future__ import annotations

from sqlalchemy import Connection, RowMapping, select

from storage.engine import facts
from storage.records import Forward, ForwardState
from storage.schema import forward as table


def get(tx: Connection, forward_id: int) -> Forward | None:
    """Return the forward of this id, or None."""
    row = tx.execute(select(table).where(table.c.id == forward_id)).mappings().one_or_none()
    return None if row is None else _forward(row)


def listing(
    tx: Connection,
    state: ForwardState | None = None,
    study: str | None = None,
    node: str | None = None,
    limit: int = 100,
) -> list[Forward]:
    """Return forwards, the newest first, of this state, study and node where given."""
    query = select(table).order_by(table.c.id.desc()).limit(limit)
    if state is not None:
        query = query.where(table.c.state == state.value)
    if study is not None:
        query = query.where(table.c.study_instance_uid == study)
    if node is not None:
        query = query.where(table.c.node == node)
    return [_forward(row) for row in tx.execute(query).mappings()]


def _forward(row: RowMapping) -> Forward:
    return Forward(**facts(row, state=ForwardState(row["state"])))
