"""Intake pauses at its marks, says so, and goes on by itself."""

from __future__ import annotations

import dataclasses
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from listen.raw_scanner import raw_scanner, store
from listen.wire import (
    EXPLICIT,
    MR,
    VERIFICATION,
    associated,
    rejection,
    running,
    settings_for,
    sqlite_only,
)
from support.files import written_files
from support.receiving import receive
from support.waiting import until

from gatekeeper import status
from gatekeeper.listen import backpressure
from gatekeeper.listen.associations import OpenAssociation
from gatekeeper.listen.backpressure import Mark, Marks, disk_marks, queue_marks
from gatekeeper.listen.receive import Receiver
from storage import channels, instances, jobs, notifications, pauses
from storage.engine import Database
from storage.records import Channel, ChannelKind, Instance
from storage.spool import Spool

PATIENCE = 30


@settings(max_examples=50)
@given(st.lists(st.integers(0, 300), min_size=1), st.integers(0, 200), st.integers(0, 250))
def test_intake_goes_on_only_when_there_is_clearly_more(
    free: list[int], low: int, resume: int
) -> None:
    """Under the low mark paused, at the resume mark not, between them as it was."""
    marks = disk_marks(low, resume)
    assert marks.resume_at >= marks.pause_under
    paused = False
    for mib in free:
        before, paused = paused, marks.paused(paused, mib)
        assert paused or mib >= low
        assert not paused or mib < marks.resume_at
        if low <= mib < marks.resume_at:
            assert paused is before


@settings(max_examples=50)
@given(st.lists(st.integers(0, 30), min_size=1), st.integers(1, 20), st.integers(0, 30))
def test_the_queue_pauses_at_its_upper_mark_and_goes_on_at_its_lower(
    waiting: list[int], high: int, low: int
) -> None:
    """A lower mark above the upper one counts as just under it."""
    marks = queue_marks(high, low)
    paused = False
    for jobs_waiting in waiting:
        before, paused = paused, marks.paused(paused, -jobs_waiting)
        assert paused or jobs_waiting < high
        assert not paused or jobs_waiting > min(low, high - 1)
        if min(low, high - 1) < jobs_waiting < high:
            assert paused is before


def watchers() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("paused-")}


def nobody_watches() -> bool:
    return not watchers()


def test_a_pause_is_shown_since_when_and_ends_without_traffic(
    database: Database, tmp_path: Path
) -> None:
    """Asked once while it lasts; one log line when it begins and one when it ends; told once."""
    spool = Spool(tmp_path / "spool")
    free = [5]
    mark = Mark("disk", Marks(10, 20), lambda: free[0], database)
    with database.begin() as tx:
        channels.save(tx, Channel("desk", ChannelKind.EMAIL, "desk@hospital.example"))

    def shown() -> dict[str, float]:
        return status.read(database, spool).intake_paused

    with structlog.testing.capture_logs() as events:
        assert mark.is_paused()
        since = until(shown, PATIENCE, "the pause is shown")["disk"]
        free[0] = 15
        assert mark.is_paused()
        assert shown() == {"disk": since}
        assert ("intake", "paused") in {
            (name, text.split("[/]")[0].split("]")[-1])
            for name, text in status.read(database, spool).lines()
        }
        free[0] = 20
        until(lambda: not shown(), PATIENCE, "the end is seen by itself")
        until(nobody_watches, PATIENCE, "nobody looks any more")

    assert not mark.is_paused()
    changes = [one["event"] for one in events if one["event"].startswith("intake_")]
    assert changes == ["intake_paused", "intake_resumed"]
    with database.read() as tx:
        (told,) = notifications.listing(tx)
    assert told.facts == {"mark": "disk", "since": since}


