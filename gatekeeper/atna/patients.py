"""Whose study it is, as far as an audit message says: the Patient ID and nothing else."""

from __future__ import annotations

from sqlalchemy import Connection

from storage import study_headers


def patient_id_of(tx: Connection, study: str) -> str:
    """Return the Patient ID (0010,0020) of a study, empty before its headers were read.

    Args:
        tx: the open transaction.
        study: Study Instance UID.
    """
    header = study_headers.get(tx, study)
    return "" if header is None else header.patient_id
