"""Leases: a job is held by one attempt at a time, and a lost attempt writes nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, event, text, update

from storage import deliveries, instances, jobs, outcomes
from storage.engine import Database, now
from storage.leases import Rescued
from storage.records import Instance, Job, JobState, Outcome, Result
from storage.schema import job as table

MakeJob = Callable[..., int]
MakeResult = Callable[..., Result]


def test_a_stale_attempt_cannot_settle(
    database: Database,
    a_job: MakeJob,
    an_outcome: Outcome,
    a_result: MakeResult,
    eventually: Callable[..., Any],
) -> None:
    """A worker that outlived its lease writes nothing; its successor's outcome is the only one."""
    made = a_job()
    with database.begin() as tx:
        zombie = _claim(tx, lease=0.001)
    _expire(database, eventually)
    with database.begin() as tx:
        successor = _claim(tx)

    with database.begin() as tx:
        assert not jobs.settle(tx, made, zombie.attempt, an_outcome, [a_result(1)], ["PACS"])
        assert outcomes.of_job(tx, made) is None
        assert deliveries.for_job(tx, made) == []
    with database.begin() as tx:
        assert jobs.settle(tx, made, successor.attempt, an_outcome, [a_result(2)], ["PACS"])
        assert not jobs.settle(tx, made, zombie.attempt, an_outcome, [a_result(1)], ["PACS"])
        assert outcomes.results_of_job(tx, made) == [a_result(2)]
        assert len(deliveries.for_job(tx, made)) == 1


def test_a_stale_attempt_can_neither_fail_nor_hold_the_job(
    database: Database, a_job: MakeJob, eventually: Callable[..., Any]
) -> None:
    """Heartbeat and failure of a lost attempt say so and change nothing."""
    made = a_job()
    with database.begin() as tx:
        _claim(tx, lease=0.001)
    _expire(database, eventually)
    with database.begin() as tx:
        _claim(tx)
        before = _get(tx, made)
        assert not jobs.heartbeat(tx, made, 1, 600)
        assert not jobs.fail(tx, made, 1, "late", 0)
        assert not jobs.fail(tx, made, 1, "late", None)

        assert _get(tx, made) == before


