"""Clinical values: what was measured of a patient beside the images. Said twice, kept once."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, delete, or_, select

from storage.engine import facts, insert, now
from storage.records import ClinicalValue
from storage.schema import clinical_value as table


def add(tx: Connection, values: Sequence[ClinicalValue]) -> int:
    """Keep values that are not kept yet; return how many are new."""
    new = 0
    for one in values:
        row = insert(tx, table).values(
            at=now(),
            study_instance_uid=one.study_instance_uid,
            patient=one.patient,
            observed_at=one.observed_at,
            name=one.name,
            value=one.value,
            unit=one.unit,
            given_value=one.given_value,
            given_unit=one.given_unit,
            source=one.source,
            reference=one.reference,
        )
        new += tx.execute(row.on_conflict_do_nothing().returning(table.c.id)).first() is not None
    return new


def known_at(tx: Connection, study_uid: str, patient: str, moment: float) -> list[ClinicalValue]:
    """Return the values of a study, and those of its patient, that had arrived at `moment`.

    What arrives later changes nothing of the answer: a second attempt at a job finds the same.

    Args:
        tx: the open transaction.
        study_uid: the Study Instance UID.
        patient: keyed hash; empty where it is not known.
        moment: by the database's clock.
    """
    own = table.c.study_instance_uid == study_uid
    if patient:
        whose = (table.c.patient == patient) & (table.c.study_instance_uid == "")
        own = or_(own, whose)
    query = select(table).where(own, table.c.at <= moment).order_by(table.c.id)
    return [ClinicalValue(**facts(row)) for row in tx.execute(query).mappings()]


def listing(tx: Connection, study_uid: str = "", limit: int = 100) -> list[ClinicalValue]:
    """Return the newest values, of one study when it is named."""
    query = select(table).order_by(table.c.id.desc()).limit(limit)
    if study_uid:
        query = query.where(table.c.study_instance_uid == study_uid)
    return [ClinicalValue(**facts(row)) for row in tx.execute(query).mappings()]


def forget(tx: Connection, study_uid: str = "", patient: str = "") -> int:
    """Remove the values of a study or of a patient; return how many there were.

    Raises:
        ValueError: if neither is named.
    """
    if not (study_uid or patient):
        raise ValueError("name a study or a patient")
    wanted = [
        column == text
        for column, text in ((table.c.study_instance_uid, study_uid), (table.c.patient, patient))
        if text
    ]
    return tx.execute(delete(table).where(or_(*wanted))).rowcount
