"""Waiting: the rows of a leased table that wait, run, or were given up, for monitoring and people.

Each answer is read from the index of states, so that what is finished costs nothing. A job in whose
place there is another is dead and not given up: nobody has to do anything about it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Executable, Table, func, literal, select

from storage.engine import now
from storage.jobs import SUPERSEDED
from storage.leases import CLAIMED, DEAD, QUEUED
from storage.schema import job

STATES = (QUEUED, CLAIMED, DEAD)
"""Of a row that is not finished."""
MOST = 100_000
"""Rows of one state that are counted; a count that says so many means as many or more."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits in one table.

    Attributes:
        counts: rows in each state, at most `MOST`; as ``dead`` those that were given up.
        ages: seconds since the oldest row of a state was made, where it has any; none of ``dead``.
    """

    counts: dict[str, int]
    ages: dict[str, float]


def waiting(tx: Connection, table: Table, states: tuple[str, ...] = STATES) -> Waiting:
    """Return how many rows are in each state, and how old the oldest of them is, by its number."""
    row = tx.execute(_question(table, states)).mappings().one()
    ages = {state: row[f"oldest {state}"] for state in states if state != DEAD}
    return Waiting(
        {state: row[state] for state in states},
        {state: max(0.0, age) for state, age in ages.items() if age is not None},
    )


def in_state(table: Table, state: str) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions of the rows that are in a state; of ``dead`` those given up."""
    if state == DEAD and table is job:
        return table.c.state == state, ~table.c.reason.startswith(SUPERSEDED)
    return (table.c.state == state,)


@functools.cache
def _question(table: Table, states: tuple[str, ...]) -> Executable:
    # Asked every few seconds for ever: to put it together costs more than the answer.
    columns: list[Any] = []
    for state in states:
        some = select(literal(1)).select_from(table).where(*in_state(table, state)).limit(MOST)
        count = select(func.count()).select_from(some.subquery()).scalar_subquery()
        columns.append(count.label(state))
        if state != DEAD:
            oldest = select(now() - table.c.created_at).where(table.c.state == state)
            oldest = oldest.order_by(table.c.id).limit(1).scalar_subquery()
            columns.append(oldest.label(f"oldest {state}"))
    return select(*columns)
