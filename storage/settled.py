"""Settled: the newest outcome of each study, for those who look back. Reads alone."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, func, select

from storage.records import Outcome
from storage.schema import job, outcome

# The destinations are for the books alone: `storage.ledger`.
_KEPT = [column for column in outcome.c if column.name != "destinations"]


@dataclass(frozen=True, slots=True)
class Settled:
    """A job that ended with an outcome.

    Attributes:
        study_instance_uid, content_digest, model_digest: its key.
        revision: of the study.
        outcome: what it found.
    """

    study_instance_uid: str
    content_digest: str
    model_digest: str
    revision: int
    outcome: Outcome


def newest(
    tx: Connection, *, before: int | None = None, since: float = 0.0, limit: int = 200
) -> list[Settled]:
    """Return the newest outcome of each study, the newest jobs first.

    Args:
        tx: the open transaction.
        before: number of a job; only older ones, so that a long list is read in parts.
        since: seconds since the epoch; only what was settled from then on.
        limit: most of them.
    """
    latest = (
        select(func.max(outcome.c.job_id))
        .join(job, job.c.id == outcome.c.job_id)
        .group_by(job.c.study_instance_uid)
    )
    older = () if before is None else (outcome.c.job_id < before,)
    return _read(tx, outcome.c.job_id.in_(latest), outcome.c.created_at >= since, *older, n=limit)


def latest(tx: Connection, limit: int) -> list[Settled]:
    """Return the outcomes of the latest jobs, of each study the newest among them.

    Reads `limit` rows however many there are, which `newest` does not.
    """
    found: dict[str, Settled] = {}
    for one in _read(tx, n=limit):
        found.setdefault(one.study_instance_uid, one)
    return list(found.values())


def of_jobs(tx: Connection, jobs: list[int]) -> list[Settled]:
    """Return the outcomes of these jobs, the newest first."""
    return _read(tx, outcome.c.job_id.in_(jobs), n=len(jobs))


def _read(tx: Connection, *conditions: ColumnElement[bool], n: int) -> list[Settled]:
    query = (
        select(
            *_KEPT,
            job.c.study_instance_uid,
            job.c.content_digest,
            job.c.model_digest,
            job.c.revision,
        )
        .join(job, job.c.id == outcome.c.job_id)
        .where(*conditions)
        .order_by(outcome.c.job_id.desc())
        .limit(n)
    )
    return [
        Settled(
            row["study_instance_uid"],
            row["content_digest"],
            row["model_digest"],
            row["revision"],
            Outcome(**{column.name: row[column.name] for column in _KEPT}),
        )
        for row in tx.execute(query).mappings()
    ]
