"""Outcomes: what each job found, and the objects that say so. Written by `jobs.settle` alone."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, RowMapping, bindparam, select

from storage import jobs
from storage.prepared import Prepared
from storage.records import Job, JobState, Outcome, Result
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


def results_before(tx: Connection, of: Job, kinds: Collection[str]) -> list[tuple[int, Result]]:
    """Return the results of these kinds of the latest job on the same study made before `of`.

    A job that left none of these kinds is passed over.

    Returns:
        the earlier job's revision with each result, in the order in which they were settled.
    """
    query = (
        select(job.c.id.label("job_id"), job.c.revision, result)
        .join(job_result, job_result.c.job_id == job.c.id)
        .join(result, job_result.c.sop_instance_uid == result.c.sop_instance_uid)
        .where(
            job.c.study_instance_uid == of.study_instance_uid,
            job.c.id < of.id,
            job.c.state == JobState.DONE.value,
            result.c.kind.in_(list(kinds)),
        )
        .order_by(job.c.id.desc(), job_result.c.position)
    )
    found = [dict(row) for row in tx.execute(query).mappings()]
    latest = [(row.pop("job_id"), row.pop("revision"), Result(**row)) for row in found]
    return [(revision, one) for job_id, revision, one in latest if job_id == latest[0][0]]


def is_own_result(tx: Connection, sop_instance_uid: str) -> bool:
    """Return whether we made the object of this SOP Instance UID."""
    return bool(_OWN.run(tx, {"uid": str(sop_instance_uid)}))


_OWN = Prepared(
    lambda _dialect: select(result.c.sop_instance_uid).where(
        result.c.sop_instance_uid == bindparam("uid")
    )
)


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
