"""Queues: how every stage stands, what it gave up, and what pausing does."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gatekeeper import queue
from storage import audit, jobs, leases, queues, watch
from storage.engine import Database
from storage.queues import Stage
from storage.waiting import STATES

MakeJob = Callable[..., int]


def stands(database: Database, stage: Stage) -> queues.Standing:
    with database.read() as tx:
        return next(one for one in queues.standing(tx) if one.stage is stage)


def test_a_paused_stage_takes_up_nothing_and_goes_on_where_it_was(
    database: Database, a_job: MakeJob
) -> None:
    """What is claimed is finished, what waits waits, and both lines are in the trail."""
    a_job()
    with database.begin() as tx:
        held = jobs.claim(tx, "worker", 60)
        queue.pause(tx, Stage.ANALYSIS, "anna", "a new driver")
    a_job(2)
    with database.begin() as tx:
        assert jobs.claim(tx, "worker", 60) is None
        assert held is not None
        assert jobs.heartbeat(tx, held.id, held.attempt, 60)
        assert jobs.fail(tx, held.id, held.attempt, "no", None)
    stage = stands(database, Stage.ANALYSIS)
    assert (stage.queued, stage.dead) == (1, 1)
    assert stage.paused is not None
    assert (stage.paused.by, stage.paused.why) == ("anna", "a new driver")
    assert stands(database, Stage.DELIVERY).paused is None

    with database.begin() as tx:
        queue.resume(tx, Stage.ANALYSIS, "bert")
        assert jobs.claim(tx, "worker", 60) is not None
        lines = [(line.actor, line.action) for line in audit.listing(tx)]
    assert lines == [("bert", "resume"), ("anna", "pause")]


def test_what_was_given_up_is_listed_with_its_reason_and_restarted(
    database: Database, a_job: MakeJob
) -> None:
    """One, or all together; never what was not given up."""
    numbers = [a_job(number) for number in range(3)]
    with database.begin() as tx:
        for _ in numbers:
            job = jobs.claim(tx, "worker", 60)
            assert job is not None
            jobs.fail(tx, job.id, job.attempt, "the child was killed", None)
    with database.read() as tx:
        found = queues.rows(tx, Stage.ANALYSIS, leases.DEAD, 2)
        rest = queues.rows(tx, Stage.ANALYSIS, leases.DEAD, 2, found[-1].id)
    assert [one.id for one in (*found, *rest)] == sorted(numbers, reverse=True)
    assert {one.reason for one in found} == {"the child was killed"}
    assert all(one.about for one in found)

    with database.begin() as tx:
        queue.restart(tx, Stage.ANALYSIS, numbers[0], "anna")
        with pytest.raises(queue.QueueRefused, match="not among"):
            queue.restart(tx, Stage.ANALYSIS, numbers[0], "anna")
        assert queue.restart_all(tx, Stage.ANALYSIS, "anna") == 2
    stage = stands(database, Stage.ANALYSIS)
    assert (stage.queued, stage.dead) == (3, 0)


def test_a_job_in_whose_place_there_is_another_is_not_stuck(
    database: Database, a_job: MakeJob
) -> None:
    """It is not counted or listed as given up, and no restart of the stage queues it again."""
    numbers = [a_job(number) for number in range(3)]
    with database.begin() as tx:
        for reason in ("the child was killed", f"{jobs.SUPERSEDED}: the study changed", "no"):
            job = jobs.claim(tx, "worker", 60)
            assert job is not None
            jobs.fail(tx, job.id, job.attempt, reason, None)
    assert stands(database, Stage.ANALYSIS).dead == 2
    with database.begin() as tx:
        assert watch.queues(tx)["analyse"].counts["dead"] == 2
        found = queues.rows(tx, Stage.ANALYSIS, leases.DEAD, 10)
        assert [one.id for one in found] == [numbers[2], numbers[0]]
        with pytest.raises(queue.QueueRefused, match="not among"):
            queue.restart(tx, Stage.ANALYSIS, numbers[1], "anna")
        assert queue.restart_all(tx, Stage.ANALYSIS, "anna") == 2
        assert jobs.existing(tx, numbers[1]).state == leases.DEAD


@pytest.mark.parametrize("stage", Stage)
def test_every_stage_can_be_looked_at_and_paused(database: Database, stage: Stage) -> None:
    """No stage is missing a table, a column or a way back."""
    with database.begin() as tx:
        queue.pause(tx, stage, "anna", "maintenance")
        with pytest.raises(queue.QueueRefused, match="already"):
            queue.pause(tx, stage, "anna", "maintenance")
        for state in STATES:
            assert queues.rows(tx, stage, state, 10) == []
        assert not queues.restart(tx, stage, 1)
        assert list(queues.paused(tx)) == [stage]
        queue.resume(tx, stage, "anna")
