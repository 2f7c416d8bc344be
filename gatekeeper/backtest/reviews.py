"""Reviews: what people said of verdicts, by job; of each reviewer the latest word counts."""

from __future__ import annotations

from collections import defaultdict

from sqlalchemy import Connection, func, select

from gatekeeper.backtest.rates import Said
from storage.schema import feedback


def said_of(tx: Connection, first_job: int = 0) -> dict[int, Said]:
    """Return the words on each job from `first_job` on that has any."""
    latest = (
        select(func.max(feedback.c.id))
        .where(feedback.c.job_id >= first_job)
        .group_by(feedback.c.job_id, feedback.c.reviewer)
    )
    query = (
        select(feedback.c.job_id, feedback.c.agrees, func.count())
        .where(feedback.c.id.in_(latest))
        .group_by(feedback.c.job_id, feedback.c.agrees)
    )
    counts: dict[int, dict[bool, int]] = defaultdict(dict)
    for job, agrees, count in tx.execute(query):
        counts[job][bool(agrees)] = count
    return {job: Said(own.get(True, 0), own.get(False, 0)) for job, own in counts.items()}
