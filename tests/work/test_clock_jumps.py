"""A machine whose clock jumps by a day under running roles; SQLite's clock is the machine's."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from support.waiting import until
from work.phantoms import ROOT, Ward, series

from storage import outcomes
from storage.records import JobState

DAY = 86400.0
STEPS = {"+1d": DAY, "-1d": -DAY, "+0": 0.0}
"""Each from where the one before left the clock: a day on, two days back, a day on."""
ENDS_SECONDS = 300.0
SLEEP = """
import select, time
time.sleep = lambda seconds: select.select([], [], [], seconds) and None
"""
"""For `sitecustomize`: what Python's own sleep calls (clock_nanosleep until an absolute time of the
monotonic clock) fails or returns at once under libfaketime 0.9.10, whatever the offset and although
that clock is not to be faked. No other wait does."""


class Clock:
    """What time the roles take it to be: libfaketime reads a file whenever it is asked.

    Args:
        faketime: the wrapper's path, which knows where its library is.
        folder: an empty one.
    """

    def __init__(self, faketime: str, folder: Path) -> None:
        command = [faketime, "-m", "-f", "+0", "printenv", "LD_PRELOAD"]
        library = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        self._file = folder / "offset"
        (folder / "sitecustomize.py").write_text(SLEEP)
        paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.set("+0")
        self.environment = {
            "LD_PRELOAD": library.strip(),
            "PYTHONPATH": os.pathsep.join(paths),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            # As Linux does: setting the clock does not move the monotonic one.
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, offset: str) -> None:
        """Set it at once, for all."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{offset}\n")
        new.replace(self._file)


@pytest.fixture
def ward(tmp_path: Path, sqlite_url: str) -> Generator[Ward]:
    made = Ward(tmp_path, sqlite_url)
    yield made
    made.database.dispose()


@contextmanager
def role(name: str, ward: Ward, clock: Clock) -> Generator[None]:
    """Run a role by this clock; it is gone afterwards."""
    chosen: dict[str, object] = {
        "DATABASE_URL": ward.settings.database.url,
        "SPOOL_DIRECTORY": ward.settings.spool.directory,
        "WORK_POLL_SECONDS": 0.05,
        "WORK_RETRY_SECONDS": 0,
        "WORK_MEMORY_MIB": 2048,
        "WORK_DEVICE": "cpu",
        "WORK_THREADS": 1,
        "TICK_RESCUE_SECONDS": 0.1,
        "LOG_LEVEL": "ERROR",
    }
    environment = os.environ | {f"GATEKEEPER_{key}": str(value) for key, value in chosen.items()}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "gatekeeper", name], env=environment | clock.environment
    )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.mark.timeout(1800)
def test_a_clock_that_jumps_by_a_day_stops_no_role_and_loses_no_job(
    ward: Ward, tmp_path_factory: pytest.TempPathFactory, peer: Callable[[str], str]
) -> None:
    """Forth and back under a job: its worker keeps it or another attempt does it; all end."""
    clock = Clock(peer("faketime"), tmp_path_factory.mktemp("clock"))
    images = [
        series(4, modality="CT", description="", study=f"{ROOT}.{number}")
        for number in range(2 * len(STEPS))
    ]
    done: list[int] = []
    with ExitStack() as stack:
        for name in ("work", "tick"):
            stack.enter_context(role(name, ward, clock))
        for step, away in STEPS.items():
            jumped = ward.study(images.pop())
            until(
                lambda job=jumped: ward.job(job).state is not JobState.QUEUED,
                ENDS_SECONDS,
                "the job is claimed",
            )
            clock.set(step)
            # By the time of the test it may be due only tomorrow: it does not wait for that.
            after = ward.study(images.pop())
            for job in (jumped, after):
                until(
                    lambda job=job: ward.job(job).state in (JobState.DONE, JobState.DEAD),
                    ENDS_SECONDS,
                    "the job has ended",
                )
                done.append(job)
            claimed = ward.job(after).claimed_at
            assert claimed is not None
            assert abs(claimed - time.time() - away) < DAY / 2
    with ward.database.read() as tx:
        found = [outcomes.of_job(tx, job) for job in done]

    assert [ward.job(job).state for job in done] == [JobState.DONE] * 6
    assert None not in found
