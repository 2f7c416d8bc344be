"""Forwards: contents of studies on their way, as received, to one node each.

A content of a study has at most one forward a node. Every change names the state that it was
decided in, so that of two who decide at once one finds that it was done.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, and_, func, or_, select, update

from storage import decision_records, deliveries
from storage.engine import facts, insert, now, plain
from storage.records import Forward, ForwardState, Instance, JobState
from storage.schema import forward as table
from storage.schema import job

OPEN = (ForwardState.WAITING, ForwardState.HELD)
"""States of a forward that something is still to become of."""
_NEVER = 1e12
"""Seconds since 1970 of an end that is not stated."""


def expect(
    tx: Connection,
    study_uid: str,
    content_digest: str,
    revision: int,
    node: str,
    *,
    gated: bool,
    reason: str = "",
    held_at: float | None = None,
) -> Forward | None:
    """Write down that a content is to reach a node; None when that is written already.

    A content that was superseded and is the study's content again waits anew.

    Args:
        tx: the open transaction.
        study_uid: the Study Instance UID.
        content_digest: of the content.
        revision: of the study.
        node: AE title; the node need not be known.
        gated: whether it waits for a verdict.
        reason: why it is forwarded, in one sentence.
        held_at: since when older content of the study has been held from the node.

    Raises:
        sqlalchemy.exc.IntegrityError: if there is no such study.
    """
    again = {
        "revision": revision,
        "gated": gated,
        "state": ForwardState.WAITING.value,
        "created_at": now(),
        "verdict": "",
        "reason": plain(reason),
        "held_at": held_at,
        "hold_until": None,
        "decided_at": None,
        "decided_by": "",
        "delivery_id": None,
        "warned_at": None,
    }
    row = tx.execute(
        insert(tx, table)
        .values(
            study_instance_uid=str(study_uid),
            content_digest=str(content_digest),
            node=str(node),
            **again,
        )
        .on_conflict_do_update(
            index_elements=[table.c.study_instance_uid, table.c.content_digest, table.c.node],
            set_=again,
            where=table.c.state == ForwardState.SUPERSEDED.value,
        )
        .returning(*table.c)
    )
    found = row.mappings().one_or_none()
    return None if found is None else _forward(found)


def of_study(tx: Connection, study_uid: str) -> list[Forward]:
    """Return a study's forwards, the oldest first."""
    query = select(table).where(table.c.study_instance_uid == study_uid).order_by(table.c.id)
    return [_forward(row) for row in tx.execute(query).mappings()]


def held_from(tx: Connection, study_uids: Collection[str]) -> dict[str, list[str]]:
    """Return the nodes that these studies are held from, of each study the oldest hold first."""
    query = (
        select(table.c.study_instance_uid, table.c.node)
        .where(table.c.study_instance_uid.in_(study_uids), table.c.state == ForwardState.HELD.value)
        .order_by(table.c.id)
    )
    found: dict[str, list[str]] = {}
    for uid, node in tx.execute(query):
        found.setdefault(uid, []).append(node)
    return found


def held_studies(
    tx: Connection, limit: int, after: tuple[float, str] | None = None
) -> list[tuple[float, str]]:
    """Return the studies that are held, each with the end of its first hold, soonest first.

    Args:
        tx: the open transaction.
        limit: of the page.
        after: the last of the page before; None for the first page.
    """
    ends = func.min(func.coalesce(table.c.hold_until, _NEVER))
    uid = table.c.study_instance_uid
    query = select(ends.label("ends"), uid).where(table.c.state == ForwardState.HELD.value)
    query = query.group_by(uid).order_by(ends, uid).limit(limit)
    if after is not None:
        query = query.having(or_(ends > after[0], and_(ends == after[0], uid > after[1])))
    return [(row[0], row[1]) for row in tx.execute(query)]


def held_of(tx: Connection, study_uids: Collection[str]) -> dict[str, list[Forward]]:
    """Return the forwards of these studies that are held, of each study the soonest end first."""
    query = (
        select(table)
        .where(table.c.study_instance_uid.in_(study_uids), table.c.state == ForwardState.HELD.value)
        .order_by(table.c.hold_until, table.c.id)
    )
    found: dict[str, list[Forward]] = {}
    for row in tx.execute(query).mappings():
        found.setdefault(row["study_instance_uid"], []).append(_forward(row))
    return found


def undecided(tx: Connection, study_uid: str, content_digest: str) -> list[Forward]:
    """Return the gated forwards of a content that no verdict has decided, in order of the nodes."""
    query = (
        select(table)
        .where(
            table.c.study_instance_uid == study_uid,
            table.c.content_digest == content_digest,
            table.c.gated,
            table.c.verdict == "",
            table.c.state.in_([state.value for state in OPEN]),
        )
        .order_by(table.c.node)
    )
    return [_forward(row) for row in tx.execute(query).mappings()]


def of_older_content(tx: Connection, study_uid: str, content_digest: str) -> list[Forward]:
    """Return the forwards of a study that are open and not of this content."""
    query = (
        select(table)
        .where(
            table.c.study_instance_uid == study_uid,
            table.c.content_digest != content_digest,
            table.c.state.in_([state.value for state in OPEN]),
        )
        .order_by(table.c.node)
    )
    return [_forward(row) for row in tx.execute(query).mappings()]


