"""The sender as a process: killed, stopped, and what it imports."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from support.commitment_peers import Heard, Scanner
from support.dicom_peers import HANG, Proxy, ScriptedPeer
from support.objects import result_of
from support.orthanc import Orthanc
from support.waiting import until

from gatekeeper.send.transport import SendObject
from storage import commitments, deliveries, nodes
from storage.engine import Database
from storage.records import CommitmentItem, CommitmentState, DeliveryState, Node
from storage.spool import Spool

PATIENCE = 40
PROGRAM = "from gatekeeper import config, log; from gatekeeper.send import sender; \
log.configure('INFO'); sender.serve(config.load())"


@contextlib.contextmanager
def running_sender(folder: Path, url: str) -> Generator[subprocess.Popen[bytes]]:
    """Run the sender's role as a process of its own, with a lease of 2 seconds."""
    environment = {
        **os.environ,
        "GATEKEEPER_DATABASE_URL": url,
        "GATEKEEPER_SPOOL_DIRECTORY": str(folder / "spool"),
        "GATEKEEPER_SEND_LEASE_SECONDS": "2",
        "GATEKEEPER_SEND_POLL_SECONDS": "0.05",
        "GATEKEEPER_COMMITMENT_LEASE_SECONDS": "2",
        "GATEKEEPER_COMMITMENT_WAIT_SECONDS": "0",
    }
    with (folder / "events.log").open("ab") as events:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM], env=environment, stderr=events, cwd=folder
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def queue(
    database: Database, folder: Path, objects: list[SendObject], title: str, port: int
) -> int:
    """Put the objects into the spool, enter the node, and queue a delivery to it."""
    spool = Spool(folder / "spool")
    results = [result_of(item, spool.store(item.path.read_bytes()).digest) for item in objects]
    with database.begin() as tx:
        nodes.save(tx, Node(title, "127.0.0.1", port, receives_results=True))
        return deliveries.create(tx, title, results)


def stored(database: Database, delivery_id: int) -> list[bool]:
    with database.read() as tx:
        return [item.stored for item in deliveries.items_of(tx, delivery_id)]


def state(database: Database, delivery_id: int) -> DeliveryState:
    with database.read() as tx:
        found = deliveries.get(tx, delivery_id)
    assert found is not None
    return found.state


def test_killed_after_the_archive_accepted_it_resends_under_the_same_uids(
    database: Database,
    database_url: str,
    orthanc: Callable[..., Orthanc],
    objects: list[SendObject],
    tmp_path: Path,
) -> None:
    """kill -9 with an answer on its way: the archive ends with each instance once."""
    archive = orthanc()
    processes: list[subprocess.Popen[bytes]] = []

    def kill_at_third_answer(passed: int) -> bool:
        if passed == 2:
            assert archive.count() == 3
            until(lambda: stored(database, delivery)[:2] == [True, True], PATIENCE, "two recorded")
            processes[0].kill()
            processes[0].wait()
            return False
        return True

    with Proxy(archive.port, kill_at_third_answer) as proxy:
        delivery = queue(database, tmp_path, objects, archive.aet, proxy.port)
        with running_sender(tmp_path, database_url) as process:
            processes.append(process)
            assert process.wait(PATIENCE) == -signal.SIGKILL
    # Accepted, but the answer was lost with the process.
    assert archive.count() == 3
    assert stored(database, delivery) == [True, True, False, False, False, False]
    assert state(database, delivery) is DeliveryState.CLAIMED

    def rescued() -> bool:
        with database.begin() as tx:
            return deliveries.rescue(tx, 10, 0.0).requeued == 1

    until(rescued, PATIENCE, "the killed sender's lease ran out")
    with database.begin() as tx:
        nodes.save(tx, Node(archive.aet, "127.0.0.1", archive.port, receives_results=True))
    with running_sender(tmp_path, database_url):
        until(lambda: state(database, delivery) is DeliveryState.DELIVERED, PATIENCE, "delivered")

    assert archive.count() == len(objects)
    assert all(stored(database, delivery))
    changes = archive.get_json("/changes?limit=1000")["Changes"]
    assert sum(change["ChangeType"] == "NewInstance" for change in changes) == len(objects)


def test_sigterm_finishes_the_instance_under_way_and_gives_the_rest_back(
    database: Database, database_url: str, objects: list[SendObject], tmp_path: Path
) -> None:
    """Exit code 0, the answered instances on record, the delivery queued at once."""
    log = tmp_path / "events.log"
    with ScriptedPeer(lambda number, _uid: HANG if number == 1 else 0) as peer:
        delivery = queue(database, tmp_path, objects, "SCRIPTED", peer.port)
        with running_sender(tmp_path, database_url) as process:
            until(lambda: len(peer.received) == 2, PATIENCE, "the second instance arrived")
            process.terminate()
            # A signal is handled some time after it was sent; only from then on it is a promise.
            until(lambda: '"event": "stopping"' in log.read_text(), PATIENCE, "it is stopping")
            peer.release()
            assert process.wait(PATIENCE) == 0

    assert stored(database, delivery) == [True, True] + [False] * 4
    assert state(database, delivery) is DeliveryState.QUEUED
    told = log.read_text()
    assert '"event": "stopped"' in told
    assert "the sender was stopped" in told
    assert "Test^Object" not in told


@pytest.mark.parametrize("module", ["gatekeeper.send.sender", "gatekeeper.send.files"])
def test_the_sender_imports_no_torch_and_no_highdicom(module: str) -> None:
    """Sending needs neither models nor results."""
    program = f"import sys, {module}; print(*sorted(sys.modules))"
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    loaded = {name.partition(".")[0] for name in ran.stdout.split()}
    assert loaded.isdisjoint({"torch", "highdicom", "monai", "sklearn", "scipy", "models"})


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_killed_while_it_reports_a_commitment_it_reports_the_same_again(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    """kill -9 with the report taken and its answer lost: at least once, and not decided anew."""
    processes: list[subprocess.Popen[bytes]] = []

    def kill_before_the_answer(_passed: int) -> bool:
        processes[0].kill()
        processes[0].wait()
        return False

    with Scanner() as scanner, Proxy(scanner.port, kill_before_the_answer) as proxy:
        with database.begin() as tx:
            nodes.save(tx, Node("SCANNER", "127.0.0.1", proxy.port, may_send=True))
            items = [CommitmentItem("1.2.840.10008.5.1.4.1.1.4", "1.2.3.9")]
            made = commitments.request(tx, "SCANNER", "1.9.1", items, "listener", 60.0)
            assert made is not None
            commitments.fail(tx, made.id, made.attempt, "left to a new association", 0.0)
        with running_sender(tmp_path, database_url) as process:
            processes.append(process)
            assert process.wait(PATIENCE) == -signal.SIGKILL
        with database.begin() as tx:
            nodes.save(tx, Node("SCANNER", "127.0.0.1", scanner.port, may_send=True))

        def rescued() -> int:
            with database.begin() as tx:
                return commitments.rescue(tx, 5, 0.0).requeued

        until(rescued, PATIENCE, "the lease is over")

        def is_reported() -> bool:
            with database.read() as tx:
                found = commitments.get(tx, "SCANNER", "1.9.1")
            return found is not None and found.state is CommitmentState.REPORTED

        with running_sender(tmp_path, database_url):
            until(is_reported, PATIENCE, "the report is taken")

    assert scanner.heard == [Heard(2, "1.9.1", (), {"1.2.3.9": 0x0112})] * 2
