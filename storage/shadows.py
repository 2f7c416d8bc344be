"""Shadows: terms that decide beside those in force, and what they would have decided.

A job has at most one outcome in a shadow, however many ticks or workers meet. A study that is to be
analysed is a leased row like a job; its end is written under the attempt's fence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection, RowMapping, func, select, update

from storage import leases
from storage.engine import facts, insert, now, plain
from storage.leases import Rescued
from storage.records import Shadow, ShadowState, ShadowTask
from storage.schema import job, outcome
from storage.schema import shadow as table
from storage.schema import shadow_outcome as outcomes

DONE = "done"


def add(
    tx: Connection, name: str, candidate: Mapping[str, Any], by: str, why: str, *, analyses: bool
) -> bool:
    """Begin to decide by these terms from now on; False when there is a shadow of that name.

    A job that was dead by then and is tried again later is not looked at.
    """
    open_jobs = select(func.min(job.c.id)).where(job.c.state.in_(["queued", "claimed"]))
    next_job = select(func.coalesce(func.max(job.c.id), 0) + 1)
    first = tx.execute(open_jobs).scalar_one() or tx.execute(next_job).scalar_one()
    row = tx.execute(
        insert(tx, table)
        .values(
            name=name,
            candidate=dict(candidate),
            analyses=analyses,
            state=ShadowState.RUNNING.value,
            started_by=plain(by),
            why=plain(why),
            started_at=now(),
            first_job=first,
            ended_by="",
        )
        .on_conflict_do_nothing(index_elements=[table.c.name])
        .returning(table.c.name)
    )
    return row.first() is not None


def get(tx: Connection, name: str) -> Shadow | None:
    """Return a shadow, or None."""
    row = tx.execute(select(table).where(table.c.name == name)).mappings().one_or_none()
    return None if row is None else _shadow(row)


def listing(tx: Connection) -> list[Shadow]:
    """Return all shadows, the newest first."""
    query = select(table).order_by(table.c.started_at.desc(), table.c.name)
    return [_shadow(row) for row in tx.execute(query).mappings()]


def end(tx: Connection, name: str, by: str, state: ShadowState) -> bool:
    """End a running shadow; False when it does not run. What waits for a worker is given up."""
    ended = tx.execute(
        update(table)
        .where(table.c.name == name, table.c.state == ShadowState.RUNNING.value)
        .values(state=state.value, ended_by=plain(by), ended_at=now())
    )
    if ended.rowcount != 1:
        return False
    tx.execute(
        update(outcomes)
        .where(outcomes.c.shadow == name, outcomes.c.state == leases.QUEUED)
        .values(
            state=leases.DEAD,
            reason="the shadow ended before it was analysed",
            finished_at=now(),
            updated_at=now(),
        )
    )
    return True


def due(tx: Connection, name: str, limit: int) -> list[int]:
    """Return jobs settled since the shadow began that it has not met yet, the oldest first."""
    met = select(outcomes.c.job_id).where(outcomes.c.shadow == name)
    begun = tx.execute(
        select(table.c.first_job, table.c.started_at).where(table.c.name == name)
    ).one()
    query = (
        select(outcome.c.job_id)
        .where(
            outcome.c.job_id >= begun.first_job,
            outcome.c.created_at >= begun.started_at,
            outcome.c.job_id.not_in(met),
        )
        .order_by(outcome.c.job_id)
        .limit(limit)
    )
    return list(tx.execute(query).scalars())


def meet(
    tx: Connection,
    name: str,
    job_id: int,
    *,
    pair: Mapping[str, Any] | None = None,
    not_replayable: str = "",
) -> bool:
    """Write down a job once: decided, not to be decided for a reason, or for a worker to analyse.

    Returns:
        False, and nothing written, when it was met already.
    """
    values = leases.queued_values()
    if pair is not None:
        values |= {"state": DONE, "pair": dict(pair), "finished_at": now()}
    elif not_replayable:
        reason = plain(not_replayable)[: leases.REASON_LENGTH]
        values |= {"state": leases.DEAD, "reason": reason, "finished_at": now()}
    row = tx.execute(
        insert(tx, outcomes)
        .values(shadow=name, job_id=job_id, **values)
        .on_conflict_do_nothing(index_elements=[outcomes.c.shadow, outcomes.c.job_id])
        .returning(outcomes.c.id)
    )
    return row.first() is not None


def waiting(tx: Connection) -> bool:
    """Return whether a study waits to be analysed in shadow: a look that writes nothing."""
    return leases.due(tx, outcomes)


def claim(tx: Connection, worker: str, lease_seconds: float) -> ShadowTask | None:
    """Claim the oldest study that is to be analysed in shadow, or return None."""
    row = leases.claim_row(tx, outcomes, worker, lease_seconds)
    if row is None:
        return None
    return ShadowTask(row["id"], row["attempt"], row["shadow"], row["job_id"])


def heartbeat(tx: Connection, id: int, attempt: int, lease_seconds: float) -> bool:
    """Hold the claim for so long from now; False when it is no longer this attempt's."""
    return leases.heartbeat(tx, outcomes, id, attempt, lease_seconds)


def settle(tx: Connection, id: int, attempt: int, pair: Mapping[str, Any]) -> bool:
    """Write what would have been decided; False, and nothing written, for a stale attempt."""
    values = {"pair": dict(pair), "state": DONE, "lease_until": None, "finished_at": now()}
    return leases.write(tx, outcomes, id, attempt, values)


def fail(tx: Connection, id: int, attempt: int, reason: str, delay: float | None) -> bool:
    """Queue a study again after a delay, or for None give it up; see `leases.fail`."""
    return leases.fail(tx, outcomes, id, attempt, reason, delay)


def rescue(tx: Connection, maximum_attempts: int, delay: Callable[[int], float] | float) -> Rescued:
    """Take back studies whose lease expired; see `leases.rescue`."""
    return leases.rescue(tx, outcomes, maximum_attempts, delay, "worker")


def pairs(tx: Connection, name: str, limit: int | None = None) -> list[dict[str, Any]]:
    """Return what a shadow would have decided, the newest jobs first; at most `limit` of them."""
    query = (
        select(outcomes.c.pair)
        .where(outcomes.c.shadow == name, outcomes.c.state == DONE)
        .order_by(outcomes.c.job_id.desc())
        .limit(limit)
    )
    return list(tx.execute(query).scalars())


def not_decided(tx: Connection, name: str) -> tuple[dict[str, int], int]:
    """Return how many studies were given up for which reason, and how many wait for a worker."""
    query = (
        select(outcomes.c.state, outcomes.c.reason, func.count())
        .where(outcomes.c.shadow == name, outcomes.c.state != DONE)
        .group_by(outcomes.c.state, outcomes.c.reason)
    )
    given_up: dict[str, int] = {}
    waiting = 0
    for state, reason, count in tx.execute(query):
        if state == leases.DEAD:
            given_up[reason] = given_up.get(reason, 0) + count
        else:
            waiting += count
    return given_up, waiting


def _shadow(row: RowMapping) -> Shadow:
    found: dict[str, Any] = {**facts(row), "state": ShadowState(row["state"])}
    return Shadow(**found)
