"""Mutants at the two doors that a peer reaches: the listener, and the worker's limited child.

`Intake` is a listener in a process of its own, spoken to over the wire; `Reading` is a child as the
worker holds it. Each gives one outcome a mutant, and both check what is promised whatever comes in:
no process of ours but the child ends, every object gets a status or an outcome with its reason,
nothing is written outside the spool and the scratch folder, memory stays under its limit, nothing
takes longer than its time, and no text of a patient is in a log or a reason.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

from gatekeeper.errors import TransportError
from gatekeeper.send.association import Association
from gatekeeper.send.channel import AssociationLost
from gatekeeper.send.pdu import ProtocolError
from gatekeeper.settings import SendSettings
from gatekeeper.work.messages import ReceivedFile
from storage import instances, nodes
from storage.engine import Database
from storage.records import Instance, Node
from storage.spool import Digest, Spool
from support.gate import free_port, listening
from support.mutants import BOMBS, ESCAPE, Kind, Mutant, mutant
from support.originals import IMPLICIT, MR, Original, corpus, scans, slices
from support.reading import Reading, file_of
from support.tally import PATIENT, BrokenPromise, Tally
from support.waiting import until

SCANNER = "SCANNER"
LISTENER_MIB = 512
"""Most that the listener may hold, whatever comes in."""
MEMORY_MIB = 4096
"""Limit of the child."""
LONGEST_SECONDS = 30.0
"""Longest wait for an answer of the listener to one object."""
_OURS = re.compile(r"[0-9a-f]{64}|[a-z0-9._-]{1,40}")
"""Names in the spool: digests, and short ones of its own, none a UID."""


class Intake:
    """A listener's process, and a scanner that sends it what it is given."""

    def __init__(
        self, folder: Path, process: subprocess.Popen[bytes], port: int, database: Database
    ) -> None:
        self.tally = Tally()
        self._folder = folder
        self._process = process
        self._database = database
        self._node = Node("GATEKEEPER", "127.0.0.1", port)
        self._association: Association | None = None
        self._context: tuple[str, str] | None = None
        self._sop_class = ""
        self._settings = SendSettings(
            dimse_timeout=LONGEST_SECONDS,
            association_timeout=LONGEST_SECONDS,
            network_timeout=LONGEST_SECONDS,
        )

    def send(self, mutant: Mutant) -> int | None:
        """Send a mutant and return the status; None, and counted, when the peer gave none."""
        began = time.monotonic()
        status = None
        try:
            status = self._store(mutant.original)
            outcome = "no status" if status is None else f"{status:04X}"
            if status is None:
                self.tally.blame(mutant, "an answer without a status")
        except AssociationLost as lost:
            outcome = f"association ended: {lost}"
            if "timed out" in str(lost):
                self.tally.blame(mutant, "no answer in time")
        except ProtocolError as error:
            outcome = f"wrong answer: {error}"
            self.tally.blame(mutant, outcome)
        except TransportError as error:
            outcome = f"no association: {error}"
            self.tally.blame(mutant, outcome)
        if self._process.poll() is not None:
            self.tally.blame(mutant, "the listener's process ended")
            raise BrokenPromise(self.tally.broken[-1])
        self.tally.add(mutant, outcome, time.monotonic() - began)
        return status

    def received(self, mutant: Mutant) -> list[ReceivedFile]:
        """Return the record of a mutant that was kept; none, and blamed, when there is none."""
        digest = Digest.of(file_of(mutant.original, self._sop_class))
        path = Spool(self._folder / "spool").path(digest)

        def found() -> list[Instance]:
            with self._database.read() as tx:
                rows = instances.find(tx, mutant.original.sop_instance_uid)
            return [row for row in rows if row.digest == digest and path.exists()]

        try:
            [row] = until(found, LONGEST_SECONDS, "its row and its file")
        except AssertionError:
            self.tally.blame(mutant, "answered 0000 and not on record")
            return []
        return [
            ReceivedFile(
                row.sop_instance_uid,
                row.sop_class_uid,
                row.series_instance_uid,
                row.transfer_syntax_uid,
                row.digest,
                str(path),
            )
        ]

    def finish(self) -> None:
        """Check what can only be seen at the end: the process, its log, and the files."""
        self._hang_up()
        if self._process.poll() is not None:
            raise BrokenPromise("the listener's process ended")
        with Association.request(
            self._node, SCANNER, [("1.2.840.10008.1.1", IMPLICIT)], self._settings
        ) as association:
            if association.echo(("1.2.840.10008.1.1", IMPLICIT)) != 0:
                raise BrokenPromise("no C-ECHO afterwards")
        peak = _peak_mib(self._process.pid)
        self.tally.largest = (peak, "all together")
        if peak > LISTENER_MIB:
            self.tally.broken.append(f"the listener held {peak} MiB")
        self.tally.broken += [f"outside the spool: {path}" for path in self._strangers()]
        log = (self._folder / "events.log").read_bytes()
        if found := PATIENT.search(log):
            self.tally.broken.append(f"a patient's text in the log at byte {found.start()}")
        if b"Traceback" in log or b"defect" in log:
            self.tally.broken.append("a defect in the log")

    def _store(self, original: Original) -> int | None:
        context = (original.sop_class_uid, original.transfer_syntax_uid)
        if self._association is None or self._context != context:
            self._hang_up()
            # What the command says may be no UID at all; then the context's says one.
            self._association = Association.request(
                self._node, SCANNER, [context, (MR, context[1])], self._settings
            )
            self._context = context
        known = self._association.accepted
        chosen = context if context in known else (MR, context[1])
        if chosen not in known:
            raise AssociationLost("context not accepted")
        self._sop_class = chosen[0]
        try:
            return self._association.store(
                chosen,
                original.sop_instance_uid,
                io.BytesIO(original.data),
                len(original.data),
            )
        except TransportError:
            self._hang_up(abort=True)
            raise

    def _hang_up(self, *, abort: bool = False) -> None:
        association, self._association = self._association, None
        if association is not None:
            (association.abort if abort else association.release)()

    def _strangers(self) -> list[Path]:
        spool = self._folder / "spool"
        found = [
            path
            for path in self._folder.rglob("*")
            if path.is_file()
            and not (path.is_relative_to(spool) and _OURS.fullmatch(path.name))
            and not path.name.startswith("hostile.db")
            and path.name != "events.log"
        ]
        places = (Path("/"), Path("/tmp"), self._folder.parent, Path.cwd())  # noqa: S108
        return found + [path for place in places for path in place.glob(f"*{ESCAPE}*")]


