"""Mutants at the two doors that a peer reaches: the listener, and the worker's limited child.

`Intake` is a listener in a process of its own, spoken to over the wire; `Reading` is a child as the
worker holds it. Each gives one outcome a mutant, and both check what is promised whatever comes in:
no process of ours but the child ends, every object gets a status or an outcome with its reason,
nothing is written outside the spool and the scratch folder, memory stays under its limit, nothing
takes longer than its time, and no text of a patient is in a log or a reason.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from gatekeeper.errors import ChildFailed, TransportError
from gatekeeper.listen.file_meta import part10_header
from gatekeeper.send.association import Association, AssociationLost
from gatekeeper.send.pdu import ProtocolError
from gatekeeper.settings import SendSettings
from gatekeeper.work.messages import ANSWER, Answer, ReceivedFile, Request
from gatekeeper.work.process import Child, ChildLimits
from models.registry import Registry
from storage import instances, nodes
from storage.engine import Database
from storage.records import Instance, Node
from storage.spool import Digest, Spool
from support.gate import free_port, listening
from support.mutants import (
    BOMBS,
    ESCAPE,
    IMPLICIT,
    MR,
    Kind,
    Mutant,
    Original,
    corpus,
    mutant,
    scans,
    slices,
)
from support.waiting import until

SCANNER = "SCANNER"
LISTENER_MIB = 512
"""Most that the listener may hold, whatever comes in."""
MEMORY_MIB = 4096
"""Limit of the child."""
LONGEST_SECONDS = 30.0
"""Longest wait for an answer of the listener to one object."""
CPU_SECONDS, WALL_SECONDS = 60.0, 120.0
_PATIENT = re.compile(rb"CANARY|PATIENT")
_OURS = re.compile(r"[0-9a-f]{64}|[a-z0-9._-]{1,40}")
"""Names in the spool: digests, and short ones of its own, none a UID."""
_CONTAINED = re.compile(r"killed at|killed by the system|reached the memory limit")


class BrokenPromise(AssertionError):
    """What must never happen, happened."""


@dataclass
class Tally:
    """What came of all mutants.

    Attributes:
        outcomes: how many mutants of each outcome.
        broken: promises that were broken, with the mutants that broke them.
        slowest: seconds and name of the slowest.
        largest: MiB and name of the one that took most memory.
    """

    outcomes: Counter[str] = field(default_factory=Counter[str])
    broken: list[str] = field(default_factory=list[str])
    slowest: tuple[float, str] = (0.0, "")
    largest: tuple[int, str] = (0, "")

    def add(self, mutant: Mutant, outcome: str, seconds: float, mib: int = 0) -> None:
        """Count one outcome."""
        self.outcomes[outcome] += 1
        self.slowest = max(self.slowest, (seconds, named(mutant)))
        self.largest = max(self.largest, (mib, named(mutant)))

    def blame(self, mutant: Mutant, what: str) -> None:
        """Note a broken promise."""
        self.broken.append(f"{named(mutant)}: {what}")


def named(mutant: Mutant) -> str:
    """Return how a mutant is found again."""
    return f"{mutant.number} ({mutant.kind} of {mutant.original.name})"


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

    def received(self, mutant: Mutant) -> ReceivedFile:
        """Return the record of a mutant that was kept, once its row and its file are there."""
        digest = Digest.of(_file(mutant.original, self._sop_class))

        def found() -> list[Instance]:
            with self._database.read() as tx:
                rows = instances.find(tx, mutant.original.sop_instance_uid)
            return [row for row in rows if row.digest == digest]

        [row] = until(found, LONGEST_SECONDS, "its row")
        path = Spool(self._folder / "spool").path(row.digest)
        until(path.exists, LONGEST_SECONDS, "its file")
        return ReceivedFile(
            row.sop_instance_uid,
            row.sop_class_uid,
            row.series_instance_uid,
            row.transfer_syntax_uid,
            row.digest,
            str(path),
        )

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
        if found := _PATIENT.search(log):
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


@contextmanager
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


class Reading:
    """A worker's child that is asked about mutants, one study each."""

    def __init__(self, folder: Path, memory_mib: int) -> None:
        self.tally = Tally()
        self._folder = folder
        self._memory_mib = memory_mib
        self._child = Child(ChildLimits(memory_mib, "cpu", 1))
        self._models = Registry().digest
        self._never = threading.Event()

    def read(self, mutant: Mutant, files: Sequence[ReceivedFile]) -> str:
        """Have a study assessed and return the outcome."""
        scratch = self._folder / f"scratch-{mutant.number}"
        scratch.mkdir(parents=True)
        path = scratch / "request.json"
        self._request(mutant, files, scratch).write(path)
        began = time.monotonic()
        mib = 0
        try:
            self._child.ask(path, CPU_SECONDS, WALL_SECONDS, self._never)
            answer = Answer.read(scratch / ANSWER)
            outcome, reason, mib = f"{answer.verdict}", answer.reason, answer.peak_mib
            if not reason.endswith("."):
                self.tally.blame(mutant, "an outcome without a reason")
        except ChildFailed as error:
            reason = str(error)
            outcome = f"child: {re.sub(r'[0-9]+', 'N', reason)}"
            if not _CONTAINED.match(reason):
                self.tally.blame(mutant, reason)
        seconds = time.monotonic() - began
        self.tally.add(mutant, outcome, seconds, mib)
        if mib > self._memory_mib:
            self.tally.blame(mutant, f"the child held {mib} MiB")
        if seconds > WALL_SECONDS + 15:
            self.tally.blame(mutant, f"took {seconds:.0f} s")
        if _PATIENT.search(reason.encode()):
            self.tally.blame(mutant, "a patient's text in the reason")
        shutil.rmtree(scratch)
        return outcome

    def record(self, original: Original) -> ReceivedFile:
        """Return the record of an object that no listener was asked about."""
        content = _file(original, original.sop_class_uid)
        digest = Digest.of(content)
        path = self._folder / digest
        path.write_bytes(content)
        return ReceivedFile(
            original.sop_instance_uid,
            original.sop_class_uid,
            "1.2.3",
            original.transfer_syntax_uid,
            digest,
            str(path),
        )

    def stop(self) -> None:
        """End the child and look for files that it wrote where it should not."""
        self._child.stop()
        places = (Path("/"), Path("/tmp"), self._folder, Path.cwd())  # noqa: S108
        self.tally.broken += [
            f"outside the scratch folder: {path}"
            for place in places
            for path in place.glob(f"*{ESCAPE}*")
        ]

    def _request(self, mutant: Mutant, files: Sequence[ReceivedFile], scratch: Path) -> Request:
        return Request(
            job=mutant.number,
            attempt=1,
            study_instance_uid="1.2.3",
            content_digest="a" * 64,
            model_digest=self._models,
            revision=1,
            created_at=1_700_000_000.0,
            files=tuple(files),
            scratch=str(scratch),
            bundles=(),
            device="cpu",
            threads=1,
            maximum_voxels=10_000_000,
            maximum_series=8,
            cpu_seconds=CPU_SECONDS,
            false_hold_rate=0.05,
            ae_title="GATEKEEPER",
            institution="",
            series_number=9100,
        )


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
    with intake(folder / "listener") as door:
        for number in range(mutants) if only is None else [only] * (only < mutants):
            made = mutant(seed, number, corpus())
            status = door.send(made)
            if status == 0 and number % every == 0:
                reading.read(made, [door.received(made)])
        _decoded(door, reading, seed, mutants, slices_read, bombs, only)
        door.finish()
    reading.stop()
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
            files = [reading.record(before), door.received(made), reading.record(after)]
            reading.read(made, files)


def _file(original: Original, sop_class_uid: str) -> bytes:
    """Return the file that the listener makes of an object."""
    meta = part10_header(sop_class_uid, original.sop_instance_uid, original.transfer_syntax_uid)
    return meta + original.data


def _peak_mib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) // 1024
    return 0
