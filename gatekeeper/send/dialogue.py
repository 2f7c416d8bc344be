"""Messages with data sets both ways over an association of ours: requests, answers, reports.

`association` serves storage, where only command sets come back; here a peer may answer with data
sets and, as SCP of storage commitment, ask us. One message is under way at a time, and each is
bounded in bytes and time. PS3.7 sections 6.3 and 9.1.2, 10.1.1, 10.1.4.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from gatekeeper import elements
from gatekeeper.errors import TransportError
from gatekeeper.send import command, pdu
from gatekeeper.send.association import Association
from gatekeeper.send.command import Command
from gatekeeper.send.pdu import Context, ProtocolError
from gatekeeper.settings import Settings
from gatekeeper.tls import Credentials
from storage.records import Node

LARGEST_COMMAND = 16 * 1024
"""Bytes of a command set that are taken."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message as received.

    Attributes:
        context: the presentation context it came in.
        command: its command set.
        data: its encoded data set, empty without one.
    """

    context: Context
    command: Command
    data: bytes


def contexts_of(sop_class_uid: str) -> tuple[Context, ...]:
    """Return the contexts to propose for a class whose data sets we write ourselves."""
    return tuple((sop_class_uid, encoding) for encoding in elements.ENCODINGS)


def call(
    node: Node, sop_class_uid: str, settings: Settings, as_scp: Collection[str] = ()
) -> Association:
    """Return an association with `node` that proposes one class, by TLS where the node needs it.

    Raises:
        TransportError: if there is no connection, or the association is rejected or broken.
    """
    return Association.request(
        node,
        settings.listen.ae_title,
        contexts_of(sop_class_uid),
        settings.send,
        credentials=Credentials(settings.tls),
        as_scp=as_scp,
    )


def chosen(association: Association, sop_class_uid: str) -> Context:
    """Return the accepted context of a class.

    Raises:
        TransportError: if the peer accepted none.
    """
    wanted: Sequence[Context] = contexts_of(sop_class_uid)
    found = next((context for context in wanted if context in association.accepted), None)
    if found is None:
        raise TransportError(f"the peer does not take SOP class {sop_class_uid}")
    return found


def receive(association: Association, deadline: float, largest: int) -> Message:
    """Return the next message.

    Args:
        association: established.
        deadline: by the monotonic clock, for the whole message.
        largest: most bytes of its data set.

    Raises:
        AssociationLost: if the peer ended the association, or the message is late.
        ProtocolError: if it is too large, or not as PS3.8 annex E wants it.
    """
    known = {identifier: context for context, identifier in association.accepted.items()}
    parts = (bytearray(), bytearray())
    read: Command | None = None
    while True:
        for identifier, control, fragment in pdu.values(association.receive(deadline)):
            if identifier not in known:
                raise ProtocolError("a message in a context that was not accepted")
            is_data = not control & pdu.COMMAND
            if is_data is (read is None):
                raise ProtocolError("command set and data set out of order")
            part = parts[is_data]
            part += fragment
            if len(part) > (largest if is_data else LARGEST_COMMAND):
                raise ProtocolError("a message over the limit")
            if not control & pdu.LAST:
                continue
            if read is None:
                read = command.read_command(bytes(part))
                if read.data_set:
                    continue
            return Message(known[identifier], read, bytes(parts[1]))


def response(
    association: Association, deadline: float, kind: int, message_id: int, largest: int
) -> Message:
    """Return the next message, which must answer the request `message_id`.

    Raises:
        AssociationLost, ProtocolError: as `receive`; also for any other message.
    """
    found = receive(association, deadline, largest)
    if found.command.command != kind or found.command.responded_to != message_id:
        raise ProtocolError("a response to another request")
    return found
