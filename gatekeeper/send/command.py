"""DIMSE command sets as bytes (PS3.7 section 6.3.1): pure.

C-STORE (9.3.1), C-FIND (9.3.2), C-GET (9.3.3), C-MOVE (9.3.4), C-ECHO (9.3.5), N-EVENT-REPORT
(10.3.1), N-ACTION (10.3.5): what the sender writes and reads, and what the listener does.

A command set is always Implicit VR Little Endian and begins with its own length.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from gatekeeper.send.pdu import ProtocolError

STORE_RQ, STORE_RSP = 0x0001, 0x8001
GET_RQ, GET_RSP = 0x0010, 0x8010
MOVE_RQ, MOVE_RSP = 0x0021, 0x8021
FIND_RQ, FIND_RSP, CANCEL_RQ = 0x0020, 0x8020, 0x0FFF
ECHO_RQ, ECHO_RSP = 0x0030, 0x8030
EVENT_REPORT_RQ, EVENT_REPORT_RSP = 0x0100, 0x8100
ACTION_RQ, ACTION_RSP = 0x0130, 0x8130
_NO_DATA_SET, _DATA_SET = 0x0101, 0x0000
_MEDIUM_PRIORITY = 0x0000

_ELEMENT = struct.Struct("<HHI")
_COMMAND_FIELD, _RESPONDED_TO, _DATA_SET_TYPE, _STATUS = 0x0100, 0x0120, 0x0800, 0x0900
_AFFECTED_CLASS, _REQUESTED_CLASS, _MESSAGE_ID, _PRIORITY = 0x0002, 0x0003, 0x0110, 0x0700
_AFFECTED_INSTANCE, _REQUESTED_INSTANCE = 0x1000, 0x1001
_EVENT_TYPE, _ACTION_TYPE, _ERROR_COMMENT = 0x1002, 0x1008, 0x0902
_MOVE_DESTINATION, _MOVE_ORIGINATOR = 0x0600, 0x1030
_FAILED = 0x1022
_UID_LENGTH, _COMMENT_LENGTH = 64, 64


@dataclass(frozen=True, slots=True)
class Response:
    """A C-STORE or C-ECHO response.

    Attributes:
        command: Command Field (0000,0100).
        message_id: Message ID Being Responded To (0000,0120).
        status: Status (0000,0900), None when it is absent.
    """

    command: int
    message_id: int
    status: int | None


@dataclass(frozen=True, slots=True)
class Request:
    """A request, as far as it tells what it is about.

    Attributes:
        command: Command Field (0000,0100).
        message_id: Message ID (0000,0110), None when it is absent.
        sop_class_uid: Affected SOP Class UID (0000,0002), whatever bytes it holds, as Latin-1.
        sop_instance_uid: Affected SOP Instance UID (0000,1000), likewise.
        has_data_set: whether a data set follows.
        move_originator: Move Originator AE Title (0000,1030): who asked for it by C-MOVE; empty
            when nobody did.
    """

    command: int
    message_id: int | None
    sop_class_uid: str
    sop_instance_uid: str
    has_data_set: bool
    move_originator: str = ""


def store_request(message_id: int, sop_class_uid: str, sop_instance_uid: str) -> bytes:
    """Return the command set of a C-STORE request."""
    return _command_set(
        (0x0002, _uid(sop_class_uid)),
        (_COMMAND_FIELD, _short(STORE_RQ)),
        (0x0110, _short(message_id)),
        (0x0700, _short(_MEDIUM_PRIORITY)),
        (_DATA_SET_TYPE, _short(_DATA_SET)),
        (0x1000, _uid(sop_instance_uid)),
    )


def echo_request(message_id: int, sop_class_uid: str) -> bytes:
    """Return the command set of a C-ECHO request."""
    return _command_set(
        (0x0002, _uid(sop_class_uid)),
        (_COMMAND_FIELD, _short(ECHO_RQ)),
        (0x0110, _short(message_id)),
        (_DATA_SET_TYPE, _short(_NO_DATA_SET)),
    )


def find_request(message_id: int, sop_class_uid: str) -> bytes:
    """Return the command set of a C-FIND request."""
    return _command_set(
        (_AFFECTED_CLASS, _uid(sop_class_uid)),
        (_COMMAND_FIELD, _short(FIND_RQ)),
        (_MESSAGE_ID, _short(message_id)),
        (_PRIORITY, _short(_MEDIUM_PRIORITY)),
        (_DATA_SET_TYPE, _short(_DATA_SET)),
    )


def get_request(message_id: int, sop_class_uid: str) -> bytes:
    """Return the command set of a C-GET request."""
    return _command_set(
        (_AFFECTED_CLASS, _uid(sop_class_uid)),
        (_COMMAND_FIELD, _short(GET_RQ)),
        (_MESSAGE_ID, _short(message_id)),
        (_PRIORITY, _short(_MEDIUM_PRIORITY)),
        (_DATA_SET_TYPE, _short(_DATA_SET)),
    )


def move_request(message_id: int, sop_class_uid: str, destination: str) -> bytes:
    """Return the command set of a C-MOVE request to the AE title `destination`."""
    return _command_set(
        (_AFFECTED_CLASS, _uid(sop_class_uid)),
        (_COMMAND_FIELD, _short(MOVE_RQ)),
        (_MESSAGE_ID, _short(message_id)),
        (_MOVE_DESTINATION, _padded(destination, b" ")),
        (_PRIORITY, _short(_MEDIUM_PRIORITY)),
        (_DATA_SET_TYPE, _short(_DATA_SET)),
    )


def cancel_request(message_id: int) -> bytes:
    """Return the command set of a C-CANCEL of the request `message_id`."""
    return _command_set(
        (_COMMAND_FIELD, _short(CANCEL_RQ)),
        (_RESPONDED_TO, _short(message_id)),
        (_DATA_SET_TYPE, _short(_NO_DATA_SET)),
    )


def action_request(
    message_id: int, sop_class_uid: str, sop_instance_uid: str, action_type: int
) -> bytes:
    """Return the command set of an N-ACTION request with a data set."""
    return _command_set(
        (_REQUESTED_CLASS, _uid(sop_class_uid)),
        (_COMMAND_FIELD, _short(ACTION_RQ)),
        (_MESSAGE_ID, _short(message_id)),
        (_DATA_SET_TYPE, _short(_DATA_SET)),
        (_REQUESTED_INSTANCE, _uid(sop_instance_uid)),
        (_ACTION_TYPE, _short(action_type)),
    )


def event_request(
    message_id: int, sop_class_uid: str, sop_instance_uid: str, event_type: int
) -> bytes:
    """Return the command set of an N-EVENT-REPORT request with a data set."""
    return _command_set(
        (_AFFECTED_CLASS, _uid(sop_class_uid)),
        (_COMMAND_FIELD, _short(EVENT_REPORT_RQ)),
        (_MESSAGE_ID, _short(message_id)),
        (_DATA_SET_TYPE, _short(_DATA_SET)),
        (_AFFECTED_INSTANCE, _uid(sop_instance_uid)),
        (_EVENT_TYPE, _short(event_type)),
    )


def event_response(
    message_id: int, sop_class_uid: str, sop_instance_uid: str, event_type: int, status: int
) -> bytes:
    """Return the command set of an N-EVENT-REPORT response without a data set."""
    return _command_set(
        (_AFFECTED_CLASS, _uid(sop_class_uid)),
        (_COMMAND_FIELD, _short(EVENT_REPORT_RSP)),
        (_RESPONDED_TO, _short(message_id)),
        (_DATA_SET_TYPE, _short(_NO_DATA_SET)),
        (_STATUS, _short(status)),
        (_AFFECTED_INSTANCE, _uid(sop_instance_uid)),
        (_EVENT_TYPE, _short(event_type)),
    )


@dataclass(frozen=True, slots=True)
class Command:
    """A command set of whatever kind.

    Attributes:
        command: Command Field (0000,0100).
        numbers: the other elements of two bytes, by element number of group 0000.
        data_set: whether a data set follows.
    """

    command: int
    numbers: Mapping[int, int]
    data_set: bool

    @property
    def message_id(self) -> int:
        """Message ID (0000,0110) of a request, 0 without one."""
        return self.numbers.get(_MESSAGE_ID, 0)

    @property
    def responded_to(self) -> int | None:
        """Message ID Being Responded To (0000,0120) of a response."""
        return self.numbers.get(_RESPONDED_TO)

    @property
    def status(self) -> int | None:
        """Status (0000,0900) of a response."""
        return self.numbers.get(_STATUS)

    @property
    def failed(self) -> int:
        """Number of Failed Sub-operations (0000,1022) of a retrieval, 0 without one."""
        return self.numbers.get(_FAILED, 0)

    @property
    def event_type(self) -> int | None:
        """Event Type ID (0000,1002)."""
        return self.numbers.get(_EVENT_TYPE)


def read_response(data: bytes) -> Response:
    """Read the command set of a response.

    Error Comment and other text of the peer is left unread: it may quote the data set.

    Raises:
        ProtocolError: if lengths do not add up, a needed element is missing, or a data set follows.
    """
    found = read_command(data)
    if found.responded_to is None:
        raise ProtocolError("response without Message ID Being Responded To")
    if found.data_set:
        raise ProtocolError("response that announces a data set")
    return Response(found.command, found.responded_to, found.status)


def read_command(data: bytes) -> Command:
    """Read any command set; only its numbers, no text of the peer.

    Raises:
        ProtocolError: if lengths do not add up or there is no Command Field.
    """
    found = {
        element: int.from_bytes(value, "little")
        for element, value in _elements(data).items()
        if len(value) == 2
    }
    if _COMMAND_FIELD not in found:
        raise ProtocolError("command set without Command Field")
    kind = found.get(_DATA_SET_TYPE, _NO_DATA_SET)
    return Command(found[_COMMAND_FIELD], found, kind != _NO_DATA_SET)


def read_request(data: bytes) -> Request:
    """Read the command set of a message that a peer begins.

    Raises:
        ProtocolError: if lengths do not add up, or Command Field or Data Set Type is missing.
    """
    found = _elements(data)
    command, kind = found.get(_COMMAND_FIELD, b""), found.get(_DATA_SET_TYPE, b"")
    message_id = found.get(_MESSAGE_ID, b"")
    if len(command) != 2 or len(kind) != 2:
        raise ProtocolError("message without Command Field or Command Data Set Type")
    return Request(
        command=int.from_bytes(command, "little"),
        message_id=int.from_bytes(message_id, "little") if len(message_id) == 2 else None,
        sop_class_uid=_given(found.get(_AFFECTED_CLASS, b"")),
        sop_instance_uid=_given(found.get(_AFFECTED_INSTANCE, b"")),
        has_data_set=int.from_bytes(kind, "little") != _NO_DATA_SET,
        move_originator=_given(found.get(_MOVE_ORIGINATOR, b"")),
    )


def store_response(request: Request, status: int, comment: str = "") -> bytes:
    """Return the command set of the response to a C-STORE request (PS3.7 9.3.1.2).

    A UID of the request that is longer than 64 bytes is not repeated.

    Args:
        request: what is answered; it must have a Message ID.
        status: Status (0000,0900).
        comment: Error Comment (0000,0902), ASCII; cut to 64 characters, left out when empty.
    """
    elements = [
        (_COMMAND_FIELD, _short(STORE_RSP)),
        (_RESPONDED_TO, _short(request.message_id or 0)),
        (_DATA_SET_TYPE, _short(_NO_DATA_SET)),
        (_STATUS, _short(status)),
    ]
    if comment:
        elements.append((_ERROR_COMMENT, _padded(comment[:_COMMENT_LENGTH], b" ")))
    if 0 < len(request.sop_class_uid) <= _UID_LENGTH:
        elements.insert(0, (_AFFECTED_CLASS, _padded(request.sop_class_uid, b"\0")))
    if 0 < len(request.sop_instance_uid) <= _UID_LENGTH:
        elements.append((_AFFECTED_INSTANCE, _padded(request.sop_instance_uid, b"\0")))
    return _command_set(*elements)


def _elements(data: bytes) -> dict[int, bytes]:
    """Return the values of a command set by the element numbers of group 0000."""
    found: dict[int, bytes] = {}
    offset, size = 0, len(data)
    while offset < size:
        start = offset + _ELEMENT.size
        if start > size:
            raise ProtocolError("command set cut off")
        group, element, length = _ELEMENT.unpack_from(data, offset)
        offset = start + length
        if group != 0 or offset > size:
            raise ProtocolError("command set with a wrong group or length")
        found[element] = data[start:offset]
    return found


def _given(value: bytes) -> str:
    return value.decode("latin-1").strip("\0 ")


def _padded(value: str, padding: bytes) -> bytes:
    encoded = value.encode("latin-1", "replace")
    return encoded + padding * (len(encoded) % 2)


def _command_set(*elements: tuple[int, bytes]) -> bytes:
    body = b"".join(_ELEMENT.pack(0, element, len(value)) + value for element, value in elements)
    return _ELEMENT.pack(0, 0, 4) + len(body).to_bytes(4, "little") + body


def _short(value: int) -> bytes:
    return value.to_bytes(2, "little")


def _uid(value: str) -> bytes:
    return value.encode("ascii") + b"\0" * (len(value) % 2)
