"""The intake: acknowledged means durable, at whatever step the process is killed."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.files import written_files
from support.intakes import TAKE_IN, Site, described, sound
from support.waiting import until

from storage import failpoint, instances, studies
from storage.engine import Database, DatabaseUnavailableError, SynchronisationError
from storage.gathering import BacklogError
from storage.instances import Recorded
from storage.intake import Limits
from storage.records import Instance
from storage.recovery import recover
from storage.spool import Spool

STEPS = (
    "spool.written",
    "spool.synchronised",
    "spool.named",
    "receive.committing",
    "committer.committed",
    "test.answering",
    "settler.settling",
    "settler.synchronised",
    "settler.settled",
)
"""Where a killed process stops, on its second object; the last three while the first is settled."""
VOUCHED_STEPS = (*STEPS, "bookkeeper.entering", "bookkeeper.entered")
"""The same, and the last two while the second, which was acknowledged, is entered."""

KILLED_AT_EACH_STEP = (
    TAKE_IN
    + """
enter_seconds = float(sys.argv[3])
for number, step in enumerate(sys.argv[4:], 1):
    if os.fork() == 0:
        settling, behind = step.startswith("settler"), step.startswith("bookkeeper")
        with failpoint.armed(f"{step}=kill@{1 if settling or behind else 2}"):
            take_in(f"1.2.{number}", 3, 0 if settling else 60, enter_seconds).close()
        os._exit(1)
    print("ended", step, os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
"""
)

ONE = TAKE_IN + 'take_in("1.2.1", 1, 60)\n'
ONE_AND_CLOSE = TAKE_IN + 'take_in("1.2.1", 1, 0).close()\n'

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def site(tmp_path: Path, database: Database) -> Iterator[Site]:
    made = Site(tmp_path / "spool", database, Limits(slots=2, settle_seconds=0))
    yield made
    made.intake.close()


@pytest.fixture
def slow(tmp_path: Path, database: Database) -> Iterator[Site]:
    """Give an intake that settles when it is closed, and holds one file at most until then."""
    limits = Limits(slots=2, settle_seconds=60, backlog=2, wait_seconds=0.2)
    made = Site(tmp_path / "spool", database, limits)
    yield made
    made.intake.close()


def test_what_is_taken_in_is_kept_and_settled(
    site: Site, an_instance: Callable[..., Instance]
) -> None:
    """File and row are there at the answer; the slot is given back after it."""
    made = an_instance()

    assert site.take_in(made) == Recorded(new=True, conflict=False)

    with site.database.read() as tx:
        (kept,) = instances.find(tx, made.sop_instance_uid)
    assert site.spool.path(kept.digest).read_bytes() == b"content"
    until(lambda: site.unsettled() == 0, 30, "the file is settled")
    site.intake.close()
    assert sound(site.database, site.spool) == {made.sop_instance_uid}
    assert site.troubles == []


def test_a_resend_and_a_conflict_are_seen(site: Site, an_instance: Callable[..., Instance]) -> None:
    """The same content again is one row; other content is kept beside it."""
    made = an_instance()

    assert site.take_in(made, b"one") == Recorded(new=True, conflict=False)
    assert site.take_in(made, b"one") == Recorded(new=False, conflict=False)
    assert site.take_in(made, b"two") == Recorded(new=True, conflict=True)

    site.intake.close()
    assert sound(site.database, site.spool) == {made.sop_instance_uid}
    assert site.instances() == 2


@pytest.mark.parametrize(
    ("enter_seconds", "steps"),
    [
        pytest.param("0", STEPS, id="row before answer"),
        pytest.param("0.01", VOUCHED_STEPS, id="row after answer"),
    ],
)
def test_nothing_acknowledged_is_lost_at_whatever_step_the_process_is_killed(
    tmp_path: Path,
    database: Database,
    database_url: str,
    other_process: Start,
    enter_seconds: str,
    steps: tuple[str, ...],
) -> None:
    """After a restart every acknowledged instance has row and file, and nothing half is left."""
    arguments = str(tmp_path / "spool"), database_url, enter_seconds, *steps
    process = other_process(KILLED_AT_EACH_STEP, *arguments)
    out, error = process.communicate(timeout=120)
    ended = re.findall(r"ended (\S+) (-?\d+)", out)
    assert ended == [(step, "-9") for step in steps], error
    acknowledged = set(re.findall(r"acknowledged (\S+)", out))
    assert len(acknowledged) >= len(steps) - 3

    spool = Spool(tmp_path / "spool")
    found = recover(database, spool, -60, described)

    assert acknowledged <= sound(database, spool)
    assert found.settled >= len(acknowledged) - 1
    assert found.left == found.elsewhere == 0
    assert recover(database, spool, -60, described).settled == 0


@pytest.mark.parametrize("content", [b"content of", b"content of 1.2.1.0"])
def test_a_file_torn_by_a_power_cut_withdraws_its_instance(
    tmp_path: Path, database: Database, database_url: str, other_process: Start, content: bytes
) -> None:
    """The row may be durable before its file; what is not whole was never acknowledged."""
    before = ["env", f"{failpoint.VARIABLE}=spool.written=hang"]
    process = other_process(ONE, str(tmp_path / "spool"), database_url, before=before)

    def recorded() -> bool:
        with database.read() as tx:
            return instances.count(tx) == 1

    until(recorded, 30, "the row is committed")
    process.kill()
    assert "acknowledged" not in process.communicate(timeout=20)[0]
    (slot,) = written_files(tmp_path / "spool" / "slots")
    slot.chmod(0o640)
    slot.write_bytes(content)

    spool = Spool(tmp_path / "spool")
    found = recover(database, spool, -60, described)

    whole = content == b"content of 1.2.1.0"
    assert sound(database, spool) == ({"1.2.1.0"} if whole else set())
    assert found.withdrawn == (() if whole else ("1.2.1.0",))
    with database.read() as tx:
        assert (studies.get(tx, "1.2.1") is not None) is whole


def test_a_name_lost_by_a_power_cut_is_given_again(
    tmp_path: Path, database: Database, database_url: str, other_process: Start
) -> None:
    """Acknowledged before its folder was synchronised: the slot still has the content."""
    process = other_process(ONE + "os._exit(9)", str(tmp_path / "spool"), database_url)
    assert "acknowledged" in process.communicate(timeout=60)[0]
    spool = Spool(tmp_path / "spool")
    (lost,) = [path for path in (spool.root / "objects").rglob("*") if path.is_file()]
    lost.unlink()

    assert recover(database, spool, -60, described).settled == 1

    assert sound(database, spool) == {"1.2.1.0"}


def test_slots_of_a_living_process_are_left_alone(
    slow: Site, an_instance: Callable[..., Instance]
) -> None:
    """Recovery knows the dead by their locks."""
    slow.take_in(an_instance())

    assert recover(slow.database, slow.spool, -60, described).settled == 0

    assert slow.unsettled() == 1
    slow.intake.close()
    assert slow.unsettled() == 0


def test_a_slot_that_no_row_knows_waits_for_a_late_commit(
    tmp_path: Path, database: Database, database_url: str, other_process: Start
) -> None:
    """A distant server may commit after the process died; only old slots are removed."""
    before = ["env", f"{failpoint.VARIABLE}=receive.committing=kill"]
    other_process(ONE, str(tmp_path / "spool"), database_url, before=before).wait(60)
    spool = Spool(tmp_path / "spool")
    content = {b"content of 1.2.1.0"}

    assert recover(database, spool, 3600, described).swept == 0
    assert {path.read_bytes() for path in spool.root.glob("slots/*/0*")} >= content
    assert recover(database, spool, -60, described).swept == 1
    assert sound(database, spool) == set()


def test_rows_of_another_spool_are_counted_and_kept(
    tmp_path: Path, slow: Site, an_instance: Callable[..., Instance]
) -> None:
    """Two listeners on one database and two spools: neither judges the other's files."""
    slow.take_in(an_instance())

    assert recover(slow.database, Spool(tmp_path / "other"), -60, described).elsewhere == 1

    assert slow.unsettled() == slow.instances() == 1


@pytest.mark.parametrize("code", ["enospc", "eio"])
def test_a_file_that_fails_takes_its_row_with_it(
    site: Site, an_instance: Callable[..., Instance], code: str
) -> None:
    """Whichever of the two is done first, a failed file leaves no row, and a resend succeeds."""
    with failpoint.armed(f"spool.written={code}"):
        with pytest.raises(OSError, match="Errno"):
            site.take_in(an_instance())
        assert site.instances() == site.unsettled() == 0

        assert site.take_in(an_instance()).new
    site.intake.close()
    assert len(sound(site.database, site.spool)) == 1


def test_a_failed_file_does_not_take_the_same_content_of_another(
    slow: Site, an_instance: Callable[..., Instance]
) -> None:
    """Two associations bring one content; the one that fails leaves the other's row."""
    with failpoint.armed("spool.written=eio@2"):
        slow.take_in(an_instance())
        with pytest.raises(OSError, match="Errno 5"):
            slow.take_in(an_instance())

    slow.intake.close()
    assert len(sound(slow.database, slow.spool)) == 1


def test_intake_waits_for_a_backlog_and_goes_on_after_it(
    slow: Site, an_instance: Callable[..., Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be settled is bounded: refused in bounded time, taken again by itself."""
    stuck = threading.Event()
    stuck.set()

    def synchronise(*_arguments: object) -> None:
        if stuck.is_set():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(slow.spool, "synchronise", synchronise)
    for number in range(2):
        slow.take_in(an_instance(number))
    with pytest.raises(BacklogError):
        slow.take_in(an_instance(3))
    until(lambda: slow.troubles, 30, "the failure is reported")
    stuck.clear()
    until(lambda: slow.unsettled() == 0, 30, "the files are settled")
    assert slow.take_in(an_instance(3)).new


def test_a_lost_write_of_a_folder_ends_the_intake(
    site: Site, an_instance: Callable[..., Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    """EIO is reported once and not tried again; what was acknowledged is still recoverable."""
    calls: list[int] = []

    def synchronise(*_arguments: object) -> None:
        calls.append(1)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(site.spool, "synchronise", synchronise)
    site.take_in(an_instance())
    until(lambda: site.troubles, 30, "the failure is reported")

    with pytest.raises(BacklogError):
        site.take_in(an_instance(2))
    assert len(calls) == len(site.troubles) == 1
    assert site.unsettled() == 1


def test_removed_slots_are_made_anew(site: Site, an_instance: Callable[..., Instance]) -> None:
    """Somebody empties the folder: one instance is refused, the next is taken."""
    site.take_in(an_instance(1))
    until(lambda: site.unsettled() == 0, 30, "the file is settled")
    for path in site.spool.root.glob("slots/*/0*"):
        path.unlink()

    with pytest.raises(FileNotFoundError):
        site.take_in(an_instance(2), b"other")

    assert site.take_in(an_instance(2), b"other").new
    assert site.instances() == 2


def test_a_database_that_is_gone_refuses_all_that_wait_in_bounded_time(
    tmp_path: Path, an_instance: Callable[..., Instance]
) -> None:
    """Each of several waiting associations gets its error; nothing hangs."""
    database = Database.connect("postgresql+psycopg://nobody@127.0.0.1:1/none", 0.5)
    site = Site(tmp_path / "spool", database, Limits(slots=4, wait_seconds=1))
    errors: list[Exception] = []

    def take_in(number: int) -> None:
        try:
            site.take_in(an_instance(number))
        except DatabaseUnavailableError as error:
            errors.append(error)

    threads = [threading.Thread(target=take_in, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(errors) == 4
    site.intake.close()


def test_file_and_row_are_on_the_disk_before_the_answer_and_the_names_after_it(
    tmp_path: Path, other_process: Start, peer: Callable[[str], str], sqlite_url: str
) -> None:
    """One synchronisation of the file, beside the one of the commit; the folders come later."""
    trace = tmp_path / "trace"
    names = "trace=openat,fsync,fdatasync,syncfs,link,unlink,write,pwrite64"
    before = [peer("strace"), "-f", "-y", "-o", str(trace), "-e", names]
    process = other_process(ONE_AND_CLOSE, str(tmp_path / "spool"), sqlite_url, before=before)
    out, error = process.communicate(timeout=60)
    assert "acknowledged" in out, error

    lines = completed(trace.read_text().splitlines())
    steps = {
        "slots": r"fsync\(\d+<.*/slots/[0-9a-f]+>",
        "file": r"fdatasync\(\d+<.*/slots/[0-9a-f]+/\d+>",
        "link": r"link\(.*/slots/.*/objects/.*= 0$",
        "answer": r"write\(1<.*acknowledged",
        "names": r"syncfs\(|fsync\(\d+<.*/objects/",
        "unlink": r"unlink\(.*/slots/[0-9a-f]+/\d+",
    }
    at = {name: _places(lines, step) for name, step in steps.items()}
    answer = at["answer"][0]
    assert at["slots"][0] < at["file"][0] < at["link"][0] < answer < at["names"][0]
    assert at["names"][-1] < at["unlink"][0]
    assert len(at["file"]) == len(at["link"]) == 1
    log = [line for line in lines[:answer] if "-wal>" in line]
    assert "sync(" in log[-1]
    gone = [i for i, line in enumerate(lines) if i > answer and "-wal>" in line and "sync(" in line]
    assert at["names"][0] < gone[0] < at["unlink"][0]


def _places(lines: list[str], pattern: str) -> list[int]:
    return [number for number, line in enumerate(lines) if re.search(pattern, line)]


def completed(lines: list[str]) -> list[str]:
    """Return the calls in the order in which they came back, each in one line."""
    begun: dict[str, str] = {}
    found: list[str] = []
    for line in lines:
        process, _, rest = line.partition(" ")
        if rest.endswith("<unfinished ...>"):
            begun[process] = rest
        elif " resumed>" in rest:
            found.append(begun.pop(process) + rest)
        else:
            found.append(rest)
    return found


def test_a_lost_write_of_the_database_is_told_from_a_busy_one(
    tmp_path: Path, other_process: Start, peer: Callable[[str], str], sqlite_url: str
) -> None:
    """EIO at the synchronisation of the commit: not success, not tried again, known as such."""
    trace = tmp_path / "trace"
    log = f"{sqlite_url.removeprefix('sqlite:///')}-wal"
    fault = "inject=fsync,fdatasync:error=EIO:when=1+"
    before = [peer("strace"), "-f", "-P", log, "-o", str(trace), "-e", "trace=fsync,fdatasync"]
    process = other_process(ONE, str(tmp_path / "spool"), sqlite_url, before=[*before, "-e", fault])
    out, error = process.communicate(timeout=60)

    assert "acknowledged" not in out
    assert SynchronisationError.__name__ in error
    assert trace.read_text().count("INJECTED") == 1
