"""Studies: what has been received of each, and whether it is complete."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, case, func, select, update

from storage import study_headers
from storage.engine import facts, now
from storage.records import Study, StudyState
from storage.schema import association, association_study, instance
from storage.schema import study as table


@dataclass(frozen=True, slots=True)
class OpenStudy:
    """A study that is still being received.

    Attributes:
        study: the study.
        quiet_for: seconds since new content came. When the clock was set back since, the size of
            that step instead, so that no study waits longer than it.
        active_associations: associations that brought some of it and are still alive.
    """

    study: Study
    quiet_for: float
    active_associations: int


def get(tx: Connection, study_uid: str) -> Study | None:
    """Return the study of this Study Instance UID, or None."""
    query = select(*_columns()).where(table.c.study_instance_uid == study_uid)
    row = tx.execute(query).mappings().one_or_none()
    return None if row is None else _study(row)


def listing(tx: Connection, limit: int = 100) -> list[Study]:
    """Return studies, the one that was added to last first."""
    query = select(*_columns()).order_by(
        table.c.last_received_at.desc(), table.c.study_instance_uid
    )
    return [_study(row) for row in tx.execute(query.limit(limit)).mappings()]


def counts(tx: Connection) -> dict[StudyState, int]:
    """Return how many studies are in each state; states that no study is in are left out."""
    rows = tx.execute(select(table.c.state, func.count().label("number")).group_by(table.c.state))
    return {StudyState(row.state): row.number for row in rows}


def open_studies(tx: Connection, association_lease: float = 30.0) -> list[OpenStudy]:
    """Return the studies that are still being received, the quietest first.

    Args:
        tx: the open transaction.
        association_lease: seconds without a heartbeat after which an association counts as dead.
    """
    active = (
        select(func.count())
        .select_from(association_study.join(association))
        .where(
            association_study.c.study_instance_uid == table.c.study_instance_uid,
            association.c.closed_at.is_(None),
            func.abs(now() - association.c.seen_at) < association_lease,
        )
        .scalar_subquery()
    )
    query = (
        select(
            *_columns(),
            func.abs(now() - table.c.last_received_at).label("quiet_for"),
            active.label("active"),
        )
        .where(table.c.state == StudyState.RECEIVING.value)
        .order_by(table.c.last_received_at, table.c.study_instance_uid)
    )
    return [_open_study(row) for row in tx.execute(query).mappings()]


def complete(
    tx: Connection, study_uid: str, content_digest: str, expected_last_received_at: float
) -> int | None:
    """Mark a study complete with this content and return its revision.

    The revision rises by one unless the content is that of the latest completion.

    Args:
        tx: the open transaction.
        study_uid: the Study Instance UID.
        content_digest: digest of the instances listed.
        expected_last_received_at: the study's `last_received_at`, read before the instances were.

    Returns:
        The revision; None, and nothing written, when something arrived meanwhile.
    """
    digest = str(content_digest)
    receiving = table.c.state == StudyState.RECEIVING.value
    revision = tx.execute(
        update(table)
        .where(
            table.c.study_instance_uid == study_uid,
            table.c.last_received_at == expected_last_received_at,
        )
        .values(
            state=StudyState.COMPLETE.value,
            revision=case(
                (table.c.content_digest == digest, table.c.revision), else_=table.c.revision + 1
            ),
            content_digest=digest,
            completed_at=case((receiving, now()), else_=table.c.completed_at),
        )
        .returning(table.c.revision)
    ).scalar_one_or_none()
    if revision is not None:
        study_headers.note(tx, study_uid)
    return revision


def _columns() -> Sequence[ColumnElement[Any]]:
    return [
        *table.c,
        _counted(func.count()).label("instances"),
        _counted(func.count(instance.c.series_instance_uid.distinct())).label("series"),
    ]


def _counted(what: ColumnElement[int]) -> Any:
    query = select(what).select_from(instance)
    return query.where(
        instance.c.study_instance_uid == table.c.study_instance_uid,
        instance.c.own_result.is_(False),
        instance.c.prior.is_(False),
    ).scalar_subquery()


def _study(row: RowMapping) -> Study:
    return Study(**facts(row, state=StudyState(row["state"])))


def _open_study(row: RowMapping) -> OpenStudy:
    columns = {key: row[key] for key in row if key not in {"quiet_for", "active"}}
    study = Study(**facts(columns, state=StudyState(row["state"])))
    return OpenStudy(study, row["quiet_for"], row["active"])
