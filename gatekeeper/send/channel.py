"""A connected socket, plain or TLS, that sends and receives whole PDUs before a deadline.

PS3.8 section 9 (upper layer), PS3.15 annex B (TLS).
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time
from typing import Self

from gatekeeper.errors import TransportError
from gatekeeper.send import pdu
from gatekeeper.send.pdu import ProtocolError
from gatekeeper.tls import Credentials, reason, say_goodbye
from storage.records import Node

OWN_MAXIMUM_LENGTH = 16384
"""Largest P-DATA-TF length we take; we only ever receive command sets."""
_LARGEST_ASSOCIATION_PDU = 1024 * 1024


class AssociationLost(TransportError):
    """An established association ended, or its peer fell silent, before it was released."""


class Channel:
    """A connected socket, plain or TLS, that sends and receives whole PDUs before a deadline."""

    def __init__(self, connection: socket.socket, silence: float) -> None:
        self._socket = connection
        self._silence = silence

    @classmethod
    def connect(cls, host: str, port: int, seconds: float, silence: float) -> Self:
        """Connect by TCP.

        Args:
            host: name or address.
            port: TCP port.
            seconds: wait for each address of `host`.
            silence: longest wait for the peer to take more bytes.

        Raises:
            TransportError: naming the operating system's reason.
        """
        try:
            connection = socket.create_connection((host, port), timeout=seconds)
        except (OSError, UnicodeError) as error:
            raise TransportError(f"no connection to {host}:{port}: {_reason(error)}") from None
        # Without it, Nagle's algorithm and delayed acknowledgements cost 40 ms an object.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cls(connection, silence)

    def send(self, data: bytes | memoryview, deadline: float) -> None:
        """Send `data` whole.

        Raises:
            AssociationLost: if the peer closed, or took nothing more in time.
        """
        try:
            self._socket.settimeout(_left(deadline, self._silence))
            if isinstance(self._socket, ssl.SSLSocket):
                self._send_records(self._socket, memoryview(data), deadline)
            else:
                self._socket.sendall(data)
        except OSError as error:
            raise AssociationLost(f"lost while sending: {_reason(error)}") from None

    def receive(self, deadline: float) -> tuple[int, bytes]:
        """Return type and body of the next PDU.

        Raises:
            AssociationLost: if the peer closed, or has not sent one in time.
            ProtocolError: if it announces more than such a PDU may hold.
        """
        kind, length = pdu.HEADER.unpack(self._exactly(pdu.HEADER.size, deadline))
        limit = OWN_MAXIMUM_LENGTH if kind == pdu.P_DATA_TF else _LARGEST_ASSOCIATION_PDU
        if length > limit:
            raise ProtocolError(f"PDU of type {kind} announces {length} bytes")
        return kind, self._exactly(length, deadline)

    def secure(self, credentials: Credentials, node: Node) -> None:
        """Go on by TLS, the peer verified to be `node`.

        Raises:
            TlsError: naming the rule that the peer broke; nothing was sent in plain text.
        """
        self._socket = credentials.call(self._socket, node)

    def certificate_until(self) -> float | None:
        """Return when the peer's certificate expires, seconds since 1970; None without one."""
        if not isinstance(self._socket, ssl.SSLSocket):
            return None
        until = (self._socket.getpeercert() or {}).get("notAfter")
        return ssl.cert_time_to_seconds(until) if isinstance(until, str) else None

    def ready(self, seconds: float) -> bool:
        """Return whether something came, or the peer closed, within so many seconds."""
        # TLS may have decrypted more than was read.
        pending = getattr(self._socket, "pending", None)
        if pending is not None and pending():
            return True
        return bool(select.select([self._socket], [], [], seconds)[0])

    def close(self) -> None:
        """Close the socket."""
        with contextlib.suppress(OSError, ValueError):
            say_goodbye(self._socket)
        self._socket.close()

    def _send_records(self, connection: ssl.SSLSocket, data: memoryview, deadline: float) -> None:
        """Send `data` record by record; sendall would grant each its own time-out."""
        while data:
            if time.monotonic() >= deadline:
                raise TimeoutError
            connection.settimeout(_left(deadline, self._silence))
            data = data[connection.send(data) :]

    def _exactly(self, count: int, deadline: float) -> bytes:
        data = bytearray()
        while len(data) < count:
            try:
                self._socket.settimeout(_left(deadline, None))
                part = self._socket.recv(min(count - len(data), 65536))
            except OSError as error:
                raise AssociationLost(f"lost while waiting: {_reason(error)}") from None
            if not part:
                raise AssociationLost("the peer closed the connection")
            data += part
        return bytes(data)


def _left(deadline: float, cap: float | None) -> float:
    """Return the seconds left until `deadline`, at most `cap`; never 0, which means 'no wait'."""
    left = max(deadline - time.monotonic(), 0.001)
    return left if cap is None else min(left, cap)


def _reason(error: Exception) -> str:
    """Return an operating system's or TLS's error in a few words."""
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {reason(error)}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__