@sqlite_only
def test_a_pause_ends_with_its_listener(database: Database, tmp_path: Path) -> None:
    """Stopped while the disk is full: nobody looks any more, and no pause is shown."""
    site = settings_for(tmp_path / "spool")
    full = dataclasses.replace(site.spool, low_water_mib=1 << 40)
    before = watchers()
    with running(dataclasses.replace(site, spool=full), database) as here:
        with raw_scanner(here.port) as scanner:
            scanner.send(store("1.2.3.4"))
            assert scanner.status() == 0xA700
            scanner.release()
        until(lambda: status.read(database, here.spool).intake_paused, PATIENCE, "a pause is shown")

    assert watchers() <= before
    with database.read() as tx:
        assert pauses.paused(tx) == {}


@sqlite_only
def test_a_pause_that_was_left_behind_is_forgotten_at_start(database: Database) -> None:
    """By a listener that was killed while paused."""
    with database.begin() as tx:
        pauses.pause(tx, "queue")

    backpressure.forget_pauses(database)

    with database.read() as tx:
        assert pauses.paused(tx) == {}


def test_a_full_queue_rejects_what_would_store_and_recovers(
    database: Database, tmp_path: Path
) -> None:
    """Transient, local limit exceeded; C-ECHO is answered all the while."""
    limits = settings_for(tmp_path / "spool", queue_high=2, queue_low=0)
    with running(limits, database) as here:
        for number in (1, 2):
            queue_a_job(database, number)
        with associated(here.port) as association:
            assert rejection(association) == backpressure.LOCAL_LIMIT_EXCEEDED
        with associated(here.port, [(VERIFICATION, (EXPLICIT,))]) as association:
            assert association.is_established

        end_a_job(database)
        with associated(here.port) as association:
            assert rejection(association) == backpressure.LOCAL_LIMIT_EXCEEDED
        end_a_job(database)

        def welcome() -> bool:
            with associated(here.port) as association:
                return association.is_established

        until(welcome, PATIENCE, "the queue is down to its lower mark")
        until(nobody_watches, PATIENCE, "the end of the pause is written")


def queue_a_job(database: Database, number: int) -> None:
    uid = f"1.2.3.{number}"
    with database.begin() as tx:
        kept = Instance(uid, MR, EXPLICIT, uid, uid, "MR", f"{number:064x}", 1, "CT1")
        instances.record(tx, kept, None)
        assert jobs.enqueue(tx, uid, "a" * 64, "b" * 64, 1)


def end_a_job(database: Database) -> None:
    with database.begin() as tx:
        claimed = jobs.claim(tx, "test", 60.0)
        assert claimed is not None
        jobs.fail(tx, claimed.id, claimed.attempt, "ended", None)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a file system of 2 MiB, or skip where none can be mounted."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", str(folder)]
    try:
        tried = subprocess.run(mount, capture_output=True, text=True, timeout=30, check=False)
    except FileNotFoundError:
        pytest.skip("a tmpfs cannot be mounted here: there is no mount program")
    if tried.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {tried.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], timeout=30, check=True)


@sqlite_only
def test_a_full_file_system_is_out_of_resources_and_intake_goes_on_when_it_is_not(
    small_disk: Path, database: Database
) -> None:
    """ENOSPC while writing: 0xA700, no row, no part of a file; taken once there is space."""
    spool = Spool(small_disk / "spool")
    receiver = Receiver(database, spool, low_water_mib=0)

    def send(uid: str, size: int) -> int:
        scanner = OpenAssociation("SCANNER", "127.0.0.1")
        return receive(receiver, uid, scanner, PixelData=bytes(size)).status

    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1 << 20))
    assert send("1.2.3.1", 1024) == 0x0000
    kept = files(spool)

    assert send("1.2.3.2", 1 << 20) == 0xA700
    assert files(spool) == kept
    assert count(database) == 1
    assert not receiver.failed.is_set()

    ballast.unlink()
    assert send("1.2.3.2", 1 << 20) == 0x0000
    assert count(database) == 2
    receiver.close(20)


def files(spool: Spool) -> list[Path]:
    return list(written_files(spool.root))


def count(database: Database) -> int:
    with database.read() as tx:
        return instances.count(tx)
