"""Settlement: whole or not at all, and honest about results made before."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import select

from storage import deliveries, jobs, outcomes
from storage.engine import Database
from storage.records import JobState, Outcome, Result
from storage.schema import metadata, outcome
from storage.settlement import ResultConflictError

KILLED_AT_EACH_STATEMENT = """
import os, signal, sys
from sqlalchemy import event
from storage import jobs
from storage.engine import Database
from storage.records import Outcome, Result

found = Outcome(0, "CLEAR", "", None, None)
results = [Result(f"2.25.{n}", "1.2", "1.3", "1.4", "report", "a" * 64, 1) for n in (1, 2)]

def settle(fatal):
    database = Database.connect(sys.argv[1])
    seen = 0
    def count(*_):
        nonlocal seen
        seen += 1
        if seen == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
    event.listen(database._engine, "before_cursor_execute", count)
    with database.begin() as tx:
        assert jobs.settle(tx, int(sys.argv[2]), 1, found, results, ["PACS", "ARCHIVE"])
        count()
    os._exit(0)

fatal, killed = 1, True
while killed:
    if os.fork() == 0:
        settle(fatal)
    killed = os.WIFSIGNALED(os.wait()[1])
    print("killed" if killed else "settled", flush=True)
    sys.stdin.readline()
    fatal += 1
"""

MakeJob = Callable[..., int]
MakeResult = Callable[..., Result]
Start = Callable[..., subprocess.Popen[str]]


def test_a_settle_killed_at_any_statement_leaves_nothing(
    database: Database, database_url: str, a_job: MakeJob, other_process: Start
) -> None:
    """kill -9 before each statement and before the commit: all rows as before, the lease held."""
    made = a_job()
    with database.begin() as tx:
        jobs.claim(tx, "worker", 600)
        before = _contents(tx)
    process = other_process(KILLED_AT_EACH_STATEMENT, database_url, str(made))
    assert process.stdout is not None
    assert process.stdin is not None
    kills = 0
    while (answer := process.stdout.readline().strip()) == "killed":
        kills += 1
        with database.read() as tx:
            assert _contents(tx) == before
        process.stdin.write("on\n")
        process.stdin.flush()

    assert answer == "settled", process.communicate()
    assert kills > 10
    with database.read() as tx:
        job = jobs.get(tx, made)
        assert job is not None
        assert job.state is JobState.DONE
        assert len(deliveries.for_job(tx, made)) == 2


def test_two_jobs_may_share_a_result(
    database: Database, a_job: MakeJob, an_outcome: Outcome, a_result: MakeResult
) -> None:
    """A revision that makes the same object again refers to the one that is there."""
    first, second = a_job(1), a_job(2)
    with database.begin() as tx:
        for made in (first, second):
            jobs.claim(tx, "worker", 60)
            shared = [a_result(1), a_result(made + 100)]
            assert jobs.settle(tx, made, 1, an_outcome, shared, ["PACS"])

    with database.read() as tx:
        for made in (first, second):
            assert outcomes.results_of_job(tx, made) == [a_result(1), a_result(made + 100)]
            assert len(deliveries.for_job(tx, made)) == 1


def test_a_result_with_other_content_under_its_uid_is_refused(
    database: Database, a_job: MakeJob, an_outcome: Outcome, a_result: MakeResult
) -> None:
    """What archives may already hold under a UID is never replaced, and nothing is settled."""
    first, second = a_job(1), a_job(2)
    with database.begin() as tx:
        jobs.claim(tx, "worker", 60)
        assert jobs.settle(tx, first, 1, an_outcome, [a_result(1, "a")], ["PACS"])
        jobs.claim(tx, "worker", 60)
        before = _contents(tx)

    with pytest.raises(ResultConflictError) as caught, database.begin() as tx:
        jobs.settle(tx, second, 1, an_outcome, [a_result(1, "b")], ["PACS"])

    assert caught.value.sop_instance_uid == a_result(1).sop_instance_uid
    with database.read() as tx:
        assert _contents(tx) == before


def test_an_outcome_that_is_not_json_is_refused(
    database: Database, a_job: MakeJob, an_outcome: Outcome
) -> None:
    """NaN is not JSON, and not an answer."""
    made = a_job()
    with database.begin() as tx:
        jobs.claim(tx, "worker", 60)
    broken = replace(an_outcome, evidence={"score": float("nan")})

    with pytest.raises(Exception, match="not JSON compliant"), database.begin() as tx:
        jobs.settle(tx, made, 1, broken, [], [])

    with database.read() as tx:
        assert outcomes.of_job(tx, made) is None
        assert jobs.counts(tx)[JobState.CLAIMED] == 1


def test_an_outcome_without_numbers_is_kept(
    database: Database, a_job: MakeJob, an_outcome: Outcome
) -> None:
    """An unreadable study has neither score nor p-value."""
    made = a_job()
    unreadable = replace(an_outcome, verdict="UNREADABLE", score=None, p_value=None)
    with database.begin() as tx:
        jobs.claim(tx, "worker", 60)
        jobs.settle(tx, made, 1, unreadable, [], [])

        found = outcomes.of_job(tx, made)
        assert found is not None
        assert (found.verdict, found.score, found.p_value) == ("UNREADABLE", None, None)


def test_own_results_are_known_by_their_uid(
    database: Database, a_job: MakeJob, an_outcome: Outcome, a_result: MakeResult
) -> None:
    """An object is ours when a settled job made it."""
    made = a_job()
    with database.begin() as tx:
        jobs.claim(tx, "worker", 60)
        jobs.settle(tx, made, 1, an_outcome, [a_result(1)], [])

        assert outcomes.is_own_result(tx, a_result(1).sop_instance_uid)
        assert not outcomes.is_own_result(tx, a_result(2).sop_instance_uid)


def test_the_outcomes_of_a_study_are_listed_newest_first(
    database: Database, a_job: MakeJob, an_outcome: Outcome, study_uid: str
) -> None:
    """Only settled jobs have one."""
    made = [a_job(number) for number in range(3)]
    with database.begin() as tx:
        for number in made[:2]:
            jobs.claim(tx, "worker", 60)
            jobs.settle(tx, number, 1, an_outcome, [], [])

        listed = outcomes.for_study(tx, study_uid)
        assert [job.id for job, _ in listed] == [found.job_id for _, found in listed]
        assert [job.id for job, _ in listed] == made[1::-1]
        assert outcomes.for_study(tx, "1.2.3") == []
        assert len(tx.execute(select(outcome)).all()) == 2


def _contents(tx: object) -> dict[str, list[tuple[object, ...]]]:
    from sqlalchemy import Connection

    assert isinstance(tx, Connection)
    return {
        table.name: sorted(tuple(row) for row in tx.execute(select(table)))
        for table in metadata.sorted_tables
        if table.name != "outcome"
    } | {"outcome": [tuple(row) for row in tx.execute(select(outcome.c.job_id))]}
