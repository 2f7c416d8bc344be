"""Workers killed at any moment: every job still ends in exactly one outcome."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import func, select
from support.waiting import until
from work.phantoms import ROOT, Ward, series

from gatekeeper.work.worker import SCRATCH
from storage import deliveries, jobs, outcomes
from storage.failpoint import VARIABLE
from storage.records import Job, JobState
from storage.schema import outcome

LEASE_SECONDS = 2.0


@pytest.fixture
def ward(tmp_path: Path, database_url: str) -> Generator[Ward]:
    """Give a database and spool, once on SQLite and once on PostgreSQL."""
    made = Ward(tmp_path, database_url)
    made.add_node("PACS", receives_results=True)
    yield made
    made.database.dispose()


def study(ward: Ward, number: int) -> int:
    return ward.study(series(4, modality="CT", description="", study=f"{ROOT}.{number}"))


@contextmanager
def running(ward: Ward, failpoint: str = "") -> Generator[subprocess.Popen[bytes]]:
    """Run `gatekeeper work` as a process of its own; it is gone afterwards."""
    work = {
        "DATABASE_URL": ward.settings.database.url,
        "SPOOL_DIRECTORY": ward.settings.spool.directory,
        "WORK_LEASE_SECONDS": LEASE_SECONDS,
        "WORK_POLL_SECONDS": 0.05,
        "WORK_RETRY_SECONDS": 0,
        "WORK_MEMORY_MIB": 2048,
        "WORK_MAXIMUM_ATTEMPTS": 50,
        "WORK_STOP_SECONDS": 0,
        "WORK_DEVICE": "cpu",
        "WORK_THREADS": 1,
        "LOG_LEVEL": "ERROR",
    }
    environment = os.environ | {f"GATEKEEPER_{name}": str(value) for name, value in work.items()}
    if failpoint:
        environment[VARIABLE] = failpoint
    command = [sys.executable, "-m", "gatekeeper", "work"]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def rescued(ward: Ward) -> bool:
    """Do what the periodic work does with leases that ended."""
    with ward.database.begin() as tx:
        return jobs.rescue(tx, 50, 0.0).requeued > 0


def is_done(ward: Ward, job: int) -> Job | None:
    rescued(ward)
    found = ward.job(job)
    return found if found.state is JobState.DONE else None


def outcome_count(ward: Ward) -> int:
    with ward.database.read() as tx:
        return tx.execute(select(func.count()).select_from(outcome)).scalar_one()


def children(process: subprocess.Popen[bytes]) -> list[int]:
    tasks = Path(f"/proc/{process.pid}/task")
    try:
        return [
            int(pid)
            for task in tasks.iterdir()
            for pid in (task / "children").read_text(encoding="ascii").split()
        ]
    except FileNotFoundError:
        return []


def in_progress_or_done(ward: Ward, made: list[int]) -> bool:
    """Tell whether a job is being worked on, or all are done."""
    states = [ward.job(job).state for job in made]
    rescued(ward)
    return JobState.CLAIMED in states or set(states) == {JobState.DONE}


def test_a_worker_killed_in_mid_job_is_followed_by_exactly_one_outcome(ward: Ward) -> None:
    """The lease ends, another worker does the job as the next attempt, and nothing is doubled."""
    job = study(ward, 1)
    with running(ward, "child.read=hang") as doomed:
        until(lambda: ward.job(job).state is JobState.CLAIMED, 30, "the job to be claimed")
        (child,) = until(lambda: children(doomed), 30, "the child to be started")
        until(lambda: list((ward.spool.root / SCRATCH).glob("*/request.json")), 30, "a request")
        doomed.kill()
        doomed.wait(10)
    until(lambda: not Path(f"/proc/{child}").exists(), 10, "the child to die with its worker")
    with running(ward):
        done = until(lambda: is_done(ward, job), 60, "the job to be done by another worker")
    with ward.database.read() as tx:
        sent = deliveries.for_job(tx, job)
        results = outcomes.results_of_job(tx, job)

    assert done.attempt == 2
    assert outcome_count(ward) == 1
    assert len(sent) == len(results) == 1


def test_a_child_killed_in_mid_job_costs_one_attempt(ward: Ward) -> None:
    """The worker outlives its child, says what happened, and starts another for the retry."""
    job = study(ward, 1)
    with running(ward, f"child.read=hang@{ROOT}.1") as worker:
        (child,) = until(lambda: children(worker), 30, "the child to be started")
        until(lambda: list((ward.spool.root / SCRATCH).glob("*/request.json")), 30, "a request")
        os.kill(child, signal.SIGKILL)
        until(lambda: ward.job(job).attempt == 2, 120, "the second attempt")
        assert worker.poll() is None
        assert "killed by the system (SIGKILL)" in ward.job(job).reason


def test_a_terminated_worker_releases_its_job_and_leaves_nothing(ward: Ward) -> None:
    """SIGTERM ends worker and child, frees the job at once, and removes its scratch folder."""
    job = study(ward, 1)
    with running(ward, "child.read=hang") as worker:
        until(lambda: list((ward.spool.root / SCRATCH).glob("*/request.json")), 30, "a request")
        (child,) = until(lambda: children(worker), 30, "the child to be started")
        worker.terminate()
        assert worker.wait(20) == 0

    assert ward.job(job).state is JobState.QUEUED
    assert ward.job(job).reason.startswith("released")
    assert not Path(f"/proc/{child}").exists()
    assert list((ward.spool.root / SCRATCH).iterdir()) == []


def test_workers_killed_again_and_again_settle_every_job_once(ward: Ward) -> None:
    """Two workers, one of them killed time after time: each study ends in one outcome."""
    chance = random.Random(7)
    made = [study(ward, number) for number in range(1, 7)]
    for _ in range(4):
        with running(ward) as first, running(ward) as second:
            until(lambda: in_progress_or_done(ward, made), 30, "work to go on")
            chance.choice([first, second]).kill()
            if chance.random() < 0.5:
                for child in children(first) + children(second):
                    os.kill(child, signal.SIGKILL)
    with running(ward):
        until(lambda: all(is_done(ward, job) for job in made), 90, "all jobs to be done")

    assert outcome_count(ward) == len(made)
    assert sum(ward.job(job).attempt for job in made) > len(made), "no kill hit a job"
    with ward.database.read() as tx:
        assert [len(deliveries.for_job(tx, job)) for job in made] == [1] * len(made)
