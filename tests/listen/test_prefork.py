"""Several processes that serve one port, as one role."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from listen.raw_scanner import RawScanner, associate_request, raw_scanner, store
from listen.wire import SCANNER, sqlite_only
from support.authority import Authority
from support.dicom_peers import read_pdu
from support.gate import free_port
from support.process_tree import connections
from support.waiting import until

from gatekeeper.listen.inherited import Inherited, settings_in_memory
from gatekeeper.send import pdu
from gatekeeper.settings import Settings
from storage import instances, nodes, unsettled
from storage.engine import Database
from storage.records import Instance, Node
from storage.spool import Spool

SECONDS = 60.0
PROCESSES = 2


@dataclass
class Several:
    """A listener of several processes."""

    parent: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def tls_port(self) -> int:
        return self.events("listening_tls")[-1]["port"]

    def events(self, event: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [line for line in lines if line["event"] == event]

    def is_up(self) -> bool:
        return any(one["role"] == "listen" for one in self.events("listening"))

    def process_ids(self) -> dict[str, int]:
        """Return the process that was started last in each role."""
        return {one["role"]: one["pid"] for one in self.events("role_started")}

    def server_of(self, scanner: RawScanner) -> str:
        """Return the role that serves a connection, once one has taken it."""
        own, port = scanner.connection.getsockname()[1], scanner.connection.getpeername()[1]

        def found() -> str:
            for role, pid in self.process_ids().items():
                if is_alive(pid) and own in connections(pid, port):
                    return role
            return ""

        return until(found, SECONDS, "the connection is served")


@contextmanager
def several(folder: Path, url: str, **settings: object) -> Generator[Several]:
    """Run a listener until the block ends; nothing of it is left afterwards."""
    port = free_port()
    environment = {
        **os.environ,
        "GATEKEEPER_DATABASE_URL": url,
        "GATEKEEPER_SPOOL_DIRECTORY": str(folder / "spool"),
        "GATEKEEPER_SPOOL_LOW_WATER_MIB": "1",
        "GATEKEEPER_LISTEN_HOST": "127.0.0.1",
        "GATEKEEPER_LISTEN_PORT": str(port),
        "GATEKEEPER_LISTEN_PROCESSES": str(PROCESSES),
        "GATEKEEPER_LISTEN_STOP_SECONDS": "60",
        **{f"GATEKEEPER_{key}": str(value) for key, value in settings.items()},
    }
    log = folder / "events.log"
    with log.open("wb") as errors:
        parent = subprocess.Popen(
            [sys.executable, "-m", "gatekeeper", "listen"],
            env=environment,
            cwd=folder,
            stderr=errors,
            stdin=subprocess.DEVNULL,
        )
    found = Several(parent, port, log)
    try:
        until(lambda: found.is_up() or parent.poll() is not None, SECONDS, "the listener is up")
        assert parent.poll() is None, log.read_text()
        yield found
    finally:
        parent.terminate()
        try:
            parent.wait(SECONDS)
        finally:
            parent.kill()
            pids = found.process_ids().values()
            until(lambda: not any(map(is_alive, pids)), SECONDS, "every process has ended")


@pytest.fixture(autouse=True)
def scanner(database: Database) -> None:
    with database.begin() as tx:
        nodes.save(tx, Node(SCANNER, "127.0.0.1", 0, may_send=True))


def is_alive(pid: int) -> bool:
    """Return whether a process runs, the dead that nobody waited for not counted."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def one_each(
    stack: ExitStack, listener: Several, tls: ssl.SSLContext | None = None
) -> dict[str, RawScanner]:
    """Open associations until every process serves one; return one of each."""
    found: dict[str, RawScanner] = {}
    port = listener.port if tls is None else listener.tls_port
    for _ in range(20):
        scanner = stack.enter_context(raw_scanner(port, tls=tls))
        found.setdefault(listener.server_of(scanner), scanner)
        if len(found) == PROCESSES:
            return found
    pytest.fail(f"all of 20 associations are served by {found}")


def kept(database: Database, folder: Path, uid: str) -> bool:
    """Return whether row and file of an instance are there, soon after its answer."""

    def rows() -> list[Instance]:
        with database.read() as tx:
            return instances.find(tx, uid)

    [row] = until(rows, SECONDS, "the instance is entered")
    return Spool(folder / "spool").path(row.digest).is_file()


def not_settled(database: Database) -> int:
    """Return how many files wait for their names to be durable."""
    with database.read() as tx:
        return unsettled.count(tx)


