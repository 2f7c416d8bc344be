"""A throw-away site for the demonstration: settings, nodes, and every role in one process tree."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from gatekeeper import config
from gatekeeper.errors import TransportError
from gatekeeper.send.dimse import echo
from gatekeeper.settings import Settings
from gatekeeper.supervise import Supervisor, roles
from storage import nodes
from storage.engine import Database
from storage.records import Node

SCANNER = "DEMO_SCANNER"
START_SECONDS = 60.0
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class DemoSite:
    """A running site.

    Attributes:
        settings: its settings.
        database: its database, open.
        node: the site itself as a node to send to.
        log: file that the roles' events go to.
    """

    settings: Settings
    database: Database
    node: Node
    log: Path


@contextlib.contextmanager
def running_site(folder: Path, pacs: Node, *, quiet_seconds: float) -> Generator[DemoSite]:
    """Run every role on SQLite in `folder`, results going to `pacs`, until the block ends.

    Args:
        folder: made for the settings, the database, the spool and the log.
        pacs: where results go.
        quiet_seconds: silence after which a study counts as complete.

    Raises:
        TransportError: if the listener does not answer in time; the log says why.
    """
    folder.mkdir(parents=True)
    file = folder / config.DEFAULT_FILE
    file.write_text(_settings_text(folder, free_port(), quiet_seconds), encoding="utf-8")
    settings = config.load(file, environment={})
    scanner = Node(SCANNER, _LOOPBACK, 0, may_send=True, description="the demo's sender")
    itself = Node(settings.listen.ae_title, _LOOPBACK, settings.listen.port)
    database = Database.connect(settings.database.url, lock_seconds=settings.database.lock_seconds)
    try:
        database.migrate()
        with database.begin() as tx:
            for node in (scanner, pacs):
                nodes.save(tx, node)
        log = folder / "events.log"
        with log.open("ab") as events:
            supervisor = Supervisor(
                roles(settings, file), environment=_environment(), standard_error=events
            )
            thread = threading.Thread(target=supervisor.run, name="supervisor")
            thread.start()
            try:
                _wait_for_listener(itself, settings, supervisor, log)
                yield DemoSite(settings, database, itself, log)
            finally:
                supervisor.stop()
                thread.join()
    finally:
        database.dispose()


def free_port() -> int:
    """Return a TCP port that was free on the loopback address a moment ago."""
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        return int(probe.getsockname()[1])


def as_scanner(settings: Settings) -> Settings:
    """Return the settings with which the demo sends, calling itself the scanner."""
    import dataclasses

    return dataclasses.replace(
        settings, listen=dataclasses.replace(settings.listen, ae_title=SCANNER)
    )


def _environment() -> dict[str, str]:
    """The roles' environment: none of the user's own site settings reach the demo."""
    return {key: value for key, value in os.environ.items() if not key.startswith("GATEKEEPER_")}


def _settings_text(folder: Path, port: int, quiet_seconds: float) -> str:
    place = folder.resolve().as_posix()
    return (
        f'[database]\nurl = "sqlite:///{place}/gatekeeper.db"\n\n'
        f'[spool]\ndirectory = "{place}/spool"\nlow_water_mib = 256\n\n'
        f'[listen]\nhost = "{_LOOPBACK}"\nport = {port}\nquiet_seconds = {quiet_seconds}\n\n'
        # The sample's scanner has no calibration: the shipped reference population stands in.
        '[models]\nwithout_calibration = "reference"\n\n'
        "[web]\nport = 0\n\n[work]\npoll_seconds = 0.1\n\n[send]\npoll_seconds = 0.1\n\n"
        "[tick]\ncomplete_seconds = 0.25\n"
    )


def _wait_for_listener(node: Node, settings: Settings, supervisor: Supervisor, log: Path) -> None:
    caller = as_scanner(settings)
    pause = threading.Event()
    for _ in range(int(START_SECONDS / 0.2)):
        with contextlib.suppress(TransportError):
            echo(node, caller)
            return
        pause.wait(0.2)
    supervisor.stop()
    raise TransportError(f"the listener did not answer within {START_SECONDS:.0f} s; see {log}")
