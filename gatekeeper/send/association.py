"""One DICOM association as requestor, on a channel with a deadline for every wait.

A storage requestor is half-duplex: it sends a request and waits for the response. So one thread
with blocking calls serves it whole, without the reactor threads and polling sleeps of a general
upper layer, and a file goes to the socket in blocks of many PDUs as it lies on disk.

PS3.8 section 9 (upper layer), PS3.7 sections 9.1.1 (C-STORE) and 9.1.5 (C-ECHO).
"""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Collection, Mapping, Sequence
from types import TracebackType
from typing import Protocol, Self

from gatekeeper.errors import TransportError
from gatekeeper.send import command, pdu
from gatekeeper.send.channel import OWN_MAXIMUM_LENGTH, AssociationLost, Channel
from gatekeeper.send.pdu import Context, ProtocolError
from gatekeeper.settings import SendSettings
from gatekeeper.tls import Credentials, TlsError
from storage.records import Node

LARGEST_FRAGMENT = 131072
"""Cap on what we send in one PDU, whatever the peer would take."""
_SMALLEST_MAXIMUM_LENGTH = 128
_BLOCK = 256 * 1024
"""Bytes handed to the socket at once."""
_RELEASE_SECONDS = 5.0


class Source(Protocol):
    """A file or buffer of bytes to send."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Fill `buffer` from the current position and return how many bytes came."""
        ...


