"""The audit trail: who decided what, for good, each line chained to the one before.

A line's digest is over its content and the digest of the line before, so a line that is changed,
left out or put in between breaks the chain. The database refuses UPDATE and DELETE by triggers; the
chain shows what was done to it by other ways. What the chain cannot show is that its newest lines
were cut off: for that, keep the latest digest elsewhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, select, text

from storage.engine import facts, insert, now, plain
from storage.records import AuditEntry
from storage.schema import audit as table

BEGINNING = "0" * 64
"""What stands for the digest before the first line."""

_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('audit', 2))")
_ROWS_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Verified:
    """What reading the whole trail found.

    Attributes:
        lines: how many there are.
        head: digest of the newest, to be kept elsewhere.
        broken: number of the first line that does not fit; None when all do.
        problem: what is wrong with it.
    """

    lines: int
    head: str
    broken: int | None = None
    problem: str = ""


def append(
    tx: Connection,
    actor: str,
    action: str,
    study: str = "",
    job: int | None = None,
    detail: Mapping[str, Any] | None = None,
) -> AuditEntry:
    """Write a line; it is there if and only if the transaction commits.

    To be called after all else that the transaction locks: it makes every other writer of the
    trail wait until the commit.

    Args:
        tx: the open transaction.
        actor: a person's name, ``rule NAME``, ``policy``, ``hold limit``.
        action: what was done, in one word where there is one.
        study: Study Instance UID; empty when it is about none.
        job: number of the job.
        detail: JSON; no patient data.

    Raises:
        ValueError: if `detail` is not JSON; NaN and infinity are not.
    """
    if tx.dialect.name == "postgresql":
        tx.execute(_LOCK)
    last = select(table.c.digest).order_by(table.c.id.desc()).limit(1)
    previous = tx.execute(last).scalar_one_or_none() or BEGINNING
    values: dict[str, Any] = {
        "at": tx.execute(select(now())).scalar_one(),
        "actor": plain(actor),
        "action": plain(action),
        "study": str(study),
        "job": job,
        # As it will be read back: keys are text, tuples are lists.
        "detail": json.loads(plain(json.dumps(dict(detail or {}), allow_nan=False))),
        "previous": previous,
    }
    values["digest"] = _digest(values)
    row = tx.execute(insert(tx, table).values(**values).returning(*table.c)).mappings().one()
    return AuditEntry(**facts(row))


def listing(
    tx: Connection,
    study: str | None = None,
    actor: str | None = None,
    limit: int = 100,
    before: int | None = None,
    action: str | None = None,
) -> list[AuditEntry]:
    """Return lines, the newest first, about this study, by this actor, of this action, if given.

    With `before`, only lines that are older than the one of this number.
    """
    query = select(table).order_by(table.c.id.desc()).limit(limit)
    if study is not None:
        query = query.where(table.c.study == study)
    if actor is not None:
        query = query.where(table.c.actor == actor)
    if action is not None:
        query = query.where(table.c.action == action)
    if before is not None:
        query = query.where(table.c.id < before)
    return [AuditEntry(**facts(row)) for row in tx.execute(query).mappings()]


def verify(tx: Connection, head: str = "") -> Verified:
    """Read the whole trail in bounded memory and return whether it is whole.

    Args:
        tx: the open transaction.
        head: digest of a line, kept elsewhere, that has to be in it; empty for none.
    """
    query = select(table).order_by(table.c.id)
    rows = tx.execute(query, execution_options={"yield_per": _ROWS_AT_ONCE})
    try:
        return _verified(rows.mappings(), head)
    finally:
        rows.close()


def _verified(rows: Iterable[RowMapping], head: str) -> Verified:
    previous, lines, found = BEGINNING, 0, not head
    for row in rows:
        lines += 1
        if row["previous"] != previous:
            problem = "it does not follow the line before: one was left out, put in or changed"
            return Verified(lines, previous, row["id"], problem)
        if row["digest"] != _digest(row):
            return Verified(lines, previous, row["id"], "its content was changed")
        previous = row["digest"]
        found = found or previous == head
    if not found:
        problem = f"the line of digest {head} is not in it: the newest lines were cut off"
        return Verified(lines, previous, lines + 1, problem)
    return Verified(lines, previous)


def _digest(line: RowMapping | Mapping[str, Any]) -> str:
    names = ("at", "actor", "action", "study", "job", "detail", "previous")
    content = json.dumps(
        {name: line[name] for name in names},
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=True,
        allow_nan=False,
    )
    return hashlib.sha256(content.encode()).hexdigest()
