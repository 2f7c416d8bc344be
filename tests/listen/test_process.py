"""The listener as one process: killed, stopped, failing, and what it imports and writes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from listen.wire import SCANNER, associated, encoded, image, image_file, store, written
from support.waiting import until

from gatekeeper import periodic
from gatekeeper.config import load
from gatekeeper.residue import sweep
from storage import instances, jobs, nodes, studies
from storage.engine import Database
from storage.records import Node
from storage.spool import Spool

PROGRAM = """
import dataclasses, errno, os, sys
from pathlib import Path
from gatekeeper import config, log
from gatekeeper.listen.role import serve

broken = Path(sys.argv[1])

def or_fail(synchronise):
    def call(descriptor):
        if broken.exists():
            raise OSError(errno.EIO, "Input/output error")
        synchronise(descriptor)

    return call

os.fsync, os.fdatasync = or_fail(os.fsync), or_fail(os.fdatasync)
log.configure("DEBUG")
settings = config.load()
serve(dataclasses.replace(settings, listen=dataclasses.replace(settings.listen, port=0)))
"""


@dataclass
class Process:
    """A listener in a process of its own."""

    popen: subprocess.Popen[bytes]
    environment: dict[str, str]
    log: Path
    broken: Path
    """Once this file exists, every synchronisation of the process's files fails with EIO."""

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    @property
    def port(self) -> int:
        """The port that the listener says it has, 0 before it has one."""
        return next((event["port"] for event in self.events() if event["event"] == "listening"), 0)


@contextmanager
def process(folder: Path, url: str, *before: str) -> Generator[Process]:
    """Run a listener until the block ends, `before` being words before its command."""
    environment = {
        **os.environ,
        "GATEKEEPER_DATABASE_URL": url,
        "GATEKEEPER_SPOOL_DIRECTORY": str(folder / "spool"),
        "GATEKEEPER_SPOOL_LOW_WATER_MIB": "1",
        "GATEKEEPER_LISTEN_HOST": "127.0.0.1",
        "GATEKEEPER_LISTEN_PROCESSES": "1",
        "GATEKEEPER_LISTEN_QUIET_SECONDS": "0",
        "GATEKEEPER_LISTEN_ASSOCIATION_LEASE": "1",
    }
    environment.pop("PYTEST_VERSION", None)
    log, broken = folder / "events.log", folder / "broken"
    with log.open("wb") as errors:
        popen = subprocess.Popen(
            [*before, sys.executable, "-c", PROGRAM, str(broken)],
            env=environment,
            cwd=folder,
            stderr=errors,
            stdin=subprocess.DEVNULL,
        )
    found = Process(popen, environment, log, broken)
    try:
        until(lambda: found.port or popen.poll() is not None, 30, "the listener is up")
        assert popen.poll() is None, log.read_text()
        yield found
    finally:
        popen.kill()
        popen.wait()


@pytest.fixture
def scanner(database: Database) -> None:
    with database.begin() as tx:
        nodes.save(tx, Node(SCANNER, "127.0.0.1", 0, may_send=True))


@pytest.mark.usefixtures("raw_sending", "scanner")
def test_kill_9_loses_nothing_that_was_acknowledged(
    tmp_path: Path, database_url: str, database: Database
) -> None:
    """After recovery each has row and file; after the lease the study completes."""
    files = [image_file(tmp_path / "files", f"1.2.3.{number}") for number in range(300)]
    acknowledged: list[int] = []
    enough = threading.Event()
    with process(tmp_path, database_url) as listener:

        def kill() -> None:
            enough.wait(60)
            listener.popen.kill()

        killer = threading.Thread(target=kill)
        killer.start()
        with associated(listener.port) as association:
            for number, path in enumerate(files):
                if not association.is_established:
                    break
                if "Status" not in (answer := store(association, path)):
                    break
                assert answer.Status == 0x0000
                acknowledged.append(number)
                if number == 15:
                    enough.set()
        killer.join(20)
    assert 16 <= len(acknowledged) < len(files)

    spool = Spool(tmp_path / "spool")
    sweep(database, spool, 3600)
    with database.read() as tx:
        [study] = studies.open_studies(tx, association_lease=1e9)
        assert study.active_associations == 1
        rows = {row.sop_instance_uid: row for row in instances.of_study(tx, "1.2.3")}
    for number in acknowledged:
        row = rows[f"1.2.3.{number}"]
        assert sha256(spool.path(row.digest).read_bytes()).hexdigest() == row.digest

    context = periodic.Context(load(environment=listener.environment), database, spool)
    until(lambda: periodic.tick_complete(context) == 1, 20, "the study is complete")
    with database.read() as tx:
        assert len(jobs.listing(tx)) == 1


