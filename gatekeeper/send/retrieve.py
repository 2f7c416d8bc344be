"""Retrieving a study as SCU: C-GET onto the association that asks, C-MOVE to our listener.

Study Root, STUDY level (PS3.4 C.4.2, C.4.3). By C-GET the node stores on our association, where we
are the SCP of the storage classes by role selection (PS3.7 D.3.3.4); each object goes to a sink as
it comes, and is answered with what the sink says, so with success only once it is durable. Every
wait has a deadline, and one more holds for the study as a whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from gatekeeper import elements
from gatekeeper.errors import TransportError
from gatekeeper.listen.messages import Answer, Incoming, Turned
from gatekeeper.send import command, dialogue, pdu
from gatekeeper.send.association import Association
from gatekeeper.send.command import Command, Request
from gatekeeper.send.pdu import Context, ProtocolError
from gatekeeper.settings import Settings
from gatekeeper.tls import Credentials
from storage.records import Node

STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"
"""Study Root Query/Retrieve Information Model - GET."""
STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
"""Study Root Query/Retrieve Information Model - MOVE."""

TRANSFER_SYNTAXES = (
    "1.2.840.10008.1.2.1",  # Explicit VR Little Endian
    "1.2.840.10008.1.2",  # Implicit VR Little Endian
    "1.2.840.10008.1.2.4.70",  # JPEG Lossless SV1
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 Lossless
    "1.2.840.10008.1.2.4.80",  # JPEG-LS Lossless
    "1.2.840.10008.1.2.5",  # RLE Lossless
    "1.2.840.10008.1.2.4.50",  # JPEG Baseline
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.4.51",  # JPEG Extended
    "1.2.840.10008.1.2.4.57",  # JPEG Lossless
    "1.2.840.10008.1.2.4.81",  # JPEG-LS Near-lossless
    "1.2.840.10008.1.2.4.201",  # HTJ2K Lossless
)
"""What is proposed for each class, as far as 128 contexts go: an archive then sends as it keeps."""

_ROOT = "1.2.840.10008.5.1.4.1.1."
_USUAL = (
    "1 1.1 1.2 2 2.1 3.1 4 4.1 4.2 6.1 6.2 7 7.1 7.2 7.3 7.4 11.1 12.1 12.2 20 30 66 66.4 88.11 "
    "88.22 88.33 88.34 88.59 104.1 128 130 481.1 481.2 481.3 481.5"
)
USUAL_CLASSES = frozenset(_ROOT + end for end in _USUAL.split())
"""Classes proposed where an archive does not tell those of a study, as DCMTK's does not:
radiography, CT, ultrasound, MR, secondary capture, presentation states, angiography, nuclear
medicine, PET, maps, segmentations, reports, key objects, PDF and radiotherapy (PS3.4 annex B.5)."""

_LEVEL, _STUDY = 0x00080052, 0x0020000D
_SUCCESS, _PENDING, _SOME_FAILED = 0x0000, 0xFF00, 0xB000
_OUT_OF_RESOURCES, _NO_SUCH_CLASS = 0xA700, 0x0122
_LARGEST_IDENTIFIER = 4 * 1024 * 1024
"""Bytes of a list of the instances that failed."""
WORDS = {
    0x0122: "it does not support the request (0122)",
    0x0124: "it does not authorise us (0124)",
    0xA701: "it is out of resources (A701)",
    0xA702: "it could not perform the sub-operations (A702)",
    0xA801: "it does not know our AE title as a move destination (A801)",
    0xA900: "it does not understand the identifier (A900)",
    0xFE00: "it cancelled (FE00)",
}
"""Statuses of C-GET and C-MOVE (PS3.4 tables C.4-2 and C.4-3)."""

Take = Callable[[Request, str], Incoming]
"""Returns what takes the object that a C-STORE request announces, in this transfer syntax."""


@dataclass(frozen=True, slots=True)
class Retrieved:
    """How a retrieval ended.

    Attributes:
        failed: sub-operations that the node says failed.
        refused: why we refused objects, one sentence each, without patient data.
    """

    failed: int
    refused: tuple[str, ...] = ()


def get(
    node: Node,
    study_uid: str,
    classes: Collection[str],
    settings: Settings,
    take: Take,
    seconds: float,
) -> Retrieved:
    """Fetch a study from `node` by C-GET.

    Args:
        node: who is asked.
        study_uid: Study Instance UID.
        classes: SOP classes of its instances, at most 63.
        settings: our AE title, time-outs and certificates.
        take: called for each object.
        seconds: longest time for all.

    Raises:
        TransportError: if the node could not be reached, gives nothing, is lost, or takes too long,
            or if there is no room here.
    """
    deadline = time.monotonic() + seconds
    with Association.request(
        node,
        settings.listen.ae_title,
        _contexts(classes),
        settings.send,
        credentials=Credentials(settings.tls),
        as_scp=sorted(classes),
    ) as association:
        context = dialogue.chosen(association, STUDY_ROOT_GET)
        accepted = {one[0] for one in association.accepted} & set(classes)
        if not accepted - association.scp_refused:
            refused = "stores none on our association" if accepted else "accepts none"
            raise TransportError(f"of the SOP classes of the study it {refused} (C-GET)")
        message_id = association.next_message_id()
        association.send(
            context,
            command.get_request(message_id, STUDY_ROOT_GET),
            _identifier(study_uid, context[1]),
        )
        return _Getting(association, message_id, settings, take, deadline).run()


def move(node: Node, study_uid: str, settings: Settings, seconds: float) -> Retrieved:
    """Have `node` send a study to our listener by C-MOVE, and wait until it has.

    Args:
        node: who is asked.
        study_uid: Study Instance UID.
        settings: our AE title, time-outs and certificates.
        seconds: longest time for all.

    Raises:
        TransportError: as `get`.
    """
    deadline = time.monotonic() + seconds
    with dialogue.call(node, STUDY_ROOT_MOVE, settings) as association:
        context = dialogue.chosen(association, STUDY_ROOT_MOVE)
        message_id = association.next_message_id()
        association.send(
            context,
            command.move_request(message_id, STUDY_ROOT_MOVE, settings.listen.ae_title),
            _identifier(study_uid, context[1]),
        )
        while True:
            # A node need not tell how far it is (PS3.4 C.4.2.3.1), so that only the end is waited
            # for.
            answer = dialogue.response(
                association, deadline, command.MOVE_RSP, message_id, _LARGEST_IDENTIFIER
            )
            if answer.command.status != _PENDING:
                return _ended(answer.command)


class _Getting:
    """The messages of one C-GET: objects to take, and at last the response."""

    def __init__(
        self,
        association: Association,
        message_id: int,
        settings: Settings,
        take: Take,
        deadline: float,
    ) -> None:
        self._association = association
        self._message_id = message_id
        self._seconds = settings.send.dimse_timeout
        self._limit = settings.listen.maximum_object_mib << 20
        self._take = take
        self._deadline = deadline
        self._contexts = {number: one for one, number in association.accepted.items()}
        self._command = bytearray()
        self._request: Request | None = None
        self._response: Command | None = None
        self._incoming: Incoming | None = None
        self._size = 0
        self._refused: dict[str, None] = {}

    def run(self) -> Retrieved:
        """Take what comes until the response that ends it."""
        try:
            while True:
                wait = min(self._deadline, time.monotonic() + self._seconds)
                for number, control, fragment in pdu.values(self._association.receive(wait)):
                    context = self._contexts.get(number)
                    if context is None:
                        raise ProtocolError("a message in a context that was not accepted")
                    last = bool(control & pdu.LAST)
                    if control & pdu.COMMAND:
                        ended = self._take_command(fragment, context, last)
                    else:
                        ended = self._take_data(fragment, context, last)
                    if ended is not None:
                        return Retrieved(_ended(ended).failed, tuple(self._refused))
        finally:
            if self._incoming is not None:
                self._incoming.abandon()

    def _take_command(self, fragment: bytes, context: Context, last: bool) -> Command | None:
        """Take part of a command set; return the response that ends it all, if it is that."""
        if self._incoming is not None or self._response is not None:
            raise ProtocolError("command set and data set out of order")
        self._command += fragment
        if len(self._command) > dialogue.LARGEST_COMMAND:
            raise ProtocolError("a message over the limit")
        if not last:
            return None
        data, self._command = bytes(self._command), bytearray()
        read = command.read_command(data)
        if read.command == command.STORE_RQ:
            self._begin(command.read_request(data), context)
            return None
        if read.command != command.GET_RSP or read.responded_to != self._message_id:
            raise ProtocolError("a response to another request")
        if read.data_set:
            self._response, self._size = read, 0
            return None
        return None if read.status == _PENDING else read

    def _begin(self, request: Request, context: Context) -> None:
        if not request.has_data_set or request.message_id is None:
            raise ProtocolError("a C-STORE request without data set or Message ID")
        self._request, self._size = request, 0
        if request.sop_class_uid != context[0]:
            rule = "the SOP class is not that of its presentation context"
            self._incoming = Turned(Answer(_NO_SUCH_CLASS, rule))
        else:
            self._incoming = self._take(request, context[1])

    def _take_data(self, fragment: bytes, context: Context, last: bool) -> Command | None:
        """Take part of a data set; return the response that ends it all, if it was that one's."""
        self._size += len(fragment)
        if self._response is not None:
            if self._size > _LARGEST_IDENTIFIER:
                raise ProtocolError("a message over the limit")
            if not last:
                return None
            read, self._response = self._response, None
            return None if read.status == _PENDING else read
        if self._incoming is None or self._request is None:
            raise ProtocolError("a data set without a command")
        if self._size > self._limit:
            raise ProtocolError("an object is larger than listen.maximum_object_mib")
        self._incoming.write(memoryview(fragment))
        if last:
            incoming, self._incoming = self._incoming, None
            self._answer(incoming.finish(), self._request, context)
        return None

    def _answer(self, answer: Answer, request: Request, context: Context) -> None:
        response = command.store_response(request, answer.status, answer.rule)
        self._association.send(context, response)
        if answer.status == _OUT_OF_RESOURCES:
            raise TransportError(f"no room here: {answer.rule}")
        if answer.status != _SUCCESS:
            self._refused[answer.rule] = None


