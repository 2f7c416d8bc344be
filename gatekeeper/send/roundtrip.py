"""A round trip: a specimen stored at a node, found there, fetched again, compared byte for byte;
or stored and committed to.

Each step has its time and a sentence, and the first that fails ends the trip, since the rest would
say nothing. The node keeps the specimen; nothing here can delete it.
"""

from __future__ import annotations

import datetime
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset

from gatekeeper.commitment import Report, Request
from gatekeeper.demo.specimen import PATIENT_ID, PATIENT_NAME, encoded, specimen
from gatekeeper.errors import GatekeeperError, TransportError
from gatekeeper.listen.messages import Answer
from gatekeeper.send import commitment, query, retrieve
from gatekeeper.send.command import Request as StoreRequest
from gatekeeper.send.dimse import DimseTransport, echo
from gatekeeper.send.part10 import read_header
from gatekeeper.send.transport import SendObject
from gatekeeper.settings import Settings
from gatekeeper.tls import Credentials
from storage import instances
from storage.engine import Database
from storage.records import CommitmentItem, Confirm, Node, Retrieve, Role
from storage.spool import Spool

_LARGEST = 16 * 1024 * 1024
"""Bytes of what comes back; the specimen has 17 thousand."""
_LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the trip.

    Attributes:
        name: what was done.
        ok: whether it succeeded; None when it was not to be done.
        milliseconds: that it took.
        text: what came of it, in one sentence.
    """

    name: str
    ok: bool | None
    milliseconds: float
    text: str


@dataclass(frozen=True, slots=True)
class Trip:
    """A whole round trip.

    Attributes:
        study_instance_uid: of the specimen, to find and delete it.
        steps: as far as it went.
    """

    study_instance_uid: str
    steps: tuple[Step, ...]

    @property
    def ok(self) -> bool:
        """Whether no step failed."""
        return all(step.ok is not False for step in self.steps)

    @property
    def leftover(self) -> str:
        """How to get rid of what the node keeps of it, in words; empty when it keeps nothing."""
        stored = any(step.name == "store" and step.ok for step in self.steps)
        if not stored:
            return ""
        return (
            f"The node keeps the test study. Delete it there: patient {PATIENT_NAME}, "
            f"ID {PATIENT_ID}, Study Instance UID {self.study_instance_uid}."
        )


@dataclass(frozen=True, slots=True)
class Baggage:
    """What a trip works with.

    Attributes:
        node: who is visited.
        settings: our AE title, time-outs, certificates.
        database: where an object that comes by C-MOVE to our listener is seen.
        spool: where its bytes are.
        patience_seconds: wait for an archive that files what it stored a while later, and for what
            comes by C-MOVE.
    """

    node: Node
    settings: Settings
    database: Database
    spool: Spool
    patience_seconds: float = 15.0


ROUND = ("echo", "store", "find", "retrieve", "compare")
COMMITTED = ("echo", "store", "commit")
"""Storage commitment of the specimen alone (PS3.4 annex J)."""


def travel(
    baggage: Baggage,
    tell: Callable[[Step], None] | None = None,
    route: Sequence[str] = ROUND,
) -> Trip:
    """Make a round trip to a node and return what came of each step; never raises for the node.

    Args:
        baggage: whom, and with what.
        tell: told each step as it ends.
        route: steps to take, `ROUND` or `COMMITTED`.
    """
    sent = specimen(uuid.uuid4().hex, datetime.datetime.now(datetime.UTC))
    file = encoded(sent)
    trip = _Trip(baggage, sent, file)
    steps: list[Step] = []
    stages = {
        "echo": trip.echo,
        "store": trip.store,
        "find": trip.find,
        "commit": trip.commit,
        "retrieve": trip.retrieve,
        "compare": trip.compare,
    }
    for name in route:
        stage = stages[name]
        started = time.monotonic()
        try:
            ok, text = stage()
        except GatekeeperError as error:
            ok, text = False, str(error)
        step = Step(name, ok, (time.monotonic() - started) * 1000, text)
        steps.append(step)
        if tell is not None:
            tell(step)
        if ok is False:
            break
    return Trip(str(sent.StudyInstanceUID), tuple(steps))


Outcome = tuple[bool | None, str]


class _Trip:
    def __init__(self, baggage: Baggage, sent: Dataset, file: bytes) -> None:
        self._node = baggage.node
        self._settings = baggage.settings
        self._database = baggage.database
        self._spool = baggage.spool
        self._patience = baggage.patience_seconds
        self._study = str(sent.StudyInstanceUID)
        self._instance = str(sent.SOPInstanceUID)
        self._class = str(sent.SOPClassUID)
        self._syntax = str(sent.file_meta.TransferSyntaxUID)
        self._file = file
        self._data = b""
        self._back: tuple[bytes, str] | None = None

    def echo(self) -> Outcome:
        """Call it."""
        return True, f"it answers {echo(self._node, self._settings).in_words}"

    def store(self) -> Outcome:
        """Send the specimen by C-STORE."""
        credentials = Credentials(self._settings.tls)
        transport = DimseTransport(self._settings.listen.ae_title, self._settings.send, credentials)
        with tempfile.TemporaryDirectory(prefix="gatekeeper-roundtrip-") as folder:
            path = Path(folder) / "specimen.dcm"
            path.write_bytes(self._file)
            with path.open("rb") as opened:
                header = read_header(opened, len(self._file))
            self._data = self._file[header.offset :]
            item = SendObject(self._class, self._instance, self._syntax, path)
            [answer] = transport.send([item], self._node)
        if not answer.stored:
            return False, f"it did not store the test picture: {answer.reason}"
        warned = f", with the warning {answer.status:04X}" if answer.status else ""
        return True, f"it stored {len(self._data)} bytes{warned}"

    def find(self) -> Outcome:
        """Look for it by C-FIND, or where the node is asked by commitment, by that."""
        try:
            return self._find()
        except TransportError as error:
            if self._node.confirm is Confirm.COMMITMENT:
                return self.commit()
            # Only an archive has to answer queries.
            due = self._node.confirm is Confirm.FIND or Role.ARCHIVE in self._node.roles
            return (False if due else None), f"it cannot be looked for by C-FIND: {error}"

    def _find(self) -> Outcome:
        deadline = time.monotonic() + self._patience
        while True:
            if self._instance in query.content_of(self._node, self._study, self._settings):
                return True, "it is found by C-FIND at IMAGE level"
            if time.monotonic() >= deadline:
                return False, (
                    "it answers C-FIND, and does not find what it has answered as stored "
                    f"{self._patience:.0f} s ago"
                )
            time.sleep(_LOOK_SECONDS)

    def commit(self) -> Outcome:
        """Ask for commitment, and wait for the report on the same association."""
        transaction = f"2.25.{uuid.uuid4().int}"
        heard: list[Report] = []
        settled = threading.Event()

        def hear(report: Report) -> bool:
            if report.transaction_uid != transaction:
                return False
            heard.append(report)
            settled.set()
            return True

        commitment.ask(
            self._node,
            Request(transaction, (CommitmentItem(self._class, self._instance),)),
            self._settings,
            wait_seconds=self._patience,
            hear=hear,
            settled=settled.is_set,
        )
        if not heard:
            # It may come to our listener, which knows nothing of a question that it did not see.
            return None, (
                "it took the request for commitment; its report did not come on the same "
                "association, where alone it is waited for here"
            )
        missing = heard[0].missing([self._instance])
        if missing:
            return False, f"it reports that it does not keep it: {missing[self._instance]}"
        return True, "it commits to keeping it"

    def retrieve(self) -> Outcome:
        """Fetch it again, the way that priors are fetched from the node."""
        if self._node.retrieve is Retrieve.MOVE:
            return self._moved()
        sink = _Memory()
        seconds = self._settings.priors.retrieve_seconds

        def take(_request: StoreRequest, transfer_syntax_uid: str) -> _Memory:
            sink.syntax = transfer_syntax_uid
            return sink

        try:
            retrieve.get(self._node, self._study, {self._class}, self._settings, take, seconds)
        except TransportError as error:
            return None, f"it does not give it by C-GET: {error}"
        if not sink.whole:
            return False, "it answered C-GET with success, and nothing came"
        self._back = bytes(sink.data), sink.syntax
        return True, f"it came back by C-GET, {len(sink.data)} bytes"

    def _moved(self) -> Outcome:
        seconds = self._settings.priors.retrieve_seconds
        ended = retrieve.move(self._node, self._study, self._settings, seconds)
        deadline = time.monotonic() + self._patience
        while True:
            with self._database.read() as tx:
                found = instances.find(tx, self._instance)
            if found:
                break
            if time.monotonic() >= deadline:
                return False, (
                    "it answered C-MOVE with success, and nothing came to our listener; "
                    f"it reports {ended.failed} as failed"
                )
            time.sleep(_LOOK_SECONDS)
        path = self._spool.path(found[0].digest)
        with path.open("rb") as file:
            header = read_header(file, found[0].size)
            file.seek(header.offset)
            self._back = file.read(_LARGEST), found[0].transfer_syntax_uid
        return True, "it came to our listener by C-MOVE"

    def compare(self) -> Outcome:
        """Hold what came back against what was sent."""
        if self._back is None:
            return None, "nothing came back to compare"
        data, syntax = self._back
        if data == self._data:
            return True, f"the data set is the same, all {len(data)} bytes of it"
        if syntax != self._syntax:
            return False, (
                f"it came back in another transfer syntax, {syntax}, so that bytes do not compare"
            )
        return False, (
            f"the data set was changed: {len(self._data)} bytes went and {len(data)} came back; "
            "does the node edit what it is sent?"
        )


class _Memory:
    """What keeps one object in memory; see `listen.messages.Incoming`."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.syntax = ""
        self.whole = False

    def write(self, data: memoryview) -> None:
        if len(self.data) < _LARGEST:
            self.data += data

    def finish(self) -> Answer:
        self.whole = True
        return Answer(0x0000)

    def abandon(self) -> None:
        self.data.clear()
