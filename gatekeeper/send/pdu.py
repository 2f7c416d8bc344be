"""DICOM upper layer protocol data units as the association requestor needs them: pure bytes.

PS3.8 section 9.3. Numbers are big-endian. What a peer sends is read with its lengths checked; a
PDU that breaks them raises `ProtocolError`.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import gatekeeper
from gatekeeper.errors import TransportError
from gatekeeper.listen.file_meta import IMPLEMENTATION_CLASS_UID

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ = 0x01, 0x02, 0x03
P_DATA_TF = 0x04
RELEASE_RQ, RELEASE_RP, ABORT = 0x05, 0x06, 0x07

HEADER = struct.Struct(">BxI")
"""PDU type and the length of what follows."""
PDV_HEADER = struct.Struct(">BxIIBB")
"""Header of a P-DATA-TF PDU with one value: type, length, item length, context, control."""
LAST, COMMAND = 0x02, 0x01
"""Message control header: last fragment; command, else data set (PS3.8 E.2)."""

MAXIMUM_CONTEXTS = 128
"""Odd context identifiers from 1 to 255 (PS3.8 9.3.2.2)."""
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
IMPLEMENTATION_VERSION = f"GATEKEEPER{gatekeeper.__version__}"[:16]

_ITEM = struct.Struct(">BxH")
_FIXED = 68
"""Bytes before the items of A-ASSOCIATE-RQ and -AC: version, titles, reserved."""

Context = tuple[str, str]
"""A presentation context as proposed: SOP class UID and its one transfer syntax UID."""


class ProtocolError(TransportError):
    """The peer sent something that PS3.8 or PS3.7 does not allow there."""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What the peer agreed to.

    Attributes:
        contexts: identifiers of the accepted contexts.
        maximum_length: largest P-DATA-TF length it takes, 0 without limit (PS3.8 D.1.1).
        implementation: its implementation version name, empty when it gave none.
    """

    contexts: Mapping[Context, int]
    maximum_length: int
    implementation: str
    scp_refused: frozenset[str] = frozenset()
    """SOP classes of which it takes no requestor as SCP (PS3.7 D.3.3.4)."""


def associate_request(
    called_ae: str,
    calling_ae: str,
    contexts: Mapping[int, Context],
    maximum_length: int,
    as_scp: Collection[str] = (),
) -> bytes:
    """Return an A-ASSOCIATE-RQ PDU (PS3.8 9.3.2).

    Args:
        called_ae: AE title of the peer.
        calling_ae: our own.
        contexts: proposed contexts by identifier.
        maximum_length: largest P-DATA-TF length that we take.
        as_scp: SOP classes of which we are the SCP, not the SCU (PS3.7 D.3.3.4).
    """
    items = [_item(0x10, APPLICATION_CONTEXT.encode())]
    for identifier, (abstract, transfer) in contexts.items():
        syntaxes = _item(0x30, abstract.encode()) + _item(0x40, transfer.encode())
        items.append(_item(0x20, bytes((identifier, 0, 0, 0)) + syntaxes))
    user = (
        _item(0x51, maximum_length.to_bytes(4, "big"))
        + _item(0x52, IMPLEMENTATION_CLASS_UID.encode())
        + b"".join(_role(uid) for uid in as_scp)
        + _item(0x55, IMPLEMENTATION_VERSION.encode())
    )
    items.append(_item(0x50, user))
    titles = called_ae.ljust(16).encode("ascii") + calling_ae.ljust(16).encode("ascii")
    body = b"\x00\x01\x00\x00" + titles + bytes(32) + b"".join(items)
    return HEADER.pack(ASSOCIATE_RQ, len(body)) + body


def associate_accept(body: bytes, proposed: Mapping[int, Context]) -> Acceptance:
    """Read the body of an A-ASSOCIATE-AC PDU (PS3.8 9.3.3).

    A context that is accepted with another transfer syntax than the one proposed counts as
    rejected.

    Raises:
        ProtocolError: if lengths do not add up or the user information is missing.
    """
    contexts: dict[Context, int] = {}
    maximum_length: int | None = None
    implementation = ""
    scp_refused: set[str] = set()
    for kind, content in _items(body[_FIXED:]):
        if kind == 0x21 and len(content) >= 4 and content[2] == 0:
            context = proposed.get(content[0])
            chosen = [text(value) for sub, value in _items(content[4:]) if sub == 0x40]
            if context is not None and chosen == [context[1]]:
                contexts[context] = content[0]
        elif kind == 0x50:
            for sub, value in _items(content):
                if sub == 0x51 and len(value) == 4:
                    maximum_length = int.from_bytes(value, "big")
                elif sub == 0x55:
                    implementation = text(value)
                elif sub == 0x54 and value[-1:] == b"\0":
                    scp_refused.add(text(value[2:-2]))
    if len(body) < _FIXED or maximum_length is None:
        raise ProtocolError("A-ASSOCIATE-AC without a maximum length")
    return Acceptance(contexts, maximum_length, implementation, frozenset(scp_refused))


