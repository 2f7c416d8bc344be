"""Callers: when each AE title was last heard of, and how many of its associations are open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, and_, case, func, select

from storage.engine import now
from storage.records import DeliveryState
from storage.schema import association, delivery


@dataclass(frozen=True, slots=True)
class Heard:
    """What is known of one caller.

    Attributes:
        seen_at: when it was last connected, seconds since 1970.
        open: associations of it that are open.
    """

    seen_at: float
    open: int


def heard(tx: Connection, association_lease: float = 30.0) -> dict[str, Heard]:
    """Return what is known of every caller, by its AE title.

    Args:
        tx: the open transaction.
        association_lease: seconds without a heartbeat after which an association counts as dead.
    """
    rows = tx.execute(_query(association_lease).group_by(association.c.calling_ae))
    return {row.calling_ae: Heard(row.seen_at, int(row.open)) for row in rows}


def heard_of(tx: Connection, ae_title: str, association_lease: float = 30.0) -> Heard | None:
    """Return what is known of one caller; see `heard`."""
    query = _query(association_lease).where(association.c.calling_ae == ae_title)
    row = tx.execute(query.group_by(association.c.calling_ae)).one_or_none()
    return None if row is None else Heard(row.seen_at, int(row.open))


def unfinished(tx: Connection) -> dict[str, dict[str, int]]:
    """Return, by node, how many deliveries wait, are under way or are dead."""
    states = (DeliveryState.QUEUED, DeliveryState.CLAIMED, DeliveryState.DEAD)
    query = (
        select(delivery.c.node, delivery.c.state, func.count().label("number"))
        .where(delivery.c.state.in_([state.value for state in states]))
        .group_by(delivery.c.node, delivery.c.state)
    )
    found: dict[str, dict[str, int]] = {}
    for row in tx.execute(query):
        found.setdefault(row.node, {})[row.state] = row.number
    return found


def _query(association_lease: float) -> Select[Any, Any, Any]:
    alive = and_(
        association.c.closed_at.is_(None),
        func.abs(now() - association.c.seen_at) < association_lease,
    )
    return select(
        association.c.calling_ae,
        func.max(association.c.seen_at).label("seen_at"),
        func.sum(case((alive, 1), else_=0)).label("open"),
    )
