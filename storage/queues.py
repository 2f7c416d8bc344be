"""Queues: every stage whose rows are claimed, as people see them: what waits, runs, and is stuck.

Finished rows are not looked at, so that no answer takes longer as the years pass.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Table, delete, func, literal, select

from storage import confirmations, deliveries, leases, notifications, priors
from storage.engine import insert, now, plain
from storage.leases import CLAIMED, DEAD, QUEUED
from storage.schema import (
    audit_message,
    commitment,
    confirmation,
    delivery,
    job,
    notification,
    prior,
    shadow_outcome,
    stage_pause,
)
from storage.waiting import in_state, waiting


class Stage(enum.StrEnum):
    """A stage, in the order in which a study comes through them."""

    PRIORS = "priors"
    ANALYSIS = "analysis"
    DELIVERY = "delivery"
    CONFIRMATION = "confirmation"
    COMMITMENT = "commitment"
    NOTIFICATION = "notification"
    SHADOW = "shadow"
    AUDIT = "audit"


@dataclass(frozen=True, slots=True)
class Pause:
    """Who paused a stage, when and why."""

    since: float
    by: str
    why: str


@dataclass(frozen=True, slots=True)
class Standing:
    """How a stage stands.

    Attributes:
        queued: rows that wait, those that wait for another try included.
        claimed: rows that are worked on.
        dead: rows that were given up; see `storage.waiting`.
        oldest_seconds: age of the oldest one that waits; None when none does.
        paused: by whom; None while it runs.
    """

    stage: Stage
    queued: int
    claimed: int
    dead: int
    oldest_seconds: float | None
    paused: Pause | None


@dataclass(frozen=True, slots=True)
class Row:
    """A row of any stage.

    Attributes:
        about: the study, or for a notification what it tells of.
        node: AE title, channel or shadow that it is for; empty for an analysis.
        attempt: attempts made since it was queued by a person or at first.
        not_before: when it may be claimed again.
    """

    id: int
    state: str
    about: str
    node: str
    attempt: int
    created_at: float
    updated_at: float
    not_before: float
    worker: str
    reason: str


_NOTHING = literal("")
_STUDY_OF_JOB = select(job.c.study_instance_uid)

_TABLES: Mapping[Stage, Table] = {
    Stage.PRIORS: prior,
    Stage.ANALYSIS: job,
    Stage.DELIVERY: delivery,
    Stage.CONFIRMATION: confirmation,
    Stage.COMMITMENT: commitment,
    Stage.NOTIFICATION: notification,
    Stage.SHADOW: shadow_outcome,
    Stage.AUDIT: audit_message,
}
_ABOUT: Mapping[Stage, tuple[ColumnElement[str], ColumnElement[str]]] = {
    Stage.PRIORS: (prior.c.study_instance_uid, prior.c.node),
    Stage.ANALYSIS: (job.c.study_instance_uid, _NOTHING),
    Stage.DELIVERY: (
        func.coalesce(_STUDY_OF_JOB.where(job.c.id == delivery.c.job_id).scalar_subquery(), ""),
        delivery.c.node,
    ),
    Stage.CONFIRMATION: (_NOTHING, confirmation.c.node),
    Stage.COMMITMENT: (_NOTHING, commitment.c.node),
    Stage.NOTIFICATION: (notification.c.event, notification.c.channel),
    Stage.SHADOW: (
        func.coalesce(
            _STUDY_OF_JOB.where(job.c.id == shadow_outcome.c.job_id).scalar_subquery(), ""
        ),
        shadow_outcome.c.shadow,
    ),
    Stage.AUDIT: (audit_message.c.event, _NOTHING),
}
_RESTART: Mapping[Stage, Callable[[Connection, int], bool]] = {
    Stage.PRIORS: priors.retry,
    Stage.ANALYSIS: lambda tx, number: leases.retry(tx, job, number, *in_state(job, DEAD)),
    Stage.DELIVERY: deliveries.retry,
    Stage.CONFIRMATION: confirmations.retry,
    Stage.COMMITMENT: lambda tx, number: leases.retry(tx, commitment, number),
    Stage.NOTIFICATION: notifications.retry,
    Stage.SHADOW: lambda tx, number: leases.retry(tx, shadow_outcome, number),
    Stage.AUDIT: lambda tx, number: leases.retry(tx, audit_message, number),
}


def standing(tx: Connection) -> list[Standing]:
    """Return how every stage stands."""
    pauses = paused(tx)
    return [_standing(tx, stage, pauses.get(stage)) for stage in Stage]


def rows(
    tx: Connection, stage: Stage, state: str, limit: int, before: int | None = None
) -> list[Row]:
    """Return rows of a stage in one of `storage.waiting.STATES`, the newest first.

    Args:
        tx: the open transaction.
        stage: whose rows.
        state: of the rows.
        limit: at most so many.
        before: only rows older than the one of this number.
    """
    table = _TABLES[stage]
    about, node = _ABOUT[stage]
    older = () if before is None else (table.c.id < before,)
    query = (
        select(
            table.c.id,
            table.c.state,
            about.label("about"),
            node.label("node"),
            (table.c.attempt - table.c.attempts_before).label("attempt"),
            table.c.created_at,
            table.c.updated_at,
            table.c.not_before,
            table.c.worker,
            table.c.reason,
        )
        .where(*in_state(table, state), *older)
        .order_by(table.c.id.desc())
        .limit(limit)
    )
    return [Row(**row) for row in tx.execute(query).mappings()]


def restart(tx: Connection, stage: Stage, id: int) -> bool:
    """Queue a row that was given up, with all its attempts before it; False when it was not."""
    return _RESTART[stage](tx, id)


def dead(tx: Connection, stage: Stage, limit: int) -> list[int]:
    """Return the numbers of the oldest rows that a stage gave up."""
    table = _TABLES[stage]
    given_up = select(table.c.id).where(*in_state(table, DEAD))
    return list(tx.execute(given_up.order_by(table.c.id).limit(limit)).scalars())


def pause(tx: Connection, stage: Stage, by: str, why: str) -> bool:
    """Have a stage claim nothing; False when it is paused already."""
    values = {"stage": _TABLES[stage].name, "since": now(), "by": plain(by), "why": plain(why)}
    written = insert(tx, stage_pause).values(**values).on_conflict_do_nothing()
    return tx.execute(written.returning(stage_pause.c.stage)).first() is not None


def resume(tx: Connection, stage: Stage) -> bool:
    """Have a stage claim again; False when it was not paused."""
    name = _TABLES[stage].name
    return tx.execute(delete(stage_pause).where(stage_pause.c.stage == name)).rowcount == 1


def paused(tx: Connection) -> dict[Stage, Pause]:
    """Return the stages that are paused."""
    of_table = {table.name: stage for stage, table in _TABLES.items()}
    return {
        of_table[row.stage]: Pause(row.since, row.by, row.why)
        for row in tx.execute(select(stage_pause))
        if row.stage in of_table
    }


def _standing(tx: Connection, stage: Stage, pause: Pause | None) -> Standing:
    found = waiting(tx, _TABLES[stage])
    return Standing(
        stage,
        found.counts[QUEUED],
        found.counts[CLAIMED],
        found.counts[DEAD],
        found.ages.get(QUEUED),
        pause,
    )