@pytest.mark.usefixtures("raw_sending", "scanner")
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_resend_after_kill_9_is_a_success(tmp_path: Path, database_url: str) -> None:
    """The sender that got no answer sends again; the second life of the listener takes it."""
    path = image_file(tmp_path / "files", "1.2.3.1")
    with process(tmp_path, database_url) as first, associated(first.port) as association:
        assert store(association, path).Status == 0x0000
        first.popen.kill()
        first.popen.wait()
    with process(tmp_path, database_url) as second, associated(second.port) as association:
        assert store(association, path).Status == 0x0000


@pytest.mark.usefixtures("raw_sending", "scanner")
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_failed_synchronisation_ends_the_process_for_its_supervisor(
    tmp_path: Path, database_url: str
) -> None:
    """0xA700 to the sender, then an exit code that is no success."""
    with process(tmp_path, database_url) as listener:
        with associated(listener.port) as association:
            path = image_file(tmp_path / "files", "1.2.3.1")
            assert store(association, path).Status == 0x0000
            listener.broken.touch()
            path = image_file(tmp_path / "files", "1.2.3.2")
            assert store(association, path).Status == 0xA700
        assert listener.popen.wait(20) == 1
        assert "synchronisation_failed" in {event["event"] for event in listener.events()}


@pytest.mark.usefixtures("raw_sending", "scanner")
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_success_is_sent_after_file_and_row_are_on_the_disk(
    tmp_path: Path, database_url: str, peer: Callable[[str], str]
) -> None:
    """By the system calls: both synchronisations have returned before the response goes out."""
    trace = tmp_path / "trace"
    calls = "trace=fdatasync,fsync,link,sendto,sendmsg,write,writev"
    tracing = [peer("strace"), "-f", "-y", "-s", "8", "-o", str(trace), "-e", calls]
    with process(tmp_path, database_url, *tracing) as listener:
        with associated(listener.port) as association:
            path = image_file(tmp_path / "files", "1.2.3.1")
            assert store(association, path).Status == 0x0000
        os.kill(int(trace.read_text().split()[0]), signal.SIGTERM)
        assert listener.popen.wait(20) == 0

    # What has returned, in order, between A-ASSOCIATE-AC (PDU type 2) and the response, the only
    # P-DATA-TF (type 4) of this side (PS3.8 9.3).
    returned: list[str] = []
    begun: dict[str, str] = {}
    accepted = 0
    for line in trace.read_text().splitlines():
        task = line.split()[0]
        if r'"\4\0' in line:
            break
        if r'"\2\0' in line:
            accepted = len(returned)
        if "<unfinished" in line:
            begun[task] = line
        else:
            returned.append(begun.pop(task) if " resumed>" in line else line)
    else:
        pytest.fail("no response was sent")
    steps = (r"fdatasync\(\d+<[^>]*/slots/", r'link\("[^"]*/slots/', r"sync\(\d+<[^>]*-wal>")
    for step in steps:
        assert [line for line in returned[accepted:] if re.search(step, line)], step


@pytest.mark.usefixtures("raw_sending", "scanner")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_sigterm_ends_well_and_no_patient_data_was_written(
    tmp_path: Path, database_url: str
) -> None:
    """Exit code 0, every line an event, and none with what a data set says of the patient."""
    with process(tmp_path, database_url) as listener:
        with associated(listener.port) as association:
            cases = [
                (encoded(image("1.2.3.1")), "1.2.3.1"),
                (encoded(image("1.2.3.2", PatientBirthDate="CANARY")), "1.2.3.2"),
                (encoded(image("CANARY/CANARY")), "CANARY/CANARY"),
                (encoded(image("1.2.3.3"))[:70], "1.2.3.3"),
            ]
            statuses = [
                store(association, written(tmp_path / "one.dcm", data, instance)).Status
                for data, instance in cases
            ]
            assert statuses == [0x0000, 0x0000, 0xC000, 0xC000]
        listener.popen.send_signal(signal.SIGTERM)
        assert listener.popen.wait(20) == 0
        events = [event["event"] for event in listener.events()]
    assert events[0] == "listening"
    assert events[-1] == "stopped"
    assert {"instance_refused", "association_ended"} <= set(events)
    assert "CANARY" not in listener.log.read_text()


def test_the_listener_and_the_ticks_import_no_torch() -> None:
    """A listener's machine needs none of what a worker needs."""
    program = (
        "import sys, gatekeeper.listen.process, gatekeeper.periodic;"
        "print(*sorted({'torch', 'highdicom', 'monai', 'skimage', 'scipy', 'matplotlib'}"
        " & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )

    assert run.stdout.strip() == ""
