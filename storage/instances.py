"""Instances: what was received, and the associations that bring it.

An instance is one SOP Instance UID with one content. The same UID with other content is kept
beside the first and both are marked; nothing received is ever overwritten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    case,
    delete,
    exists,
    func,
    literal,
    select,
    text,
    update,
)

from storage.engine import CLOCK_STEP_SECONDS, facts, insert, now
from storage.records import Instance, StudyState
from storage.schema import association, association_study, removal, study
from storage.schema import instance as table

_TICK_SECONDS = 1e-6
_COLUMNS = [column for column in table.c if column.name != "id"]


@dataclass(frozen=True, slots=True)
class Recorded:
    """What recording an instance found.

    Attributes:
        new: this content under this UID was not here before.
        conflict: other content is here under the same UID.
        returned: this content was here, was removed by retention, and counts as kept again. The
            caller must see, before it commits, that its file is there: the removal may have
            unlinked it after it was stored.
    """

    new: bool
    conflict: bool
    returned: bool = False


def open_association(tx: Connection, calling_ae: str, address: str) -> int:
    """Note that an association was accepted, and return its id."""
    values = {"calling_ae": str(calling_ae), "address": address}
    return tx.execute(
        insert(tx, association)
        .values(opened_at=now(), seen_at=now(), **values)
        .returning(association.c.id)
    ).scalar_one()


def touch_associations(tx: Connection, ids: Sequence[int]) -> None:
    """Note that these associations are still alive; to be done well within their lease."""
    tx.execute(update(association).where(association.c.id.in_(ids)).values(seen_at=now()))


def close_association(tx: Connection, id: int) -> None:
    """Note that an association has ended, however it ended. Closing twice is harmless."""
    tx.execute(
        update(association)
        .where(association.c.id == id, association.c.closed_at.is_(None))
        .values(closed_at=now())
    )


def record(tx: Connection, instance: Instance, association_id: int | None) -> Recorded:
    """Keep an instance whose file is in the spool, and reopen or begin its study.

    A resend of the same content writes nothing but the link between association and study, unless
    retention has removed its file: then it counts as kept again. One of our own results is kept
    and touches no study. `received_at` and `conflict` of `instance` are ignored: the database
    tells them.
    """
    uid = str(instance.sop_instance_uid)
    one_at_a_time(tx, uid)
    new = (
        tx.execute(
            insert(tx, table)
            .values(
                sop_instance_uid=uid,
                digest=str(instance.digest),
                sop_class_uid=str(instance.sop_class_uid),
                transfer_syntax_uid=str(instance.transfer_syntax_uid),
                study_instance_uid=str(instance.study_instance_uid),
                series_instance_uid=str(instance.series_instance_uid),
                modality=str(instance.modality),
                size=instance.size,
                source_ae=str(instance.source_ae),
                own_result=instance.own_result,
                received_at=now(),
            )
            .on_conflict_do_nothing(index_elements=[table.c.sop_instance_uid, table.c.digest])
            .returning(table.c.id)
        ).one_or_none()
        is not None
    )
    kept = find(tx, uid)
    here = next(one for one in kept if one.digest == instance.digest)
    if not here.own_result:
        if new:
            _touch_study(tx, here)
        if association_id is not None:
            tx.execute(
                insert(tx, association_study)
                .values(association_id=association_id, study_instance_uid=here.study_instance_uid)
                .on_conflict_do_nothing()
            )
    return Recorded(new, len(kept) > 1, not new and _take_back(tx, here))


def of_study(tx: Connection, study_uid: str, include_own: bool = False) -> list[Instance]:
    """Return a study's instances, the same list in whatever order they came.

    By Series Instance UID, SOP Instance UID and digest.

    Args:
        tx: the open transaction.
        study_uid: the Study Instance UID.
        include_own: also our own results that came back.
    """
    conditions = [table.c.study_instance_uid == study_uid]
    if not include_own:
        conditions.append(table.c.own_result.is_(False))
    return _select(tx, *conditions)


def find(tx: Connection, sop_instance_uid: str) -> list[Instance]:
    """Return every content kept under this SOP Instance UID, in the order of the digests."""
    return _select(tx, table.c.sop_instance_uid == sop_instance_uid)


def count(tx: Connection) -> int:
    """Return how many instances are kept, our own results included."""
    return tx.execute(select(func.count()).select_from(table)).scalar_one()


def count_removed(tx: Connection) -> int:
    """Return of how many instances retention removed the file."""
    query = select(func.count()).select_from(table).where(table.c.removed_at.is_not(None))
    return tx.execute(query).scalar_one()


def _take_back(tx: Connection, here: Instance) -> bool:
    """Keep again what retention has removed; False when it has not."""
    if here.removed_at is None:
        return False
    row = tx.execute(
        update(table)
        .where(table.c.sop_instance_uid == here.sop_instance_uid, table.c.digest == here.digest)
        .values(removed_at=None, received_at=now())
        .returning(table.c.id)
    ).scalar_one()
    tx.execute(delete(removal).where(removal.c.instance_id == row))
    return True


def one_at_a_time(tx: Connection, sop_instance_uid: str) -> None:
    """Let nobody else record this UID before we commit, so that a conflict cannot go unseen.

    SQLite has one writer anyway.
    """
    if tx.dialect.name == "postgresql":
        lock = text("SELECT pg_advisory_xact_lock(hashtextextended(:uid, 0))")
        tx.execute(lock, {"uid": sop_instance_uid})


def _touch_study(tx: Connection, instance: Instance) -> None:
    # `studies.complete` compares this time, so no two arrivals may have the same: within a tick of
    # the clock, and after small steps back, it goes on from the last. A large step is believed.
    last = study.c.last_received_at
    ahead = last.between(now(), now() + CLOCK_STEP_SECONDS)
    later = case((ahead, last + _TICK_SECONDS), else_=now())
    tx.execute(
        insert(tx, study)
        .values(
            study_instance_uid=instance.study_instance_uid,
            source_ae=instance.source_ae,
            state=StudyState.RECEIVING.value,
            revision=0,
            content_digest="",
            first_received_at=now(),
            last_received_at=now(),
        )
        .on_conflict_do_update(
            index_elements=[study.c.study_instance_uid],
            set_={"state": StudyState.RECEIVING.value, "last_received_at": later},
        )
    )


def _select(tx: Connection, *conditions: ColumnElement[bool]) -> list[Instance]:
    other = table.alias("other")
    conflict = exists(
        select(literal(1)).where(
            other.c.sop_instance_uid == table.c.sop_instance_uid, other.c.digest != table.c.digest
        )
    )
    rows = tx.execute(
        select(*_COLUMNS, conflict.label("conflict"))
        .where(*conditions)
        .order_by(table.c.series_instance_uid, table.c.sop_instance_uid, table.c.digest)
    )
    return [_instance(row) for row in rows.mappings()]


def _instance(row: RowMapping) -> Instance:
    return Instance(**facts(row, conflict=bool(row["conflict"])))