def admitted(stack: ExitStack, listener: Several) -> RawScanner | None:
    """Return one more association, open; None when it is rejected for now (PS3.8 table 9-21)."""
    scanner = stack.enter_context(raw_scanner(listener.port, associated=False))
    scanner.send(associate_request(SCANNER))
    kind, whole = read_pdu(scanner.connection)
    if kind == pdu.ASSOCIATE_AC:
        return scanner
    assert kind == pdu.ASSOCIATE_RJ
    assert tuple(whole[7:10]) == (2, 3, 2)
    scanner.connection.close()
    return None


def soon_admitted(stack: ExitStack, listener: Several) -> RawScanner:
    """Return one more association, as soon as there is room."""
    return until(lambda: admitted(stack, listener), SECONDS, "there is room for one more")


def test_every_process_serves_the_port_and_a_killed_one_loses_nothing(
    tmp_path: Path, database_url: str, database: Database
) -> None:
    """The other goes on, what waits to be accepted is taken by it, and a new one takes over."""
    with several(tmp_path, database_url) as listener, ExitStack() as stack:
        served = one_each(stack, listener)
        pids = listener.process_ids()
        for number, scanner in enumerate(served.values()):
            scanner.send(store(f"1.2.3.{number}"))
            assert scanner.status() == 0x0000
        [victim, heir] = served
        for role in served:
            os.kill(pids[role], signal.SIGSTOP)
        waiting = stack.enter_context(raw_scanner(listener.port, associated=False))
        waiting.send(associate_request(SCANNER))
        os.kill(pids[victim], signal.SIGKILL)
        os.kill(pids[heir], signal.SIGCONT)

        assert read_pdu(waiting.connection)[0] == pdu.ASSOCIATE_AC
        served[heir].send(store("1.2.3.7"))
        assert served[heir].status() == 0x0000
        assert all(kept(database, tmp_path, f"1.2.3.{number}") for number in (0, 1, 7))
        until(
            lambda: len([one for one in listener.events("listening") if one["role"] == victim]) > 1,
            SECONDS,
            "a new process is up",
        )
        assert victim in one_each(stack, listener)
        assert served[heir].connection.fileno() >= 0
        served[heir].release()
        assert listener.parent.poll() is None


@sqlite_only
def test_a_killed_recorder_breaks_no_association_and_loses_nothing(
    tmp_path: Path, database_url: str, database: Database
) -> None:
    """What waits meanwhile is entered by the next one, after it was killed at work, too."""
    killing = f"{tmp_path / 'armed'}"
    point = f"committer.committed=kill@{killing}"
    with several(tmp_path, database_url, FAILPOINT=point) as listener, ExitStack() as stack:
        served = one_each(stack, listener)
        for number, scanner in enumerate(served.values()):
            scanner.send(store(f"1.2.3.{number}"))
            assert scanner.status() == 0x0000
        idle = listener.process_ids()["listen-recorder"]
        os.kill(idle, signal.SIGKILL)
        for number, scanner in enumerate(served.values(), 2):
            scanner.send(store(f"1.2.3.{number}"))
        assert [scanner.status() for scanner in served.values()] == [0x0000, 0x0000]

        # The listeners commit no more themselves: the point is for the recorder.
        until(lambda: not_settled(database) == 0, SECONDS, "what was received is settled")
        Path(killing).touch()
        for number, scanner in enumerate(served.values(), 4):
            scanner.send(store(f"1.2.3.{number}"))
        until(lambda: len(listener.events("role_ended")) > 1, SECONDS, "it was killed at work")
        Path(killing).unlink()
        assert [scanner.status() for scanner in served.values()] == [0x0000, 0x0000]
        assert all(kept(database, tmp_path, f"1.2.3.{number}") for number in range(6))
        assert {one["role"] for one in listener.events("role_ended")} == {"listen-recorder"}