def rejection(body: bytes) -> str:
    """Return in words why an A-ASSOCIATE-RJ refused (PS3.8 table 9-21)."""
    if len(body) != 4:
        return "association rejected"
    _, result, source, reason = body
    lasting = {1: "permanently", 2: "for now"}.get(result, "")
    why = _REJECTIONS.get((source, reason), f"source {source}, reason {reason}")
    return f"association rejected {lasting}: {why}"


def release_request() -> bytes:
    """Return an A-RELEASE-RQ PDU (PS3.8 9.3.6)."""
    return HEADER.pack(RELEASE_RQ, 4) + bytes(4)


def release_reply() -> bytes:
    """Return an A-RELEASE-RP PDU (PS3.8 9.3.7)."""
    return HEADER.pack(RELEASE_RP, 4) + bytes(4)


def abort() -> bytes:
    """Return an A-ABORT PDU of the service user (PS3.8 9.3.8)."""
    return HEADER.pack(ABORT, 4) + bytes(4)


def command_values(context: int, command: bytes, maximum_length: int) -> bytes:
    """Return the P-DATA-TF PDUs of a command set (PS3.8 9.3.5), one value in each.

    Args:
        context: presentation context identifier.
        command: the command set.
        maximum_length: largest P-DATA-TF length that the peer takes, 0 without limit.
    """
    return _values(context, command, COMMAND, maximum_length)


def message(context: int, command: bytes, data_set: bytes, maximum_length: int) -> bytes:
    """Return the P-DATA-TF PDUs of a command set and its data set, as `command_values` does."""
    values_of_command = command_values(context, command, maximum_length)
    return values_of_command + _values(context, data_set, 0, maximum_length)


def _values(context: int, content: bytes, kind: int, maximum_length: int) -> bytes:
    room = max(maximum_length - 6, 1) if maximum_length else len(content)
    parts = [content[start : start + room] for start in range(0, len(content), room)]
    return b"".join(
        PDV_HEADER.pack(
            P_DATA_TF,
            len(part) + 6,
            len(part) + 2,
            context,
            kind | (LAST if number == len(parts) else 0),
        )
        + part
        for number, part in enumerate(parts, start=1)
    )


def values(body: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield context identifier, message control header and fragment of each value in P-DATA-TF.

    Raises:
        ProtocolError: if lengths do not add up.
    """
    offset = 0
    while offset < len(body):
        length = int.from_bytes(body[offset : offset + 4], "big")
        end = offset + 4 + length
        if length < 2 or end > len(body):
            raise ProtocolError("presentation data value with a wrong length")
        yield body[offset + 4], body[offset + 5], body[offset + 6 : end]
        offset = end


def text(value: bytes) -> str:
    """Return a UID or name of the peer as text; padding dropped, what is not ASCII replaced."""
    return value.decode("ascii", "replace").strip("\0 ")


def _role(sop_class_uid: str) -> bytes:
    """Return an SCP/SCU role selection sub-item: not SCU, but SCP (PS3.7 table D.3-9)."""
    uid = sop_class_uid.encode("ascii")
    return _item(0x54, len(uid).to_bytes(2, "big") + uid + b"\x00\x01")


def _item(kind: int, content: bytes) -> bytes:
    return _ITEM.pack(kind, len(content)) + content


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset < len(data):
        if offset + 4 > len(data):
            raise ProtocolError("association item cut off")
        kind, length = _ITEM.unpack_from(data, offset)
        end = offset + 4 + length
        if end > len(data):
            raise ProtocolError("association item with a wrong length")
        yield kind, data[offset + 4 : end]
        offset = end


_REJECTIONS = {
    (1, 1): "no reason given",
    (1, 2): "application context name not supported",
    (1, 3): "our AE title is not known there",
    (1, 7): "the called AE title is not its own",
    (2, 1): "no reason given",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "its limit of associations is reached",
}