class Association:
    """An established association; a context manager that releases it, or aborts it on an error.

    Attributes:
        accepted: the accepted presentation contexts.
        maximum_length: largest P-DATA-TF length of the peer, 0 without limit.
        implementation: the peer's implementation version name.
        scp_refused: SOP classes of which the peer does not take us as SCP.
    """

    def __init__(
        self, channel: Channel, acceptance: pdu.Acceptance, settings: SendSettings
    ) -> None:
        self._channel = channel
        self._contexts = acceptance.contexts
        self._settings = settings
        self._message_id = 0
        self._open = True
        self.maximum_length = acceptance.maximum_length
        self.implementation = acceptance.implementation
        self.scp_refused = acceptance.scp_refused
        largest = acceptance.maximum_length or LARGEST_FRAGMENT
        # PS3.8 annex D: the announced length counts the item length, context and control, too.
        self._fragment = (min(largest, LARGEST_FRAGMENT) - 6) // 2 * 2
        per_block = max(1, _BLOCK // (self._fragment + pdu.PDV_HEADER.size))
        self._buffer = bytearray(per_block * (self._fragment + pdu.PDV_HEADER.size))

    @classmethod
    def request(
        cls,
        node: Node,
        calling_ae: str,
        contexts: Sequence[Context],
        settings: SendSettings,
        *,
        credentials: Credentials | None = None,
        as_scp: Collection[str] = (),
    ) -> Self:
        """Connect to `node` and negotiate `contexts`, at most 128, as SCP of the classes `as_scp`.

        Args:
            node: whom to call.
            calling_ae: our AE title.
            contexts: to propose.
            settings: time-outs.
            credentials: for a node that needs TLS, which is never called without.

        Raises:
            TransportError: if there is no connection, or the association is rejected or broken.
        """
        if not 0 < len(contexts) <= pdu.MAXIMUM_CONTEXTS:
            raise ValueError("an association proposes 1 to 128 presentation contexts")
        if node.needs_tls and credentials is None:
            raise TlsError("TLS: the node needs it, and none is set up here")
        proposed = {2 * index + 1: context for index, context in enumerate(contexts)}
        channel = Channel.connect(
            node.host, node.port, settings.connect_timeout, settings.network_timeout
        )
        try:
            if node.needs_tls and credentials is not None:
                channel.secure(credentials, node)
            titles = (node.ae_title, calling_ae)
            acceptance = _negotiate(channel, titles, proposed, settings, as_scp)
        except BaseException:
            channel.close()
            raise
        return cls(channel, acceptance, settings)

    @property
    def accepted(self) -> Mapping[Context, int]:
        """Identifiers of the accepted presentation contexts."""
        return self._contexts

    @property
    def certificate_until(self) -> float | None:
        """When the peer's certificate expires, seconds since 1970-01-01 UTC; None without one."""
        return self._channel.certificate_until()

    def store(self, context: Context, sop_instance_uid: str, data: Source, size: int) -> int | None:
        """Send one object by C-STORE and return the status of the response, None without one.

        Args:
            context: an accepted context: the object's SOP class and the data's transfer syntax.
            sop_instance_uid: the object.
            data: an unbuffered file at the start of the data set.
            size: length of the data set in bytes.

        Raises:
            AssociationLost: if the peer went away or fell silent.
            ProtocolError: if the answer is none to this request.
            OSError: if `data` cannot be read or ends early.

        After any of them the association is of no use.
        """
        message_id = self.next_message_id()
        context_id = self._contexts[context]
        request = command.store_request(message_id, context[0], sop_instance_uid)
        deadline = time.monotonic() + self._settings.object_seconds
        self._send_message(context_id, request, data, size, deadline)
        return self._status(command.STORE_RSP, message_id)

    def echo(self, context: Context) -> int | None:
        """Send C-ECHO and return the status of the response.

        Raises:
            AssociationLost: if the peer went away or fell silent.
            ProtocolError: if the answer is none to this request.
        """
        message_id = self.next_message_id()
        request = command.echo_request(message_id, context[0])
        self._channel.send(
            _command_pdu(self._contexts[context], request),
            time.monotonic() + self._settings.dimse_timeout,
        )
        return self._status(command.ECHO_RSP, message_id)

    def send(self, context: Context, request: bytes, data: bytes = b"") -> None:
        """Send a command set and its data set; AssociationLost if the peer went away."""
        deadline = time.monotonic() + self._settings.object_seconds
        context_id = self._contexts[context]
        self._send_message(context_id, request, io.BytesIO(data), len(data), deadline)

    def receive(self, deadline: float) -> bytes:
        """Return the body of the next P-DATA-TF PDU.

        Raises:
            AssociationLost, ProtocolError: if the peer ended it, or sent nothing or another PDU.
        """
        kind, body = self._channel.receive(deadline)
        if kind != pdu.P_DATA_TF:
            raise self._ended(kind)
        return body

    def ready(self, seconds: float) -> bool:
        """Return whether the peer sent something, or closed, within so many seconds."""
        return self._channel.ready(seconds)

    def release(self) -> None:
        """Release the association and close; every answer is in, so nothing here can fail it."""
        if not self._open:
            return
        deadline = time.monotonic() + min(_RELEASE_SECONDS, self._settings.dimse_timeout)
        with contextlib.suppress(TransportError):
            self._channel.send(pdu.release_request(), deadline)
            while self._channel.receive(deadline)[0] not in (pdu.RELEASE_RP, pdu.ABORT):
                continue
        self._close()

    def abort(self) -> None:
        """Abort the association and close."""
        if not self._open:
            return
        with contextlib.suppress(TransportError):
            self._channel.send(pdu.abort(), time.monotonic() + 1.0)
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        # A closed generator ends between two messages, where release is in order.
        if kind is None or issubclass(kind, GeneratorExit):
            self.release()
        else:
            self.abort()

    def _close(self) -> None:
        self._open = False
        self._channel.close()

    def next_message_id(self) -> int:
        """Return a Message ID that no request under way has."""
        self._message_id = self._message_id % 65535 + 1
        return self._message_id

    def _send_message(
        self, context_id: int, request: bytes, data: Source, size: int, deadline: float
    ) -> None:
        """Send a command and its data set, as many PDUs at once as fit the buffer.

        Fragments are of even length (PS3.8 E.2), so that an odd data set gets a byte of padding.
        """
        self._channel.send(_command_pdu(context_id, request), deadline)
        view = memoryview(self._buffer)
        header = pdu.PDV_HEADER.size
        position, left = 0, size + size % 2
        while left:
            length = min(left, self._fragment)
            control = pdu.LAST if length == left else 0
            pdu.PDV_HEADER.pack_into(
                self._buffer, position, pdu.P_DATA_TF, length + 6, length + 2, context_id, control
            )
            padding = size % 2 if length == left else 0
            end = position + header + length
            _read_into(data, view[position + header : end - padding])
            self._buffer[end - padding : end] = bytes(padding)
            position = end
            left -= length
            if not left or position + header + self._fragment > len(self._buffer):
                self._channel.send(view[:position], deadline)
                position = 0

    def _status(self, expected: int, message_id: int) -> int | None:
        """Return the status of the response to `message_id`."""
        deadline = time.monotonic() + self._settings.dimse_timeout
        received = bytearray()
        while True:
            for _context, control, fragment in pdu.values(self.receive(deadline)):
                if not control & pdu.COMMAND:
                    raise ProtocolError("a data set where a response was due")
                received += fragment
                if len(received) > OWN_MAXIMUM_LENGTH:
                    raise ProtocolError("a response over 16 KiB")
                if control & pdu.LAST:
                    return _checked(command.read_response(bytes(received)), expected, message_id)

    def _ended(self, kind: int) -> TransportError:
        if kind == pdu.ABORT:
            return AssociationLost("the peer aborted the association")
        if kind == pdu.RELEASE_RQ:
            with contextlib.suppress(TransportError):
                self._channel.send(pdu.release_reply(), time.monotonic() + 1.0)
            return AssociationLost("the peer released the association before its answer")
        return ProtocolError(f"a PDU of type {kind} where a response was due")


def _negotiate(
    channel: Channel,
    titles: tuple[str, str],
    proposed: Mapping[int, Context],
    settings: SendSettings,
    as_scp: Collection[str],
) -> pdu.Acceptance:
    deadline = time.monotonic() + settings.association_timeout
    request = pdu.associate_request(*titles, proposed, OWN_MAXIMUM_LENGTH, as_scp)
    channel.send(request, deadline)
    kind, body = channel.receive(deadline)
    if kind == pdu.ASSOCIATE_RJ:
        raise TransportError(pdu.rejection(body))
    if kind == pdu.ABORT:
        raise TransportError("the peer aborted the association request")
    if kind != pdu.ASSOCIATE_AC:
        raise ProtocolError(f"a PDU of type {kind} in answer to an association request")
    acceptance = pdu.associate_accept(body, proposed)
    if 0 < acceptance.maximum_length < _SMALLEST_MAXIMUM_LENGTH:
        raise ProtocolError(f"maximum length of {acceptance.maximum_length} bytes")
    return acceptance


def _command_pdu(context_id: int, request: bytes) -> bytes:
    length = len(request)
    control = pdu.LAST | pdu.COMMAND
    header = pdu.PDV_HEADER.pack(pdu.P_DATA_TF, length + 6, length + 2, context_id, control)
    return header + request


def _checked(response: command.Response, expected: int, message_id: int) -> int | None:
    if response.command != expected or response.message_id != message_id:
        raise ProtocolError("a response to another request")
    return response.status


def _read_into(data: Source, view: memoryview) -> None:
    """Fill `view` from `data`."""
    filled = 0
    while filled < len(view):
        count = data.readinto(view[filled:])
        if not count:
            raise OSError("the file ended before its data set did")
        filled += count
