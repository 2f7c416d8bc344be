"""A whole Gatekeeper as a process tree, for tests that walk a study from a scanner to a PACS."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from gatekeeper.demo.site import free_port
from gatekeeper.history import StudyHistory, read_history
from storage import nodes
from storage.engine import Database
from storage.records import HAS_ALL, DeliveryState, JobState, Node
from support.waiting import until

__all__ = ["Gate", "free_port", "listening", "running_gate"]

AE_TITLE = "GATEKEEPER"
_ENDED = {*HAS_ALL, DeliveryState.DEAD}


@dataclass
class Gate:
    """A running `gatekeeper up`, its database open for looking at."""

    port: int
    database: Database
    spool: Path
    log: Path
    process: subprocess.Popen[bytes]
    ae_title: str = AE_TITLE
    environment: dict[str, str] = field(default_factory=dict[str, str])

    def history(self, study: str) -> StudyHistory | None:
        with self.database.read() as tx:
            return read_history(tx, study)

    def settled(self, study: str) -> StudyHistory | None:
        """Return the study's history once its newest job ended and all its deliveries too."""
        history = self.history(study)
        if history is None or not history.jobs:
            return None
        newest = history.jobs[0]
        if newest.job.state is JobState.DEAD:
            return history
        ended = all(delivery.state in _ENDED for delivery in newest.deliveries)
        return history if newest.job.state is JobState.DONE and ended else None

    def add_node(self, node: Node) -> None:
        with self.database.begin() as tx:
            nodes.save(tx, node)

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "gatekeeper", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


def end(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Tell a process to end, and kill it if it does not; return whether it ended in time."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False
    return True


@contextmanager
def running_gate(folder: Path, url: str, database: Database, **settings: str) -> Generator[Gate]:
    """Run `gatekeeper up` in `folder`; `settings` are further environment variables."""
    folder.mkdir()
    port = free_port()
    log = folder / "events.log"
    environment = {
        **os.environ,
        "GATEKEEPER_DATABASE_URL": url,
        "GATEKEEPER_SPOOL_DIRECTORY": str(folder / "spool"),
        "GATEKEEPER_SPOOL_LOW_WATER_MIB": "64",
        "GATEKEEPER_LISTEN_PORT": str(port),
        "GATEKEEPER_LISTEN_HOST": "127.0.0.1",
        "GATEKEEPER_LISTEN_QUIET_SECONDS": "1.0",
        "GATEKEEPER_TICK_COMPLETE_SECONDS": "0.25",
        "GATEKEEPER_SEND_RETRY_SECONDS": "0.5",
        "GATEKEEPER_WEB_PORT": "0",
        "GATEKEEPER_MODELS_WITHOUT_CALIBRATION": "reference",
        **settings,
    }
    with log.open("wb") as events:
        process = subprocess.Popen(
            [sys.executable, "-m", "gatekeeper", "up"],
            env=environment,
            cwd=folder,
            stderr=events,
            stdin=subprocess.DEVNULL,
        )
    gate = Gate(port, database, folder / "spool", log, process, environment=environment)
    try:
        until(lambda: listening(port) or process.poll() is not None, 60, "the listener is up")
        assert process.poll() is None, log.read_text()[-4000:]
        yield gate
    finally:
        assert end(process, 40), "it did not end when told to"
        # Shown by pytest beside a failure.
        sys.stderr.write(log.read_text()[-6000:])


def listening(port: int) -> bool:
    """Return whether something accepts connections on the port."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False