def _contexts(classes: Collection[str]) -> list[Context]:
    """Return the contexts to propose: those of C-GET, and of each class as many as there is room.

    Raises:
        TransportError: if there are more classes than one association takes.
    """
    contexts = list(dialogue.contexts_of(STUDY_ROOT_GET))
    room = (pdu.MAXIMUM_CONTEXTS - len(contexts)) // max(len(classes), 1)
    if room < 2:
        raise TransportError(f"a study of {len(classes)} SOP classes is not fetched by C-GET")
    syntaxes = TRANSFER_SYNTAXES[:room]
    return contexts + [(uid, syntax) for uid in sorted(classes) for syntax in syntaxes]


def _identifier(study_uid: str, transfer_syntax_uid: str) -> bytes:
    keys = [elements.code(_LEVEL, "STUDY"), elements.uid(_STUDY, study_uid)]
    return elements.write(keys, transfer_syntax_uid)


def _ended(response: Command) -> Retrieved:
    """Return how it ended; some failed is no error, since the rest is here.

    Raises:
        TransportError: for a failure, in words.
    """
    status = response.status
    if status in (_SUCCESS, _SOME_FAILED):
        return Retrieved(response.failed)
    said = "it answered without a status" if status is None else f"it answered {status:04X}"
    raise TransportError(WORDS.get(status or 0, said))