@sqlite_only
def test_limits_hold_for_all_processes_together(tmp_path: Path, database_url: str) -> None:
    """Associations in total and connections of a host; a killed process gives back its share."""
    limits = {
        "LISTEN_MAXIMUM_ASSOCIATIONS": 3,
        "LISTEN_MAXIMUM_CONNECTIONS": 16,
        "LISTEN_MAXIMUM_CONNECTIONS_PER_HOST": 8,
        "LISTEN_ASSOCIATION_TIMEOUT": 60,
    }
    with several(tmp_path, database_url, **limits) as listener, ExitStack() as stack:
        open_ones = [stack.enter_context(raw_scanner(listener.port)) for _ in range(3)]
        assert admitted(stack, listener) is None
        open_ones.pop().release()
        open_ones.append(soon_admitted(stack, listener))

        # A flood from another address gets its share, and the rest is closed.
        flood = [
            stack.enter_context(
                raw_scanner(listener.port, associated=False, source="127.0.0.2")
            ).connection
            for _ in range(20)
        ]
        for connection in flood:
            connection.setblocking(False)
        until(lambda: sum(map(is_closed, flood)) == 12, SECONDS, "eight of twenty stay open")
        # Another host is served meanwhile, as far as associations go.
        open_ones.pop(0).release()
        open_ones.append(soon_admitted(stack, listener))
        assert admitted(stack, listener) is None
        assert sum(map(is_closed, flood)) == 12

        victim = listener.server_of(open_ones[-1])
        os.kill(listener.process_ids()[victim], signal.SIGKILL)
        soon_admitted(stack, listener)


@sqlite_only
def test_sigterm_lets_open_associations_finish_and_closes_the_ports(
    tmp_path: Path, database_url: str, database: Database, authority: Authority
) -> None:
    """Plain or TLS: no new connection, every open one goes on to its release, exit code 0."""
    own = authority.settings(authority.issue("localhost"))
    settings = {
        "LISTEN_TLS_PORT": free_port(),
        "TLS_CERTIFICATE": own.certificate,
        "TLS_KEY": own.key,
        "TLS_CA": own.ca,
    }
    client = ssl.create_default_context(cafile=str(authority.file))
    identity = authority.issue("127.0.0.1")
    client.load_cert_chain(identity.certificate, identity.key)
    with database.begin() as tx:
        nodes.save(tx, Node(SCANNER, "127.0.0.1", 0, may_send=True, tls=True))
    with several(tmp_path, database_url, **settings) as listener, ExitStack() as stack:
        served = one_each(stack, listener, client)
        listener.parent.terminate()
        for port in (listener.port, listener.tls_port):
            until(lambda port=port: is_refused(port), SECONDS, "the port is closed")
        for number, scanner in enumerate(served.values()):
            scanner.send(store(f"1.2.3.{number}"))
            assert scanner.status() == 0x0000
            assert kept(database, tmp_path, f"1.2.3.{number}")
        for scanner in served.values():
            scanner.release()
        stack.close()
        assert listener.parent.wait(SECONDS) == 0
        assert not any(map(is_alive, listener.process_ids().values()))
        assert [one["role"] for one in listener.events("stopped")][-1] == "listen"
        # With the parent and the recorder.
        assert len(listener.events("stopped")) == PROCESSES + 2
        assert not listener.events("role_killed")


@sqlite_only
def test_processes_end_when_their_parent_was_killed(tmp_path: Path, database_url: str) -> None:
    """In order: what is open may finish, and the port is free for the next listener."""
    with several(tmp_path, database_url) as listener, raw_scanner(listener.port) as scanner:
        listener.parent.kill()
        listener.parent.wait()
        until(lambda: is_refused(listener.port), SECONDS, "the port is closed")
        scanner.send(store("1.2.3.1"))
        assert scanner.status() == 0x0000
        scanner.release()
        pids = listener.process_ids().values()
        until(lambda: not any(map(is_alive, pids)), SECONDS, "every process has ended")


@sqlite_only
def test_a_port_that_is_taken_is_told_and_starts_nothing(tmp_path: Path, database_url: str) -> None:
    """Exit code 1 for whoever supervises, as of one process."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        environment = {
            **os.environ,
            "GATEKEEPER_DATABASE_URL": database_url,
            "GATEKEEPER_LISTEN_HOST": "127.0.0.1",
            "GATEKEEPER_LISTEN_PORT": str(other.getsockname()[1]),
            "GATEKEEPER_LISTEN_PROCESSES": "2",
        }
        run = subprocess.run(
            [sys.executable, "-m", "gatekeeper", "listen"],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    assert run.returncode == 1
    assert [json.loads(line)["event"] for line in run.stderr.splitlines()] == [
        "listener_not_started"
    ]


def is_closed(connection: socket.socket) -> bool:
    """Return whether the other side closed the connection."""
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def is_refused(port: int) -> bool:
    """Return whether nobody listens."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


def test_a_process_inherits_the_settings_as_they_are() -> None:
    """Of every kind of value, tuples among them."""
    plain = Settings()
    given = replace(plain, listen=replace(plain.listen, private_sop_classes=("1.2.3", "1.2.4")))
    memory = settings_in_memory(given)
    try:
        inherited = Inherited(1, None, None, 0, memory, 0, 0)
        assert inherited.read_settings() == given
    finally:
        os.close(memory)