def move(
    tx: Connection,
    forward: Forward,
    to: ForwardState,
    reason: str,
    *,
    verdict: str = "",
    decided_by: str = "",
    delivery_id: int | None = None,
) -> bool:
    """Bring a forward from the state that it was read in to another one.

    Args:
        tx: the open transaction.
        forward: as it was read.
        to: the state.
        reason: in one sentence.
        verdict: that it was decided by; empty when by none.
        decided_by: who released or rejected it; empty when nobody did.
        delivery_id: that brings it.

    Returns:
        False, and nothing written, when somebody else was first.
    """
    values: dict[str, Any] = {"verdict": verdict or forward.verdict, "delivery_id": delivery_id}
    if decided_by:
        values |= {"decided_by": plain(decided_by), "decided_at": now()}
    return _write(tx, forward, {"state": to.value, "reason": plain(reason), **values})


def hold(tx: Connection, forward: Forward, reason: str, verdict: str, hours: float) -> bool:
    """Hold a forward for so many hours at most; False, and nothing written, as `move` says.

    The hours count from the moment that the study was first held from the node, so that instances
    which come late prolong no hold.
    """
    since = func.coalesce(table.c.held_at, now())
    values = {
        "state": ForwardState.HELD.value,
        "reason": plain(reason),
        "verdict": verdict,
        "held_at": since,
        "hold_until": since + hours * 3600.0,
        "warned_at": None,
    }
    return _write(tx, forward, values)


def bring(tx: Connection, forward_id: int, delivery_id: int) -> None:
    """Note which delivery brings a forward that has been decided in this transaction."""
    tx.execute(update(table).where(table.c.id == forward_id).values(delivery_id=delivery_id))


def warned(tx: Connection, forward: Forward) -> bool:
    """Note that people were told of the end of its hold; False when they have been."""
    told = update(table).where(
        table.c.id == forward.id,
        table.c.state == ForwardState.HELD.value,
        table.c.warned_at.is_(None),
    )
    return tx.execute(told.values(warned_at=now())).rowcount == 1


def overdue_holds(tx: Connection, limit: int) -> list[Forward]:
    """Return forwards whose maximum hold time has ended."""
    return _due(tx, limit, table.c.hold_until <= now())


def ending_holds(tx: Connection, within_seconds: float, limit: int) -> list[Forward]:
    """Return forwards whose hold ends soon and of which nobody was told."""
    soon = table.c.hold_until <= now() + within_seconds
    return _due(tx, limit, and_(soon, table.c.warned_at.is_(None)))


def without_verdict(
    tx: Connection, after_seconds: float, limit: int
) -> list[tuple[Forward, float]]:
    """Return gated forwards whose job has ended, or that have waited for so long.

    Returns:
        each with the seconds that it has waited, what waited longest first.
    """
    ended = select(job.c.id).where(
        job.c.study_instance_uid == table.c.study_instance_uid,
        job.c.content_digest == table.c.content_digest,
        job.c.state.in_([JobState.DEAD.value, JobState.DONE.value]),
    )
    waited = (now() - table.c.created_at).label("waited")
    query = (
        select(*table.c, waited)
        .where(
            table.c.state == ForwardState.WAITING.value,
            table.c.gated,
            or_(waited >= after_seconds, ended.exists()),
        )
        .order_by(table.c.id)
        .limit(limit)
    )
    found = [dict(row) for row in tx.execute(query).mappings()]
    seconds = [row.pop("waited") for row in found]
    return [(_forward(row), waited) for row, waited in zip(found, seconds, strict=True)]


def to_copy(tx: Connection, limit: int) -> list[Forward]:
    """Return the forwards to nodes that are not gated of which something is left to do."""
    query = (
        select(table)
        .where(table.c.state == ForwardState.WAITING.value, table.c.gated.is_(False))
        .order_by(table.c.id)
        .limit(limit)
    )
    return [_forward(row) for row in tx.execute(query).mappings()]


def send(tx: Connection, node: str, content: Sequence[Instance]) -> int | None:
    """Queue a delivery of these instances; None when there are none.

    Of two contents under one SOP Instance UID the first is in it: a delivery has a UID once.
    """
    once = {item.sop_instance_uid: item for item in reversed(content)}
    items = [item for item in content if once[item.sop_instance_uid] is item]
    return deliveries.create(tx, node, items) if items else None


def held(tx: Connection, studies: Collection[str]) -> set[str]:
    """Return which of these studies are held from a node."""
    query = select(table.c.study_instance_uid).where(
        table.c.study_instance_uid.in_(list(studies)),
        table.c.state == ForwardState.HELD.value,
    )
    return set(tx.execute(query).scalars())


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


def counts(tx: Connection) -> dict[ForwardState, int]:
    """Return how many forwards are in each state."""
    rows = tx.execute(select(table.c.state, func.count().label("number")).group_by(table.c.state))
    found = {row.state: row.number for row in rows}
    return {state: found.get(state.value, 0) for state in ForwardState}


def _write(tx: Connection, forward: Forward, values: dict[str, Any]) -> bool:
    fenced = update(table).where(
        table.c.id == forward.id,
        table.c.state == forward.state.value,
        table.c.verdict == forward.verdict,
    )
    written = tx.execute(fenced.values(**values)).rowcount == 1
    if written and "state" in values:
        decision_records.note(tx, forward.study_instance_uid)
    return written


def _due(tx: Connection, limit: int, due: ColumnElement[bool]) -> list[Forward]:
    query = (
        select(table)
        .where(table.c.state == ForwardState.HELD.value, due)
        .order_by(table.c.id)
        .limit(limit)
    )
    return [_forward(row) for row in tx.execute(query).mappings()]


def _forward(row: RowMapping | Mapping[str, Any]) -> Forward:
    return Forward(**facts(row, state=ForwardState(row["state"])))
