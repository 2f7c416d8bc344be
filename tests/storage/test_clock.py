"""The database's clock: stopped, set back and set forward under a running gateway."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import select
from support.clock import DAY, Clock

from storage import instances, jobs, studies
from storage.engine import Database, now
from storage.leases import Rescued
from storage.records import Instance

MakeInstance = Callable[..., Instance]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(sqlite_url: str, clock: Clock) -> Iterator[Database]:
    """A database on SQLite whose clock is ours."""
    connected = Database.connect(sqlite_url)
    clock.rule(connected)
    yield connected
    connected.dispose()


def test_the_clock_of_these_tests_is_ours(database: Database, clock: Clock) -> None:
    """`now` tells what the clock is set to."""
    with database.read() as tx:
        assert tx.execute(select(now())).scalar_one() == pytest.approx(clock.seconds, abs=0.001)
        clock.seconds += DAY
        assert tx.execute(select(now())).scalar_one() == pytest.approx(clock.seconds, abs=0.001)


def test_arrivals_in_the_same_tick_of_the_clock_differ(
    database: Database, an_instance: MakeInstance, study_uid: str
) -> None:
    """Each new instance changes the time that a completion compares, though the clock stands."""
    with database.begin() as tx:
        seen: list[float] = []
        for number in range(4):
            instances.record(tx, an_instance(number), None)
            (found,) = studies.open_studies(tx)
            seen.append(found.study.last_received_at)
            for earlier in seen[:-1]:
                assert studies.complete(tx, study_uid, "a" * 64, earlier) is None
        assert len(set(seen)) == 4


@pytest.mark.parametrize("step", [-DAY, -400 * DAY])
def test_a_clock_set_back_strands_nothing(
    database: Database, clock: Clock, a_job: Callable[..., int], step: float
) -> None:
    """Jobs that waited, and jobs whose worker died, go on at once by the new time."""
    claimed, delayed, waiting = a_job(1), a_job(2), a_job(3)
    with database.begin() as tx:
        jobs.claim(tx, "worker", 60)
        jobs.claim(tx, "worker", 60)
        jobs.fail(tx, delayed, 1, "broken", 900)
    clock.seconds += step

    with database.begin() as tx:
        assert jobs.rescue(tx, 3, 0.0) == Rescued(1, 0)
        taken = [jobs.claim(tx, "worker", 60) for _ in range(3)]
        assert [job.id for job in taken if job] == [claimed, delayed, waiting]
        assert jobs.rescue(tx, 3, 0.0) == Rescued(0, 0)


def test_a_worker_alive_while_the_clock_is_set_back_keeps_its_job(
    database: Database, clock: Clock, a_job: Callable[..., int]
) -> None:
    """Its next heartbeat tells the new time, and nobody takes the job from it."""
    made = a_job()
    with database.begin() as tx:
        jobs.claim(tx, "worker", 60)
        clock.seconds -= DAY
        assert jobs.heartbeat(tx, made, 1, 60)
        assert jobs.rescue(tx, 3, 0.0) == Rescued(0, 0)

        clock.seconds += 61
        assert jobs.rescue(tx, 3, 0.0) == Rescued(1, 0)


def test_a_clock_set_forward_costs_an_attempt_and_not_an_outcome(
    database: Database, clock: Clock, a_job: Callable[..., int]
) -> None:
    """The lease ends early; the worker that is still at it is fenced off."""
    made = a_job()
    with database.begin() as tx:
        jobs.claim(tx, "worker", 60)
        clock.seconds += DAY
        assert jobs.rescue(tx, 3, 0.0) == Rescued(1, 0)
        assert not jobs.heartbeat(tx, made, 1, 60)
        job = jobs.claim(tx, "other", 60)
        assert job is not None
        assert job.attempt == 2


def test_a_small_step_back_is_no_alarm(
    database: Database, clock: Clock, a_job: Callable[..., int]
) -> None:
    """Time service corrections of a second end no lease."""
    a_job()
    with database.begin() as tx:
        jobs.claim(tx, "worker", 60)
        clock.seconds -= 1
        assert jobs.rescue(tx, 3, 0.0) == Rescued(0, 0)


def test_a_study_is_not_held_open_by_a_clock_set_back(
    database: Database, clock: Clock, an_instance: MakeInstance
) -> None:
    """Its quiet time is the step, and an association that died before it is dead."""
    with database.begin() as tx:
        sender = instances.open_association(tx, "SCANNER", "127.0.0.1")
        instances.record(tx, an_instance(), sender)
        clock.seconds -= DAY
        (found,) = studies.open_studies(tx)
        assert found.quiet_for == pytest.approx(DAY, abs=0.01)
        assert found.active_associations == 0

        instances.touch_associations(tx, [sender])
        assert studies.open_studies(tx)[0].active_associations == 1
        instances.record(tx, an_instance(2), sender)
        assert studies.open_studies(tx)[0].quiet_for == pytest.approx(0, abs=0.01)
