"""Jobs: one analysis of one content of a study by one set of models.

At most one job exists for the three together, at most one worker holds it, and at most one
outcome comes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, func, select

from storage import decision_records, deliveries, leases, settlement
from storage.engine import facts, insert, now
from storage.leases import Rescued
from storage.records import Job, JobState, Outcome, Result
from storage.schema import job as table

NO_SPACE = "waits for space: "
"""Beginning of the reason of a job that waits because a disk was full."""

SUPERSEDED = "superseded"
"""Beginning of the reason of a dead job in whose place there is, or will be, another."""

_COLUMNS = [column for column in table.c if column.name != "updated_at"]


def enqueue(
    tx: Connection,
    study_uid: str,
    content_digest: str,
    model_digest: str,
    revision: int,
    priority: int = 0,
    instructions: Mapping[str, Any] | None = None,
) -> int | None:
    """Queue a job and return its id; None when that job exists, whatever became of it.

    Args:
        tx: the open transaction.
        study_uid: the Study Instance UID.
        content_digest: what is to be analysed.
        model_digest: with which set of models.
        revision: of the study.
        priority: higher is claimed first; 0 is routine.
        instructions: JSON; what the rules say of the analysis.

    Raises:
        sqlalchemy.exc.IntegrityError: if there is no such study.
    """
    key = [table.c.study_instance_uid, table.c.content_digest, table.c.model_digest]
    return tx.execute(
        insert(tx, table)
        .values(
            study_instance_uid=str(study_uid),
            content_digest=str(content_digest),
            model_digest=str(model_digest),
            revision=revision,
            priority=priority,
            instructions=dict(instructions or {}),
            **leases.queued_values(),
        )
        .on_conflict_do_nothing(index_elements=key)
        .returning(table.c.id)
    ).scalar_one_or_none()


def claim(tx: Connection, worker: str, lease_seconds: float, *, oldest: bool = False) -> Job | None:
    """Claim the most urgent job that is due, of those the oldest, or return None.

    Args:
        tx: the open transaction.
        worker: who claims.
        lease_seconds: how long the claim holds without a heartbeat.
        oldest: take the oldest job, however urgent others are, so that none waits for ever.
    """
    first = [] if oldest else [table.c.priority.desc()]
    claimed = leases.claim_row(tx, table, worker, lease_seconds, first=first)
    return None if claimed is None else _job(claimed)


def heartbeat(tx: Connection, job_id: int, attempt: int, lease_seconds: float) -> bool:
    """Hold the job for so many seconds from now; False when it is no longer this attempt's."""
    return leases.heartbeat(tx, table, job_id, attempt, lease_seconds)


def settle(
    tx: Connection,
    job_id: int,
    attempt: int,
    outcome: Outcome,
    results: Sequence[Result],
    nodes: Sequence[str],
    taken: Mapping[str, Collection[str]] | None = None,
    languages: Mapping[str, str] | None = None,
) -> bool:
    """End a job: its outcome, its results, and a delivery of them to each node, or nothing.

    `outcome.job_id` and `outcome.created_at` are ignored. No delivery is made when there are no
    results for a node.

    Args:
        tx: the open transaction.
        job_id: the job.
        attempt: the attempt that ends it.
        outcome: what was found.
        results: all result objects.
        nodes: AE titles of the destinations.
        taken: kinds of result that a node takes; one that is not named takes all.
        languages: language of the results that a node takes; one that is not named takes all.

    Returns:
        False, and nothing written, when the job is no longer this attempt's.

    Raises:
        ResultConflictError: see `settlement.write`; the transaction must not be committed.
    """
    if not leases.finish(tx, table, job_id, attempt, JobState.DONE.value):
        return False
    wanted = {
        node: _wanted(results, (taken or {}).get(node), (languages or {}).get(node))
        for node in map(str, nodes)
    }
    destinations = [node for node, items in wanted.items() if items]
    settlement.write(tx, job_id, outcome, results, destinations)
    decision_records.note(tx, existing(tx, job_id).study_instance_uid)
    for node in destinations:
        deliveries.create(tx, node, wanted[node], job_id)
    return True


