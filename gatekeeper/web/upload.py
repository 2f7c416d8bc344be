"""One STOW-RS request on its way in: each part goes where a C-STORE would go.

A part is a DICOM file (PS3.10). What its file meta says stands for what a C-STORE command says;
the data set behind it goes to `gatekeeper.listen.receive` as it comes, with the same checks, the
same durability before anything is answered, and the same statuses. The file meta that is kept is
ours (`gatekeeper.listen.file_meta`), so that the same data set has the same digest whichever way
it came.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from gatekeeper.errors import GatekeeperError, RefusedInstance
from gatekeeper.listen.headers import carried
from gatekeeper.listen.messages import Answer, Incoming
from gatekeeper.listen.receive import NOT_SUPPORTED, SUCCESS, Arrival
from gatekeeper.listen.scan import CANNOT_UNDERSTAND
from gatekeeper.send.part10 import (
    MAXIMUM_HEADER,
    SOP_CLASS,
    SOP_INSTANCE,
    TRANSFER_SYNTAX,
    read_meta,
)
from gatekeeper.web.multipart import Parts
from gatekeeper.web.refusal import BadRequest

SYNTAX_NOT_SUPPORTED = 0xC122
"""Referenced Transfer Syntax not supported (PS3.18 table I.2-2)."""

_GROUP_LENGTH_END = 144
"""Where the first element of a file ends: 128 bytes, "DICM", and the length of group 0002."""
_GROUP_LENGTH = b"\x02\x00\x00\x00UL\x04\x00"
_BEHIND = 8
"""Bytes of a data set that show that there is one."""


@dataclass(frozen=True, slots=True)
class Stowed:
    """What became of one part.

    Attributes:
        sop_class_uid: empty when the part did not say.
        sop_instance_uid: likewise.
        answer: the status, as C-STORE has it.
    """

    sop_class_uid: str
    sop_instance_uid: str
    answer: Answer

    @property
    def kept(self) -> bool:
        """Whether it is durably kept."""
        return self.answer.status == SUCCESS


@dataclass(frozen=True, slots=True)
class Takes:
    """What an upload takes.

    Attributes:
        begin: returns what takes a data set, as `receive.Receiver.begin` does.
        sop_classes: that are stored here.
        transfer_syntaxes: that are taken.
        study_instance_uid: the only study that is taken; empty for any.
        object_bytes: largest part.
        request_bytes: largest body.
        parts: most parts.
    """

    begin: Callable[[Arrival], Incoming]
    sop_classes: frozenset[str]
    transfer_syntaxes: frozenset[str]
    study_instance_uid: str
    object_bytes: int
    request_bytes: int
    parts: int


class Upload:
    """The body of one request, fed as it comes; blocks while the disk and the database work."""

    def __init__(self, boundary: bytes, takes: Takes) -> None:
        self._takes = takes
        self._parts = Parts(boundary, self._begin, takes.parts)
        self._size = 0
        self._alive = True
        self._lock = threading.Lock()
        self.stowed: list[Stowed] = []
        """What became of the parts so far."""

    def is_alive(self) -> bool:
        """Return whether more may come; see `associations.Served`."""
        return self._alive

    def feed(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            BadRequest: naming the rule or limit that the request breaks.
        """
        with self._lock:
            self._size += len(data)
            if self._size > self._takes.request_bytes:
                raise BadRequest(413, f"the body is over {self._takes.request_bytes >> 20} MiB")
            self._parts.feed(data)

    def finish(self) -> list[Stowed]:
        """Return what became of each part, now that the body is here.

        Raises:
            BadRequest: if it is not whole.
        """
        self._parts.finish()
        return self.stowed

    def close(self) -> None:
        """Forget the part under way, if there is one, once nobody feeds any more."""
        with self._lock:
            self._parts.abandon()
            self._alive = False

    def _begin(self) -> _DicomPart:
        return _DicomPart(self._takes, self.stowed.append)


class _DicomPart:
    """A DICOM file as it comes; see `multipart.Part`."""

    def __init__(self, takes: Takes, tell: Callable[[Stowed], None]) -> None:
        self._takes = takes
        self._tell = tell
        self._size = 0
        self._beginning = bytearray()
        self._sop_class = self._sop_instance = ""
        self._receiving: Incoming | None = None
        self._refusal: Answer | None = None

    def write(self, data: memoryview) -> None:
        """Take the next bytes.

        Raises:
            BadRequest: if the part is too large.
        """
        self._size += len(data)
        if self._size > self._takes.object_bytes:
            raise BadRequest(413, f"a part is over {self._takes.object_bytes >> 20} MiB")
        if self._refusal is not None:
            return
        if self._receiving is not None:
            self._receiving.write(data)
            return
        self._beginning += data
        if _has_meta(self._beginning):
            self._open()

    def finish(self) -> None:
        """Keep the object and tell what became of it."""
        if self._receiving is None and self._refusal is None:
            self._open()
        if self._receiving is not None:
            receiving, self._receiving = self._receiving, None
            self._refusal = receiving.finish()
        answer = self._refusal or Answer(CANNOT_UNDERSTAND)
        self._tell(Stowed(self._sop_class, self._sop_instance, answer))

    def abandon(self) -> None:
        """Remove what was written."""
        if self._receiving is not None:
            receiving, self._receiving = self._receiving, None
            receiving.abandon()

    def _open(self) -> None:
        """Read the file meta, and hand on what lies behind it."""
        data, self._beginning = bytes(self._beginning), bytearray()
        try:
            values, offset = read_meta(data[: MAXIMUM_HEADER + _BEHIND], len(data))
            sop_class = carried(values, SOP_CLASS, "Media Storage SOP Class UID")
            sop_instance = carried(values, SOP_INSTANCE, "Media Storage SOP Instance UID")
            syntax = carried(values, TRANSFER_SYNTAX, "Transfer Syntax UID")
        except RefusedInstance as refusal:
            self._refusal = Answer(refusal.status, refusal.rule)
            return
        except GatekeeperError as error:
            self._refusal = Answer(CANNOT_UNDERSTAND, str(error))
            return
        self._sop_class, self._sop_instance = sop_class, sop_instance
        if sop_class not in self._takes.sop_classes:
            self._refusal = Answer(NOT_SUPPORTED, "the SOP class is not one that is stored here")
        elif syntax not in self._takes.transfer_syntaxes:
            self._refusal = Answer(SYNTAX_NOT_SUPPORTED, "the transfer syntax is not taken here")
        else:
            arrival = Arrival(
                sop_class,
                sop_instance,
                syntax,
                study_instance_uid=self._takes.study_instance_uid,
            )
            self._receiving = self._takes.begin(arrival)
            self._receiving.write(memoryview(data)[offset:])


def _has_meta(beginning: bytearray) -> bool:
    """Return whether the file meta is here, and a little of what lies behind."""
    if len(beginning) >= MAXIMUM_HEADER + _BEHIND:
        return True
    if len(beginning) < _GROUP_LENGTH_END or bytes(beginning[132:140]) != _GROUP_LENGTH:
        # Without its length, only the end of the part or of our patience tells.
        return False
    length = int.from_bytes(beginning[140:144], "little")
    return len(beginning) >= _GROUP_LENGTH_END + length + _BEHIND
