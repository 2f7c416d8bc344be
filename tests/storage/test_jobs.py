"""Jobs: one for each content, settled with all that follows from it."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import exc

from storage import deliveries, instances, jobs, outcomes
from storage.engine import Database
from storage.records import Instance, Job, JobState, Outcome, Result

CLAIM_ALL = """
import sys
from storage import jobs
from storage.engine import Database

database = Database.connect(sys.argv[1], lock_seconds=30)
with database.read() as tx:
    jobs.counts(tx)
print("ready", flush=True)
sys.stdin.readline()
claimed = []
while True:
    with database.begin() as tx:
        job = jobs.claim(tx, "worker", 60)
    if job is None:
        break
    claimed.append(job.id)
print(*claimed, flush=True)
database.dispose()
"""

MakeJob = Callable[..., int]
MakeResult = Callable[..., Result]
Start = Callable[..., subprocess.Popen[str]]


def test_a_job_is_queued_once_for_a_study_content_and_models(
    database: Database, an_instance: Callable[..., Instance], study_uid: str
) -> None:
    """The same three give one job, whatever became of it; a change in one gives another."""
    with database.begin() as tx:
        instances.record(tx, an_instance(), None)
        made = jobs.enqueue(tx, study_uid, "a" * 64, "b" * 64, 1)
        assert made is not None
        assert jobs.enqueue(tx, study_uid, "a" * 64, "b" * 64, 2) is None
        _claim(tx)
        assert jobs.fail(tx, made, 1, "broken", None)
        assert jobs.enqueue(tx, study_uid, "a" * 64, "b" * 64, 1) is None

        assert jobs.enqueue(tx, study_uid, "c" * 64, "b" * 64, 2) is not None
        assert jobs.enqueue(tx, study_uid, "a" * 64, "d" * 64, 1) is not None


def test_a_job_needs_its_study(database: Database) -> None:
    """A job of a study that was never received is refused by the database."""
    with pytest.raises(exc.IntegrityError), database.begin() as tx:
        jobs.enqueue(tx, "1.2.3", "a" * 64, "b" * 64, 1)


def test_a_queued_job_has_all_its_facts(database: Database, a_job: MakeJob, study_uid: str) -> None:
    """What was queued comes back, with no attempt made."""
    made = a_job(1)
    with database.read() as tx:
        found = _get(tx, made)
        age = jobs.oldest_queued_seconds(tx)

    assert (found.study_instance_uid, found.revision) == (study_uid, 1)
    assert (found.state, found.attempt, found.attempts_before) == (JobState.QUEUED, 0, 0)
    assert (found.lease_until, found.claimed_at, found.finished_at) == (None, None, None)
    assert (found.worker, found.reason) == ("", "")
    assert age is not None
    assert 0 <= age < 10


def test_a_claim_is_an_attempt_under_a_lease(database: Database, a_job: MakeJob) -> None:
    """Claiming counts the attempt, names the worker, and holds for the lease."""
    made = a_job()
    with database.begin() as tx:
        job = _claim(tx, lease=60)
        assert job == _get(tx, made)
        assert jobs.claim(tx, "other", 60) is None
        assert jobs.oldest_queued_seconds(tx) is None

    assert (job.state, job.attempt, job.worker) == (JobState.CLAIMED, 1, "worker")
    assert job.lease_until is not None
    assert job.claimed_at is not None
    assert 59 < job.lease_until - job.claimed_at < 61


def test_the_oldest_job_is_claimed_first(database: Database, a_job: MakeJob) -> None:
    """Jobs are claimed in the order in which they were queued."""
    made = [a_job(number) for number in range(4)]
    with database.begin() as tx:
        assert [_claim(tx).id for _ in made] == made
        assert jobs.claim(tx, "worker", 60) is None


def test_settling_writes_everything_at_once(
    database: Database, a_job: MakeJob, an_outcome: Outcome, a_result: MakeResult
) -> None:
    """Outcome, results in their order, one delivery for each node, and the job is done."""
    made = a_job()
    results = [a_result(2), a_result(1), a_result(3)]
    with database.begin() as tx:
        _claim(tx)
        assert jobs.settle(tx, made, 1, an_outcome, results, ["PACS", "ARCHIVE", "PACS"])

    with database.read() as tx:
        found, outcome = _get(tx, made), outcomes.of_job(tx, made)
        assert (found.state, found.lease_until) == (JobState.DONE, None)
        assert found.finished_at is not None
        assert outcome is not None
        assert outcome.created_at > 0
        facts = ("verdict", "reason", "score", "p_value", "evidence", "stages")
        assert [getattr(outcome, one) for one in facts] == [
            getattr(an_outcome, one) for one in facts
        ]
        assert outcomes.results_of_job(tx, made) == results
        sent = deliveries.for_job(tx, made)
        assert [one.node for one in sent] == ["PACS", "ARCHIVE"]
        for one in sent:
            uids = [item.sop_instance_uid for item in deliveries.pending_items(tx, one.id)]
            assert uids == [result.sop_instance_uid for result in results]


def test_a_node_is_sent_the_kinds_of_result_it_takes(
    database: Database, a_job: MakeJob, an_outcome: Outcome, a_result: MakeResult
) -> None:
    """In the order of the results; one that takes none of them gets no delivery."""
    made = a_job()
    results = [replace(a_result(n), kind=kind) for n, kind in enumerate(("map", "note", "map"))]
    taken = {"PACS": ("map",), "NOTES": ("note", "other"), "OTHER": ("other",)}
    with database.begin() as tx:
        _claim(tx)
        assert jobs.settle(tx, made, 1, an_outcome, results, [*taken, "ALL"], taken)

    with database.read() as tx:
        sent = {
            one.node: [item.sop_instance_uid for item in deliveries.pending_items(tx, one.id)]
            for one in deliveries.for_job(tx, made)
        }
    uids = [result.sop_instance_uid for result in results]
    assert sent == {"PACS": [uids[0], uids[2]], "NOTES": [uids[1]], "ALL": uids}


def test_each_node_gets_the_results_in_its_language(
    database: Database, a_job: MakeJob, a_result: MakeResult, an_outcome: Outcome
) -> None:
    """One whose language is not stated gets them all."""
    made = a_job()
    results = [replace(a_result(n), language=language) for n, language in enumerate(("en", "de"))]
    with database.begin() as tx:
        _claim(tx)
        languages = {"PACS": "en", "KLINIK": "de", "OTHER": "fr"}
        nodes = [*languages, "ALL"]
        assert jobs.settle(tx, made, 1, an_outcome, results, nodes, None, languages)
        sent = {
            one.node: [item.sop_instance_uid for item in deliveries.pending_items(tx, one.id)]
            for one in deliveries.for_job(tx, made)
        }

    uids = [result.sop_instance_uid for result in results]
    assert sent == {"PACS": uids[:1], "KLINIK": uids[1:], "ALL": uids}


def test_the_results_of_the_job_before_are_known(
    database: Database, a_job: MakeJob, a_result: MakeResult, an_outcome: Outcome
) -> None:
    """Of the latest one that left any of these kinds, with its revision; never of a later one."""
    kinds = [("report", "map"), ("map",), ("report", "note", "map")]
    made = [a_job(number) for number in range(1, 5)]
    with database.begin() as tx:
        for place, (job, left) in enumerate(zip(made, kinds, strict=False)):
            _claim(tx)
            results = [replace(a_result(10 * place + n), kind=kind) for n, kind in enumerate(left)]
            assert jobs.settle(tx, job, 1, an_outcome, results, [])
        known = [
            [
                (revision, one.sop_instance_uid.rpartition(".")[2], one.kind)
                for revision, one in outcomes.results_before(tx, _get(tx, job), ("report", "note"))
            ]
            for job in made
        ]

    assert known == [
        [],
        [(1, "0", "report")],
        [(1, "0", "report")],
        [(1, "20", "report"), (1, "21", "note")],
    ]


def test_a_job_without_results_makes_no_delivery(
    database: Database, a_job: MakeJob, an_outcome: Outcome
) -> None:
    """An outcome with nothing to send is settled all the same."""
    made = a_job()
    with database.begin() as tx:
        _claim(tx)
        assert jobs.settle(tx, made, 1, an_outcome, [], ["PACS"])
        assert deliveries.for_job(tx, made) == []


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_four_workers_claim_each_job_once(
    database: Database,
    database_url: str,
    a_job: MakeJob,
    other_process: Start,
    kind: str,
) -> None:
    """However the workers race, no job is claimed twice and none is left."""
    made = [a_job(number) for number in range(40)]
    if kind == "threads":
        claimed = _claim_in_threads(database)
    else:
        claimed = _claim_in_processes([other_process(CLAIM_ALL, database_url) for _ in range(4)])

    assert sorted(claimed) == made
    with database.read() as tx:
        assert {job.attempt for job in jobs.listing(tx)} == {1}


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_a_claim_does_not_wait_for_another(database: Database, a_job: MakeJob) -> None:
    """On PostgreSQL a worker passes over the job that another is just claiming."""
    made = [a_job(1), a_job(2)]
    with database.begin() as tx, database.begin() as other:
        assert [_claim(tx).id, _claim(other).id] == made
        assert jobs.claim(other, "worker", 60) is None


def test_jobs_are_listed_and_counted_by_state(
    database: Database, a_job: MakeJob, study_uid: str
) -> None:
    """The newest first, by state and study, at most so many."""
    made = [a_job(number) for number in range(3)]
    with database.begin() as tx:
        _claim(tx)

        def listed(*args: Any, **options: Any) -> list[int]:
            return [job.id for job in jobs.listing(tx, *args, **options)]

        assert listed() == made[::-1]
        assert listed(limit=1) == made[2:]
        assert listed(JobState.CLAIMED) == made[:1]
        assert listed(JobState.QUEUED, study_uid) == made[:0:-1]
        assert listed(study="1.2.3") == []
        assert jobs.counts(tx) == {
            JobState.QUEUED: 2,
            JobState.CLAIMED: 1,
            JobState.DONE: 0,
            JobState.DEAD: 0,
        }
        assert jobs.get(tx, 10**9) is None


def _get(tx: Any, job_id: int) -> Job:
    job = jobs.get(tx, job_id)
    assert job is not None
    return job


def _claim(tx: Any, lease: float = 60.0) -> Job:
    job = jobs.claim(tx, "worker", lease)
    assert job is not None
    return job


def _claim_in_threads(database: Database) -> list[int]:
    claimed: list[int] = []
    barrier = threading.Barrier(4)

    def work() -> None:
        barrier.wait(10)
        while True:
            with database.begin() as tx:
                job = jobs.claim(tx, "worker", 60)
            if job is None:
                return
            claimed.append(job.id)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return claimed


def _claim_in_processes(processes: Sequence[subprocess.Popen[str]]) -> list[int]:
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=60) for process in processes]
    assert [error for _, error in answers] == [""] * len(processes)
    return [int(word) for out, _ in answers for word in out.split()]