def _wanted(
    results: Sequence[Result], kinds: Collection[str] | None, language: str | None
) -> list[Result]:
    return [
        result
        for result in results
        if (kinds is None or result.kind in kinds)
        and (language is None or result.language == language)
    ]


def fail(
    tx: Connection, job_id: int, attempt: int, reason: str, delay_seconds: float | None
) -> bool:
    """Queue a job again after a delay, or for None set it aside as dead.

    Returns:
        False, and nothing written, when the job is no longer this attempt's.
    """
    return leases.fail(tx, table, job_id, attempt, reason, delay_seconds)


def wait_for_space(
    tx: Connection, job_id: int, attempt: int, reason: str, delay_seconds: float
) -> bool:
    """Queue a job again after a delay because a disk is full, which uses up no attempt.

    Returns:
        False, and nothing written, when the job is no longer this attempt's.
    """
    because = NO_SPACE + reason
    return leases.fail(tx, table, job_id, attempt, because, delay_seconds, counted=False)


def waiting_for_space(tx: Connection) -> int:
    """Return how many jobs wait because a disk was full."""
    waiting = table.c.state == JobState.QUEUED.value, table.c.reason.startswith(NO_SPACE)
    return tx.execute(select(func.count()).select_from(table).where(*waiting)).scalar_one()


def rescue(tx: Connection, maximum_attempts: int, delay: Callable[[int], float] | float) -> Rescued:
    """Take back jobs whose lease expired; see `leases.rescue`."""
    return leases.rescue(tx, table, maximum_attempts, delay, "worker")


def retry(tx: Connection, job_id: int) -> bool:
    """Queue a dead job again with all its attempts before it; False when it is not dead."""
    return leases.retry(tx, table, job_id)


def get(tx: Connection, job_id: int) -> Job | None:
    """Return the job of this id, or None."""
    row = tx.execute(select(*_COLUMNS).where(table.c.id == job_id)).mappings().one_or_none()
    return None if row is None else _job(row)


def existing(tx: Connection, job_id: int) -> Job:
    """Return the job of this id, which is known to exist."""
    return _job(tx.execute(select(*_COLUMNS).where(table.c.id == job_id)).mappings().one())


def of_content(tx: Connection, study_uid: str, content_digest: str) -> Job | None:
    """Return the latest job for this content of a study, or None."""
    query = (
        select(*_COLUMNS)
        .where(table.c.study_instance_uid == study_uid, table.c.content_digest == content_digest)
        .order_by(table.c.id.desc())
        .limit(1)
    )
    row = tx.execute(query).mappings().one_or_none()
    return None if row is None else _job(row)


def listing(
    tx: Connection, state: JobState | None = None, study: str | None = None, limit: int = 100
) -> list[Job]:
    """Return jobs, the newest first, of this state and this study where given."""
    conditions: list[ColumnElement[bool]] = []
    if state is not None:
        conditions.append(table.c.state == state.value)
    if study is not None:
        conditions.append(table.c.study_instance_uid == study)
    return [_job(row) for row in leases.newest(tx, _COLUMNS, table, conditions, limit)]


def counts(tx: Connection) -> dict[JobState, int]:
    """Return how many jobs are in each state."""
    found = leases.counts(tx, table)
    return {state: found.get(state.value, 0) for state in JobState}


def waiting(tx: Connection, limit: int) -> int:
    """Return how many jobs wait to be claimed, counting no further than `limit`."""
    some = select(table.c.id).where(table.c.state == JobState.QUEUED.value).limit(limit)
    return tx.execute(select(func.count()).select_from(some.subquery())).scalar_one()


def oldest_queued_seconds(tx: Connection) -> float | None:
    """Return the age of the oldest job that waits, in seconds, or None when none waits."""
    waiting = table.c.state == JobState.QUEUED.value
    return tx.execute(select(now() - func.min(table.c.created_at)).where(waiting)).scalar_one()


def _job(row: RowMapping) -> Job:
    known = {name: value for name, value in row.items() if name != "updated_at"}
    return Job(**facts(known, state=JobState(row["state"])))
