"""Copies: which instances of a study are on no delivery to a node yet.

There is no cursor that a late commit could hide behind. A new instance and the state of its study
are one commit (`instances.record`), so every study that has one is being received, or has a forward
that waits; only those are looked at, and each instance of theirs is asked for by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import (
    ColumnElement,
    Connection,
    exists,
    func,
    literal,
    select,
    text,
)

from storage.engine import facts
from storage.records import Instance, StudyState
from storage.schema import delivery, delivery_item, study, unsettled
from storage.schema import instance as table

_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(:what, 1))")
_COLUMNS = [column for column in table.c if column.name != "id"]


@dataclass(frozen=True, slots=True)
class Arriving:
    """A study that is being received."""

    study_instance_uid: str
    last_received_at: float
    """Differs after every new instance."""


def arriving(tx: Connection) -> list[Arriving]:
    """Return the studies that are being received, what came longest ago first."""
    query = (
        select(study.c.study_instance_uid, study.c.last_received_at)
        .where(study.c.state == StudyState.RECEIVING.value)
        .order_by(study.c.last_received_at, study.c.study_instance_uid)
    )
    return [Arriving(*row) for row in tx.execute(query)]


def lock(tx: Connection, node: str, study_uid: str) -> None:
    """Let nobody else make deliveries of this study to this node before we commit.

    To be taken before `missing` is asked. SQLite has one writer anyway.
    """
    if tx.dialect.name == "postgresql":
        tx.execute(_LOCK, {"what": f"{node} {study_uid}"})


def missing(
    tx: Connection,
    node: str,
    study_uid: str,
    limit: int | None = None,
    *,
    settled_only: bool = False,
    prior: bool = False,
) -> list[Instance]:
    """Return the instances of a study that are to go to a node and on no delivery to it.

    Not our own results, not what the node itself sent, and not what retention removed.

    Args:
        tx: the open transaction.
        node: AE title.
        study_uid: the Study Instance UID.
        limit: most instances.
        settled_only: leave for later what was received a moment ago and whose name is not durable
            yet, for it may be withdrawn; `settling` tells whether there is such.
        prior: of what was fetched as a prior study, in place of what was sent to us.
    """
    query = select(*_COLUMNS).where(*_wanted(node, study_uid, prior=prior))
    if settled_only:
        query = query.where(~_is_settling())
    rows = tx.execute(query.order_by(table.c.id).limit(limit)).mappings()
    return [Instance(**facts(row)) for row in rows]


def settling(tx: Connection, node: str, study_uid: str) -> int:
    """Return how many instances `missing` leaves for later."""
    query = select(func.count()).select_from(table)
    return tx.execute(query.where(*_wanted(node, study_uid), _is_settling())).scalar_one()


def _wanted(node: str, study_uid: str, *, prior: bool = False) -> list[ColumnElement[bool]]:
    return [
        table.c.study_instance_uid == study_uid,
        table.c.own_result.is_(False),
        table.c.prior.is_(prior),
        table.c.source_ae != node,
        table.c.removed_at.is_(None),
        ~delivered_to(literal(node)),
    ]


def delivered_to(node: ColumnElement[str]) -> ColumnElement[bool]:
    """Return the condition that an instance is on a delivery to the node, whatever its state."""
    return exists(
        select(literal(1))
        .select_from(delivery_item)
        .join(delivery, delivery.c.id == delivery_item.c.delivery_id)
        .where(
            delivery_item.c.sop_instance_uid == table.c.sop_instance_uid,
            delivery_item.c.digest == table.c.digest,
            delivery.c.node == node,
        )
    )


def _is_settling() -> ColumnElement[bool]:
    # Few rows, read once; whatever else has the content, its name is there or soon will be.
    return table.c.digest.in_(select(unsettled.c.digest).where(unsettled.c.new))
