"""Shadowing: studies decided by terms that do nothing, as they are judged.

Thresholds, rules and policies are decided by a tick from what was kept of each settled job. Models
are asked by a worker that has no other job. Only `shadow_outcome` is written: nothing is sent,
held, told, or made.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping
from typing import Any

from gatekeeper.backtest.again import Again, models_of
from gatekeeper.backtest.candidate import IN_FORCE, Candidate
from gatekeeper.backtest.comparison import Comparison, Decided, Pair
from gatekeeper.backtest.replay import Answer, Ground, NotReplayable, Replay
from gatekeeper.backtest.stored import EvidenceError, Origin, stored_study
from gatekeeper.configuration import policy
from gatekeeper.errors import GatekeeperError
from gatekeeper.rules.rule import RuleError
from gatekeeper.settings import Settings
from gatekeeper.work.process import Child
from models.errors import ModelError
from storage import settled, shadows
from storage.engine import Database
from storage.records import Shadow, ShadowState
from storage.settled import Settled
from storage.spool import Spool

ANOTHER_VERSION = "evidence of another version"


def catch_up(database: Database, spool: Spool, settings: Settings, at_once: int) -> int:
    """Meet what was settled since each running shadow last looked; return how many jobs."""
    with database.read() as tx:
        running = [one for one in shadows.listing(tx) if one.state is ShadowState.RUNNING]
    return sum(_catch_up(database, spool, settings, one, at_once) for one in running)


def _catch_up(
    database: Database, spool: Spool, settings: Settings, shadow: Shadow, at_once: int
) -> int:
    with database.read() as tx:
        due = shadows.due(tx, shadow.name, at_once)
        rows = settled.of_jobs(tx, due)
    met = 0
    for row in rows:
        job = row.outcome.job_id
        if shadow.analyses:
            with database.begin() as tx:
                met += shadows.meet(tx, shadow.name, job)
            continue
        try:
            pair = decided(database, spool, settings, shadow, row)
        except NotReplayable as reason:
            with database.begin() as tx:
                met += shadows.meet(tx, shadow.name, job, not_replayable=str(reason))
        else:
            with database.begin() as tx:
                met += shadows.meet(tx, shadow.name, job, pair=as_json(pair))
    return met


def decided(
    database: Database,
    spool: Spool,
    settings: Settings,
    shadow: Shadow,
    row: Settled,
    answer: Answer | None = None,
) -> Pair:
    """Return what is decided about a job and what the shadow would have.

    Raises:
        NotReplayable: if it cannot be decided, with the reason.
    """
    candidate = Candidate.of(shadow.candidate)
    try:
        with database.read() as tx:
            now, then = (one.terms(tx, settings) for one in (IN_FORCE, candidate))
        study = stored_study(row.study_instance_uid, row.content_digest, row.outcome)
        ground = Ground(database, spool, settings.rules)
        return Replay(ground, now, then, answer).pair(row, study)
    except EvidenceError:
        raise NotReplayable(ANOTHER_VERSION) from None
    except (RuleError, ModelError) as error:
        raise NotReplayable(f"the candidate cannot be used: {error}") from None


def analysed(
    database: Database,
    spool: Spool,
    settings: Settings,
    shadow: Shadow,
    job_id: int,
    child: Child,
    cancelled: threading.Event,
) -> Pair:
    """Return the same of a shadow whose models are asked in the limited child.

    Raises:
        NotReplayable: if it cannot be decided, with the reason.
        ChildStopped: if it was cancelled.
    """
    candidate = Candidate.of(shadow.candidate)
    with database.read() as tx:
        rows = settled.of_jobs(tx, [job_id])
        in_force = policy.in_force(tx, settings)
        try:
            models = models_of(tx, candidate, settings)
        except ModelError as error:
            raise NotReplayable(f"the candidate cannot be used: {error}") from None
    if not rows:
        raise NotReplayable("its outcome is gone")
    again = Again(database, spool, in_force, models, child, cancelled)
    return decided(
        database, spool, settings, shadow, rows[0], lambda _row, study: again.study(study)
    )


def report(database: Database, shadow: Shadow, limit: int | None = None) -> Comparison:
    """Return what a shadow would have decided, beside what was; of the newest `limit` alone."""
    with database.read() as tx:
        found = [of_json(one) for one in shadows.pairs(tx, shadow.name, limit)]
        given_up, waiting = shadows.not_decided(tx, shadow.name)
    problems = (f"{waiting:,} studies wait to be analysed.",) if waiting else ()
    if limit is not None and len(found) == limit:
        problems += (f"These are the newest {limit:,}; `gatekeeper shadow report` has all.",)
    words = Candidate.of(shadow.candidate).in_words
    return Comparison(words, tuple(found), given_up, problems)


def as_json(pair: Pair) -> dict[str, Any]:
    """Return a pair as JSON."""
    return dataclasses.asdict(pair)


def of_json(document: Mapping[str, Any]) -> Pair:
    """Return the pair of a document that `as_json` made.

    Raises:
        GatekeeperError: if it is none.
    """
    try:
        return Pair(
            study_instance_uid=document["study_instance_uid"],
            job_id=document["job_id"],
            origin=Origin(**document["origin"]),
            before=Decided(**document["before"]),
            after=Decided(**document["after"]),
        )
    except (KeyError, TypeError):
        raise GatekeeperError("an outcome of the shadow is of another version") from None