def test_a_job_is_settled_once_by_two_threads_of_one_attempt(
    database: Database, a_job: MakeJob, an_outcome: Outcome, a_result: MakeResult
) -> None:
    """Two settles at once, one wins; one outcome and one delivery come of it."""
    made = a_job()
    with database.begin() as tx:
        _claim(tx)
    answers: list[bool] = []
    barrier = threading.Barrier(2)

    def settle() -> None:
        barrier.wait(10)
        with database.begin() as tx:
            answers.append(jobs.settle(tx, made, 1, an_outcome, [a_result()], ["PACS"]))

    threads = [threading.Thread(target=settle) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert sorted(answers) == [False, True]
    with database.read() as tx:
        assert len(deliveries.for_job(tx, made)) == 1


def test_a_heartbeat_holds_the_job(database: Database, a_job: MakeJob) -> None:
    """A heartbeat moves the end of the lease, and rescue leaves the job alone."""
    made = a_job()
    with database.begin() as tx:
        job = _claim(tx, lease=0.001)
        assert jobs.heartbeat(tx, made, job.attempt, 600)
        assert jobs.rescue(tx, 3, 0.0) == Rescued(0, 0)

        found = _get(tx, made)
    assert found.lease_until is not None
    assert job.lease_until is not None
    assert found.lease_until > job.lease_until + 500


def test_a_failed_job_waits_before_it_is_claimed_again(
    database: Database, a_job: MakeJob, eventually: Callable[..., Any]
) -> None:
    """It is queued with its reason, not due before its delay is over, and then is attempt 2."""
    first, second = a_job(1), a_job(2)
    with database.begin() as tx:
        _claim(tx)
        assert jobs.fail(tx, first, 1, "the model \0 is \ud800 gone", 600)
        found = _get(tx, first)
        assert (found.state, found.reason) == (JobState.QUEUED, "the model  is ? gone")
        assert (found.lease_until, found.finished_at) == (None, None)
        assert _claim(tx).id == second
        assert jobs.claim(tx, "worker", 60) is None

        assert jobs.fail(tx, second, 1, "broken", 0.05)
        job = eventually(lambda: jobs.claim(tx, "worker", 60))
    assert (job.id, job.attempt) == (second, 2)


def test_a_job_failed_for_good_is_dead(database: Database, a_job: MakeJob) -> None:
    """A dead job keeps its reason and is claimed no more; the queue moves on."""
    first, second = a_job(1), a_job(2)
    with database.begin() as tx:
        _claim(tx)
        assert jobs.fail(tx, first, 1, "poisoned", None)
        found = _get(tx, first)
        assert (found.state, found.reason) == (JobState.DEAD, "poisoned")
        assert found.finished_at is not None
        assert _claim(tx).id == second
        assert jobs.claim(tx, "worker", 60) is None


def test_an_expired_lease_is_queued_again_until_the_attempts_are_used_up(
    database: Database, a_job: MakeJob, eventually: Callable[..., Any]
) -> None:
    """Each expiry costs an attempt; the last makes the job dead, with the reason."""
    made = a_job()
    delays: list[int] = []

    def delay(attempts: int) -> float:
        delays.append(attempts)
        return 0.0

    for attempt in (1, 2, 3):
        with database.begin() as tx:
            assert _claim(tx, lease=0.001).attempt == attempt
        with database.begin() as tx:
            rescued = eventually(lambda tx=tx: _some(jobs.rescue(tx, 3, delay)))
            assert rescued == (Rescued(0, 1) if attempt == 3 else Rescued(1, 0))

    assert delays == [1, 2]
    with database.read() as tx:
        found = _get(tx, made)
    assert (found.state, found.attempt) == (JobState.DEAD, 3)
    assert "attempt 3 stopped without an answer; given up after 3 attempts" in found.reason


def test_a_rescued_job_waits_for_its_delay(
    database: Database, a_job: MakeJob, eventually: Callable[..., Any]
) -> None:
    """A fixed delay in seconds does as well as a function."""
    a_job()
    with database.begin() as tx:
        _claim(tx, lease=0.001)
        eventually(lambda: _some(jobs.rescue(tx, 3, 600.0)))
        assert jobs.claim(tx, "worker", 60) is None


def test_retry_gives_a_dead_job_all_its_attempts_again(
    database: Database, a_job: MakeJob, eventually: Callable[..., Any]
) -> None:
    """The attempt number goes on rising, so that old attempts stay stale."""
    made = a_job()
    with database.begin() as tx:
        assert not jobs.retry(tx, made)
        _claim(tx)
        jobs.fail(tx, made, 1, "broken", 0)
        _claim(tx)
        jobs.fail(tx, made, 2, "broken", None)
        assert jobs.retry(tx, made)
        assert not jobs.retry(tx, made)
        assert _get(tx, made).reason == "broken"

        job = _claim(tx, lease=0.001)
        assert (job.attempt, job.attempts_before) == (3, 2)
        assert not jobs.heartbeat(tx, made, 1, 60)
        assert eventually(lambda: _some(jobs.rescue(tx, 2, 0.0))) == Rescued(1, 0)
        _claim(tx, lease=0.001)
        assert eventually(lambda: _some(jobs.rescue(tx, 2, 0.0))) == Rescued(0, 1)
        assert "given up after 2 attempts" in _get(tx, made).reason


def test_a_clock_set_back_strands_no_job(database: Database, a_job: MakeJob) -> None:
    """Leases and delays written in the future are void: the job is rescued and claimed at once."""
    made = a_job()
    day = 86400
    with database.begin() as tx:
        _claim(tx)
        ahead = {"updated_at": now() + day, "lease_until": now() + day}
        tx.execute(update(table).values(ahead))
        assert jobs.rescue(tx, 3, 0.0) == Rescued(1, 0)
        tx.execute(update(table).values(updated_at=now() + day, not_before=now() + day))

        assert _claim(tx).id == made


STEPS = ["claim", "heartbeat", "settle", "fail", "give_up", "rescue", "retry"]


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 2)), max_size=25))
def test_whatever_happens_to_a_job_follows_its_states(
    database: Database, an_outcome: Outcome, steps: list[tuple[str, int]]
) -> None:
    """Any sequence of calls, by this attempt or earlier ones, does what the model says."""
    with database.begin() as tx, tx.begin_nested() as undo:
        made = _first_job(tx)
        expected = _Expected()
        for step, behind in steps:
            getattr(expected, step)(tx, made, expected.attempt - behind, an_outcome)
            found = _get(tx, made)
            facts = (found.state, found.attempt, found.attempts_before)
            assert facts == (expected.state, expected.attempt, expected.before)
            settled = outcomes.of_job(tx, made) is not None
            assert settled == (expected.state is JobState.DONE)
        undo.rollback()