@contextlib.contextmanager
def intake(folder: Path) -> Generator[Intake]:
    """Run a listener on a SQLite database, both in `folder`, that takes all it can take."""
    folder.mkdir(parents=True, exist_ok=True)
    url = f"sqlite:///{folder / 'hostile.db'}"
    database = Database.connect(url, 30.0)
    database.migrate()
    with database.begin() as tx:
        nodes.save(tx, Node(SCANNER, "127.0.0.1", 0, may_send=True))
    port = free_port()
    environment = {
        **os.environ,
        "GATEKEEPER_DATABASE_URL": url,
        "GATEKEEPER_SPOOL_DIRECTORY": str(folder / "spool"),
        "GATEKEEPER_SPOOL_LOW_WATER_MIB": "64",
        "GATEKEEPER_LISTEN_PORT": str(port),
        "GATEKEEPER_LISTEN_HOST": "127.0.0.1",
        # Of several, one that crashed would be started again.
        "GATEKEEPER_LISTEN_PROCESSES": "1",
        "GATEKEEPER_LISTEN_ACCEPT_DEFLATED": "true",
        "GATEKEEPER_LOG_LEVEL": "DEBUG",
    }
    environment.pop("PYTEST_VERSION", None)
    with (folder / "events.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gatekeeper", "listen"],
            env=environment,
            cwd=folder,
            stderr=log,
            stdin=subprocess.DEVNULL,
        )
    try:
        until(lambda: listening(port) or process.poll() is not None, 60, "the listener is up")
        yield Intake(folder, process, port, database)
    finally:
        process.kill()
        process.wait()
        database.dispose()


def run(
    folder: Path,
    *,
    seed: int,
    mutants: int,
    every: int,
    slices_read: int,
    bombs: int,
    only: int | None = None,
) -> tuple[Tally, Tally]:
    """Send and read mutants in `folder` and return what came of them at both doors."""
    (folder / "child").mkdir(parents=True)
    reading = Reading(folder / "child", MEMORY_MIB)
    with intake(folder / "listener") as door, contextlib.closing(reading):
        for number in range(mutants) if only is None else [only] * (only < mutants):
            made = mutant(seed, number, corpus())
            status = door.send(made)
            if status == 0 and (number % every == 0 or number == only):
                files = door.received(made)
                if files:
                    reading.read(made, files)
        _decoded(door, reading, seed, mutants, slices_read, bombs, only)
        door.finish()
    return door.tally, reading.tally


def _decoded(
    door: Intake,
    reading: Reading,
    seed: int,
    first: int,
    slices_read: int,
    bombs: int,
    only: int | None,
) -> None:
    """Send and read mutated slices and bombs, numbered after the others."""
    kinds: list[Kind | None] = [None] * slices_read
    for kind in sorted(BOMBS):
        kinds += [kind] * bombs
    for number, kind in enumerate(kinds, start=first):
        if only is not None and number != only:
            continue
        made = mutant(seed, number, scans(), kind)
        if door.send(made) == 0:
            before, _, after = slices(made.original)
            files = [reading.record(before), *door.received(made), reading.record(after)]
            reading.read(made, files)


def _peak_mib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) // 1024
    return 0
