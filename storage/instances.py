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
    Insert,
    RowMapping,
    bindparam,
    case,
    delete,
    exists,
    func,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.sql.dml import ReturningInsert

from storage import study_headers
from storage.engine import CLOCK_STEP_SECONDS, facts, insert, insert_on, now
from storage.prepared import Prepared
from storage.records import Instance, StudyState
from storage.schema import association, association_study, removal, study
from storage.schema import instance as table

_TICK_SECONDS = 1e-6
_LOCKING = Prepared(
    lambda _dialect: text("SELECT pg_advisory_xact_lock(hashtextextended(:uid, 0))")
)
_COLUMNS = [column for column in table.c if column.name != "id"]
_GIVEN = [column for column in _COLUMNS if column.name not in ("received_at", "removed_at")]


@dataclass(frozen=True, slots=True)
class Recorded:
    """What recording an instance found.

    Attributes:
        new: this content under this UID was not here before.
        conflict: other content is here under the same UID.
        removed: this content was here, and retention has removed its file. Once the file is there
            again, `take_back` says so.
    """

    new: bool
    conflict: bool
    removed: bool = False


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
    and touches no study; nor does an instance of a prior study, until it comes as one to analyse,
    which it then is. `received_at` and `conflict` of `instance` are ignored: the database tells
    them.
    """
    uid = str(instance.sop_instance_uid)
    one_at_a_time(tx, uid)
    inserted = _INSERTING.run(
        tx,
        {
            "sop_instance_uid": uid,
            "digest": str(instance.digest),
            "sop_class_uid": str(instance.sop_class_uid),
            "transfer_syntax_uid": str(instance.transfer_syntax_uid),
            "study_instance_uid": str(instance.study_instance_uid),
            "series_instance_uid": str(instance.series_instance_uid),
            "modality": str(instance.modality),
            "size": instance.size,
            "source_ae": str(instance.source_ae),
            "own_result": instance.own_result,
            "prior": instance.prior,
        },
    )
    if inserted:
        if instance.prior:
            return Recorded(new=True, conflict=False)
        if not instance.own_result:
            _touch_study(tx, str(instance.study_instance_uid), str(instance.source_ae))
            _link(tx, association_id, str(instance.study_instance_uid))
        [[others]] = inserted
        return Recorded(new=True, conflict=others > 0)
    return _found_again(tx, instance, association_id)


def _found_again(tx: Connection, instance: Instance, association_id: int | None) -> Recorded:
    """Take note of content that was here before."""
    uid = str(instance.sop_instance_uid)
    kept = _KEPT.run(tx, {"uid": uid})
    here = next(one for one in kept if one[0] == instance.digest)
    _, own_result, study_uid, source_ae, removed_at, prior = here
    if instance.prior:
        return Recorded(new=False, conflict=False, removed=removed_at is not None)
    if prior:
        source_ae = str(instance.source_ae)
        _sent_to_us(tx, uid, str(instance.digest), source_ae)
    if not own_result:
        if prior:
            _touch_study(tx, study_uid, source_ae)
        _link(tx, association_id, study_uid)
    others = sum(not one[5] for one in kept if one is not here)
    return Recorded(new=False, conflict=others > 0, removed=removed_at is not None)


def _link(tx: Connection, association_id: int | None, study_uid: str) -> None:
    if association_id is not None:
        _LINKING.run(tx, {"association_id": association_id, "study_instance_uid": study_uid})


def _sent_to_us(tx: Connection, sop_instance_uid: str, digest: str, source_ae: str) -> None:
    """Note that an instance, here as part of a prior study, has been sent to us after all."""
    tx.execute(
        update(table)
        .where(table.c.sop_instance_uid == sop_instance_uid, table.c.digest == digest)
        .values(prior=False, source_ae=source_ae, received_at=now())
    )


def one_at_a_time(tx: Connection, sop_instance_uid: str) -> None:
    """Let nobody else record this UID before we commit, so that a conflict cannot go unseen.

    SQLite has one writer anyway.
    """
    if tx.dialect.name == "postgresql":
        _LOCKING.run(tx, {"uid": str(sop_instance_uid)})


def withdraw(tx: Connection, sop_instance_uid: str, digest: str) -> None:
    """Remove an instance that was never acknowledged, if it is there.

    Its study is looked at again for completeness, and goes too when nothing was ever made of it.
    """
    gone = tx.execute(
        delete(table)
        .where(table.c.sop_instance_uid == sop_instance_uid, table.c.digest == digest)
        .returning(table.c.study_instance_uid, table.c.source_ae, table.c.own_result, table.c.prior)
    ).one_or_none()
    if gone is None or gone.prior:
        return
    uid = gone.study_instance_uid
    here = table.c.study_instance_uid == uid
    ours = table.c.own_result.is_(False), table.c.prior.is_(False)
    left = tx.execute(select(exists().where(here, *ours))).scalar_one()
    if left and not gone.own_result:
        _touch_study(tx, uid, gone.source_ae)
    elif not left:
        unused = study.c.study_instance_uid == uid, study.c.revision == 0
        if tx.execute(select(exists().where(*unused))).scalar_one():
            links = association_study.c.study_instance_uid == uid
            tx.execute(delete(association_study).where(links))
            study_headers.forget(tx, uid)
            tx.execute(delete(study).where(*unused))


def of_study(
    tx: Connection, study_uid: str, include_own: bool = False, include_priors: bool = False
) -> list[Instance]:
    """Return a study's instances, the same list in whatever order they came.

    By Series Instance UID, SOP Instance UID and digest.

    Args:
        tx: the open transaction.
        study_uid: the Study Instance UID.
        include_own: also our own results that came back.
        include_priors: also instances fetched as part of a prior study.
    """
    conditions = [table.c.study_instance_uid == study_uid]
    if not include_own:
        conditions.append(table.c.own_result.is_(False))
    if not include_priors:
        conditions.append(table.c.prior.is_(False))
    return _select(tx, *conditions)


def find(tx: Connection, sop_instance_uid: str) -> list[Instance]:
    """Return every content kept under this SOP Instance UID, in the order of the digests."""
    return _select(tx, table.c.sop_instance_uid == sop_instance_uid)


def latest_classes(tx: Connection, limit: int = 5000) -> set[tuple[str, str]]:
    """Return SOP class and transfer syntax of the newest instances that are not our own."""
    newest = (
        select(table.c.sop_class_uid, table.c.transfer_syntax_uid, table.c.own_result)
        .order_by(table.c.id.desc())
        .limit(limit)
        .subquery()
    )
    query = select(newest.c.sop_class_uid, newest.c.transfer_syntax_uid)
    rows = tx.execute(query.where(newest.c.own_result.is_(False)).distinct())
    return {(row[0], row[1]) for row in rows}


def count(tx: Connection) -> int:
    """Return how many instances are kept, our own results included."""
    return tx.execute(select(func.count()).select_from(table)).scalar_one()


def count_removed(tx: Connection) -> int:
    """Return of how many instances retention removed the file."""
    query = select(func.count()).select_from(table).where(table.c.removed_at.is_not(None))
    return tx.execute(query).scalar_one()


def take_back(tx: Connection, sop_instance_uid: str, digest: str) -> None:
    """Count an instance that retention removed as kept again; from now on nothing unlinks it."""
    one_at_a_time(tx, sop_instance_uid)
    row = tx.execute(
        update(table)
        .where(
            table.c.sop_instance_uid == sop_instance_uid,
            table.c.digest == digest,
            table.c.removed_at.is_not(None),
        )
        .values(removed_at=None, received_at=now())
        .returning(table.c.id, table.c.study_instance_uid, table.c.prior)
    ).one_or_none()
    if row is not None:
        tx.execute(delete(removal).where(removal.c.instance_id == row.id))
        if not row.prior:
            study_headers.note(tx, row.study_instance_uid)


_KEPT = Prepared(
    lambda _dialect: select(
        table.c.digest,
        table.c.own_result,
        table.c.study_instance_uid,
        table.c.source_ae,
        table.c.removed_at,
        table.c.prior,
    ).where(table.c.sop_instance_uid == bindparam("uid"))
)


def _inserting(dialect: str) -> ReturningInsert[int]:
    """Insert what is not here; then return how many other contents have its UID."""
    other = table.alias("other")
    others = select(func.count()).where(
        other.c.sop_instance_uid == bindparam("sop_instance_uid"),
        other.c.digest != bindparam("digest"),
        other.c.prior.is_(False),
    )
    return (
        insert_on(dialect, table)
        .values({**{one.name: bindparam(one.name) for one in _GIVEN}, "received_at": now()})
        .on_conflict_do_nothing(index_elements=[table.c.sop_instance_uid, table.c.digest])
        .returning(others.scalar_subquery())
    )


_INSERTING = Prepared(_inserting)

_LINKING = Prepared(
    lambda dialect: (
        insert_on(dialect, association_study)
        .values({one.name: bindparam(one.name) for one in association_study.c})
        .on_conflict_do_nothing()
    )
)


def _touch_study(tx: Connection, study_uid: str, source_ae: str) -> None:
    _TOUCHING.run(tx, {"study_instance_uid": study_uid, "source_ae": source_ae})


def _touching(dialect: str) -> Insert:
    # `studies.complete` compares this time, so no two arrivals may have the same: within a tick of
    # the clock, and after small steps back, it goes on from the last. A large step is believed.
    last = study.c.last_received_at
    ahead = last.between(now(), now() + CLOCK_STEP_SECONDS)
    later = case((ahead, last + _TICK_SECONDS), else_=now())
    return (
        insert_on(dialect, study)
        .values(
            study_instance_uid=bindparam("study_instance_uid"),
            source_ae=bindparam("source_ae"),
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


_TOUCHING = Prepared(_touching)


def _select(tx: Connection, *conditions: ColumnElement[bool]) -> list[Instance]:
    other = table.alias("other")
    conflict = exists(
        select(literal(1)).where(
            other.c.sop_instance_uid == table.c.sop_instance_uid,
            other.c.digest != table.c.digest,
            # An archive may have changed what it keeps; of a prior study that is no conflict.
            other.c.prior.is_(False),
            table.c.prior.is_(False),
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