class _Expected:
    """What a job must look like; each method makes a call and checks the answer."""

    def __init__(self) -> None:
        self.state, self.attempt, self.before = JobState.QUEUED, 0, 0

    def claim(self, tx: Connection, *_: Any) -> None:
        claimed = jobs.claim(tx, "worker", -1)
        assert (claimed is not None) == (self.state is JobState.QUEUED)
        if claimed is not None:
            self.state, self.attempt = JobState.CLAIMED, self.attempt + 1

    def heartbeat(self, tx: Connection, made: int, attempt: int, _: Outcome) -> None:
        assert jobs.heartbeat(tx, made, attempt, -1) == self._holds(attempt)

    def settle(self, tx: Connection, made: int, attempt: int, outcome: Outcome) -> None:
        self._end(jobs.settle(tx, made, attempt, outcome, [], []), attempt, JobState.DONE)

    def fail(self, tx: Connection, made: int, attempt: int, _: Outcome) -> None:
        self._end(jobs.fail(tx, made, attempt, "failed", 0), attempt, JobState.QUEUED)

    def give_up(self, tx: Connection, made: int, attempt: int, _: Outcome) -> None:
        self._end(jobs.fail(tx, made, attempt, "failed", None), attempt, JobState.DEAD)

    def rescue(self, tx: Connection, *_: Any) -> None:
        held = self.state is JobState.CLAIMED
        dead = held and self.attempt - self.before >= 2
        assert jobs.rescue(tx, 2, 0.0) == Rescued(int(held and not dead), int(dead))
        if held:
            self.state = JobState.DEAD if dead else JobState.QUEUED

    def retry(self, tx: Connection, made: int, *_: Any) -> None:
        dead = self.state is JobState.DEAD
        assert jobs.retry(tx, made) == dead
        if dead:
            self.state, self.before = JobState.QUEUED, self.attempt

    def _end(self, answer: bool, attempt: int, state: JobState) -> None:
        assert answer == self._holds(attempt)
        if answer:
            self.state = state

    def _holds(self, attempt: int) -> bool:
        return self.state is JobState.CLAIMED and attempt == self.attempt


def _first_job(tx: Connection) -> int:
    made = Instance("1.2.1", "1.2", "1.2", "1.2.3", "1.2.4", "MR", "e" * 64, 1, "SCANNER")
    instances.record(tx, made, None)
    queued = jobs.enqueue(tx, "1.2.3", "a" * 64, "b" * 64, 1)
    assert queued is not None
    return queued


def _get(tx: Any, job_id: int) -> Job:
    job = jobs.get(tx, job_id)
    assert job is not None
    return job


def _claim(tx: Any, lease: float = 60.0) -> Job:
    job = jobs.claim(tx, "worker", lease)
    assert job is not None
    return job


def _some(rescued: Rescued) -> Rescued | None:
    return rescued if rescued != Rescued(0, 0) else None


def _expire(database: Database, eventually: Callable[..., Any]) -> None:
    with database.begin() as tx:
        eventually(lambda: _some(jobs.rescue(tx, 100, 0.0)))


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
@pytest.mark.parametrize(("oldest", "index"), [(True, "waiting"), (False, "priority")])
def test_finished_jobs_cost_a_claim_nothing_even_with_old_statistics(
    database: Database, a_job: MakeJob, oldest: bool, index: str
) -> None:
    """A backlog that was worked off since the last ANALYZE is not looked through."""
    a_job(1)
    with database.begin() as tx:
        columns = ", ".join(column.name for column in table.c if column.name != "id")
        chosen = columns.replace("content_digest", "left(content_digest, 50) || n")
        tx.execute(
            text(
                f"INSERT INTO job ({columns}) "  # noqa: S608 - our own column names
                f"SELECT {chosen} "
                "FROM job, generate_series(1, 3000) AS n"
            )
        )
        tx.execute(text("ANALYZE job"))
        tx.execute(update(table).values(state=JobState.DONE.value).where(table.c.id < 2990))
        seen: list[tuple[str, Any]] = []

        def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
            seen.append((statement, parameters))

        event.listen(tx, "before_cursor_execute", note)
        assert jobs.claim(tx, "worker", 60, oldest=oldest) is not None
        event.remove(tx, "before_cursor_execute", note)
        [(statement, parameters)] = seen
        plan = tx.exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars().all()

    assert any(f"ix_job_{index} on job job_1" in line for line in plan), plan
