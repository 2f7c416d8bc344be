"""DIMSE command sets of C-STORE and C-ECHO as bytes (PS3.7 section 6.3.1, 9.3.1, 9.3.5): pure.

A command set is always Implicit VR Little Endian and begins with its own length.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from gatekeeper.send.pdu import ProtocolError

STORE_RQ, STORE_RSP = 0x0001, 0x8001
ECHO_RQ, ECHO_RSP = 0x0030, 0x8030
_NO_DATA_SET, _DATA_SET = 0x0101, 0x0000
_MEDIUM_PRIORITY = 0x0000

_ELEMENT = struct.Struct("<HHI")
_COMMAND_FIELD, _RESPONDED_TO, _DATA_SET_TYPE, _STATUS = 0x0100, 0x0120, 0x0800, 0x0900


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


def read_response(data: bytes) -> Response:
    """Read the command set of a response.

    Error Comment and other text of the peer is left unread: it may quote the data set.

    Raises:
        ProtocolError: if lengths do not add up, a needed element is missing, or a data set follows.
    """
    found: dict[int, int] = {}
    offset = 0
    while offset < len(data):
        if offset + _ELEMENT.size > len(data):
            raise ProtocolError("command set cut off")
        group, element, length = _ELEMENT.unpack_from(data, offset)
        start = offset + _ELEMENT.size
        offset = start + length
        if group != 0 or offset > len(data):
            raise ProtocolError("command set with a wrong group or length")
        if length == 2:
            found[element] = int.from_bytes(data[start:offset], "little")
    if _COMMAND_FIELD not in found or _RESPONDED_TO not in found:
        raise ProtocolError("response without Command Field or Message ID Being Responded To")
    if found.get(_DATA_SET_TYPE, _NO_DATA_SET) != _NO_DATA_SET:
        raise ProtocolError("response that announces a data set")
    return Response(found[_COMMAND_FIELD], found[_RESPONDED_TO], found.get(_STATUS))


def _command_set(*elements: tuple[int, bytes]) -> bytes:
    body = b"".join(_ELEMENT.pack(0, element, len(value)) + value for element, value in elements)
    return _ELEMENT.pack(0, 0, 4) + len(body).to_bytes(4, "little") + body


def _short(value: int) -> bytes:
    return value.to_bytes(2, "little")


def _uid(value: str) -> bytes:
    return value.encode("ascii") + b"\0" * (len(value) % 2)
