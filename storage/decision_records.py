"""Decision records: signed documents of what was decided about a study, and the studies due one.

A study is due when something was decided about it: whoever writes the decision notes the study in
the same transaction. Records are only ever added; each names the one before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, delete, select

from storage.engine import facts, insert, now
from storage.schema import decision_record as table
from storage.schema import record_due


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """One signed document.

    Attributes:
        study_instance_uid: whose it is.
        number: 1 for the study's first record, one more each.
        made_at: seconds since 1970-01-01 UTC.
        payload: the document as signed, JSON.
        digest: SHA-256 of the payload.
        key_id: which key signed.
        signature: in base64.
    """

    study_instance_uid: str
    number: int
    made_at: float
    payload: str
    digest: str
    key_id: str
    signature: str


def note(tx: Connection, study_uid: str) -> None:
    """Note that something was decided about a study: its next record is due."""
    tx.execute(
        insert(tx, record_due)
        .values(study_instance_uid=str(study_uid), since=now())
        .on_conflict_do_nothing(index_elements=[record_due.c.study_instance_uid])
    )


def due(tx: Connection, limit: int) -> list[str]:
    """Return studies that are due a record, the longest due first."""
    query = select(record_due.c.study_instance_uid).order_by(record_due.c.since).limit(limit)
    return list(tx.execute(query).scalars())


def is_due(tx: Connection, study_uid: str) -> bool:
    """Return whether something was decided about a study since its latest record."""
    query = select(record_due.c.since).where(record_due.c.study_instance_uid == study_uid)
    return tx.execute(query).first() is not None


def take(tx: Connection, study_uid: str) -> bool:
    """Take a study off the list, to write its record in this transaction; False when it is off."""
    gone = tx.execute(delete(record_due).where(record_due.c.study_instance_uid == study_uid))
    return gone.rowcount == 1


def add(tx: Connection, record: DecisionRecord) -> None:
    """Add a record.

    Raises:
        sqlalchemy.exc.IntegrityError: if the study has a record of this number.
    """
    tx.execute(
        insert(tx, table).values(
            study_instance_uid=record.study_instance_uid,
            number=record.number,
            made_at=record.made_at,
            payload=record.payload,
            digest=record.digest,
            key_id=record.key_id,
            signature=record.signature,
        )
    )


def latest(tx: Connection, study_uid: str) -> DecisionRecord | None:
    """Return a study's newest record, or None."""
    found = tx.execute(_of(study_uid).order_by(table.c.number.desc()).limit(1)).mappings()
    row = found.one_or_none()
    return None if row is None else _record(row)


def of_study(tx: Connection, study_uid: str) -> list[DecisionRecord]:
    """Return a study's records, the first first."""
    return [_record(row) for row in tx.execute(_of(study_uid).order_by(table.c.number)).mappings()]


def key_ids(tx: Connection) -> set[str]:
    """Return the keys that records were signed with."""
    return set(tx.execute(select(table.c.key_id).distinct()).scalars())


def _of(study_uid: str) -> Select[Any]:
    return select(table).where(table.c.study_instance_uid == study_uid)


def _record(row: RowMapping) -> DecisionRecord:
    return DecisionRecord(**facts(row))
