"""Outcomes: what each job found, and the objects that say so. Written by `jobs.settle` alone."""

from __future__ import annotations

from sqlalchemy import Connection, RowMapping, select

from storage import jobs
from storage.records import Job, Outcome, Result
from storage.schema import job, job_result, outcome, result


def of_job(tx: Connection, job_id: int) -> Outcome | None:
    """Return a job's outcome, or None when it has none yet."""
    row = tx.execute(select(outcome).where(outcome.c.job_id == job_id)).mappings().one_or_none()
    return None if row is None else _outcome(row)


def results_of_job(tx: Connection, job_id: int) -> list[Result]:
    """Return a job's result objects in the order in which they were settled."""
    query = (
        select(result)
        .join(job_result, job_result.c.sop_instance_uid == result.c.sop_instance_uid)
        .where(job_result.c.job_id == job_id)
        .order_by(job_result.c.position)
    )
    return [Result(**row) for row in tx.execute(query).mappings()]


def is_own_result(tx: Connection, sop_instance_uid: str) -> bool:
    """Return whether we made the object of this SOP Instance UID."""
    query = select(result.c.sop_instance_uid).where(result.c.sop_instance_uid == sop_instance_uid)
    return tx.execute(query).one_or_none() is not None


def for_study(tx: Connection, study_uid: str) -> list[tuple[Job, Outcome]]:
    """Return a study's settled jobs with their outcomes, the newest first."""
    query = (
        select(outcome)
        .join(job, job.c.id == outcome.c.job_id)
        .where(job.c.study_instance_uid == study_uid)
        .order_by(job.c.revision.desc(), job.c.id.desc())
    )
    found = [_outcome(row) for row in tx.execute(query).mappings()]
    return [(jobs.existing(tx, one.job_id), one) for one in found]


def _outcome(row: RowMapping) -> Outcome:
    # The destinations are for the books alone: `storage.ledger`.
    return Outcome(**{name: row[name] for name in row if name != "destinations"})
