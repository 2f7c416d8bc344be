"""Study headers: what a study's headers say that people find it by, and the studies due a reading.

A study is due when its content changed, or what is kept of its files did: whoever writes that notes
the study in the same transaction. What is kept here is patient data.
"""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, RowMapping, delete, func, select

from storage.engine import facts, insert, now, plain
from storage.records import StudyHeader
from storage.schema import header_due as due_table
from storage.schema import study
from storage.schema import study_header as table

MODALITY_SEPARATOR = "\\"
"""Between modalities in the table, and at both ends."""
SEARCH_BYTES = 1200
"""Of the text that is looked in; what comes later is not found. PostgreSQL indexes 2,700."""

DEVICES = 500
"""Most devices that are listed."""

COLUMNS = [column for column in table.c if column.name not in {"search", "series"}]
"""Without what a page of a listing does not show."""


def note(tx: Connection, study_uid: str) -> None:
    """Note that a study's headers are to be read, anew where they have been."""
    tx.execute(
        insert(tx, due_table)
        .values(study_instance_uid=str(study_uid), since=now())
        .on_conflict_do_update(
            index_elements=[due_table.c.study_instance_uid], set_={"since": now()}
        )
    )


def due(tx: Connection, limit: int) -> list[tuple[str, float]]:
    """Return studies that are due, the longest first, each with since when."""
    query = select(due_table.c.study_instance_uid, due_table.c.since).order_by(due_table.c.since)
    return [(row[0], row[1]) for row in tx.execute(query.limit(limit))]


def take(tx: Connection, study_uid: str, since: float) -> bool:
    """Take a study off the list, to write its header in this transaction.

    Returns:
        False when it is off, or was noted again since: then it is to be read again.
    """
    gone = tx.execute(
        delete(due_table).where(
            due_table.c.study_instance_uid == study_uid, due_table.c.since == since
        )
    )
    return gone.rowcount == 1


def write(tx: Connection, header: StudyHeader) -> None:
    """Write a study's header in the place of an older one; `received_at`, `read_at` are ours."""
    received = select(study.c.last_received_at).where(
        study.c.study_instance_uid == header.study_instance_uid
    )
    values = values_of(header) | {"received_at": received.scalar_subquery(), "read_at": now()}
    tx.execute(
        insert(tx, table)
        .values(values)
        .on_conflict_do_update(index_elements=[table.c.study_instance_uid], set_=values)
    )


def values_of(header: StudyHeader) -> dict[str, Any]:
    """Return a header as the columns of its row."""
    values = {one.name: _cleaned(getattr(header, one.name)) for one in dataclasses.fields(header)}
    return values | {
        "modalities": _joined(header.modalities),
        "series": list(header.series),
        "search": _searched(header),
    }


def get(tx: Connection, study_uid: str) -> StudyHeader | None:
    """Return a study's header with its series, or None before it was read."""
    query = select(*COLUMNS, table.c.series).where(table.c.study_instance_uid == study_uid)
    row = tx.execute(query).mappings().one_or_none()
    return None if row is None else header_of(row)


def of_studies(tx: Connection, study_uids: Collection[str]) -> dict[str, StudyHeader]:
    """Return the headers of these studies with their series, as far as they were read."""
    query = select(*COLUMNS, table.c.series)
    rows = tx.execute(query.where(table.c.study_instance_uid.in_(list(study_uids))))
    return {row["study_instance_uid"]: header_of(row) for row in rows.mappings()}


def forget(tx: Connection, study_uid: str) -> None:
    """Remove what is kept of a study that is itself removed."""
    for one in (due_table, table):
        tx.execute(delete(one).where(one.c.study_instance_uid == study_uid))


def devices(tx: Connection) -> list[str]:
    """Return every device that a study is from, sorted by the database; at most `DEVICES`.

    Each is one look into the index, however many studies there are.
    """
    found: list[str] = []
    last = ""
    while len(found) < DEVICES:
        following = select(func.min(table.c.device)).where(table.c.device > last)
        last = tx.execute(following).scalar_one()
        if last is None:
            break
        found.append(last)
    return found


def folded(text: str) -> str:
    """Return text as it is compared: without accents, capitals, carets and doubled spaces."""
    parts = unicodedata.normalize("NFKD", plain(text).replace("^", " ").replace("=", " "))
    bare = "".join(one for one in parts if not unicodedata.combining(one))
    return " ".join(bare.casefold().split())


def header_of(row: RowMapping | dict[str, Any]) -> StudyHeader:
    """Return a row of `COLUMNS` as a header."""
    modalities = tuple(one for one in row["modalities"].split(MODALITY_SEPARATOR) if one)
    series = tuple(row["series"]) if "series" in row else ()
    return StudyHeader(**facts(row, modalities=modalities, series=series))


def _joined(modalities: Collection[str]) -> str:
    inner = MODALITY_SEPARATOR.join(plain(one) for one in modalities)
    return f"{MODALITY_SEPARATOR}{inner}{MODALITY_SEPARATOR}" if inner else ""


def _searched(header: StudyHeader) -> str:
    parts = (
        header.study_instance_uid,
        header.patient_name,
        header.patient_id,
        header.accession_number,
        header.study_description,
    )
    # A space before each, so that what begins a word can be told.
    whole = "".join(f" {folded(part)}" for part in parts if part)
    return whole.encode()[:SEARCH_BYTES].decode(errors="ignore")


def _cleaned(value: Any) -> Any:
    return plain(value) if isinstance(value, str) else value
