"""The connection under an association: every wait on it ends, and other threads can end one.

A connection is a TCP socket, or what a server made of it (`guard.GuardedServer.secure`): DICOM TLS
looks the same from here. Where it holds decoded bytes that the kernel knows nothing of, it says so
with `pending`.
"""

from __future__ import annotations

import os
import queue
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol, cast

from pynetdicom.pdu_primitives import A_P_ABORT
from pynetdicom.transport import AssociationSocket

LARGEST_PDU = 1024 * 1024 + 1024
"""Bytes: the largest maximum length that can be configured, and an association request with all
its 128 contexts, which no negotiated length bounds (PS3.8 D.1)."""

_LINGER_SECONDS, _LINGER_BYTES = 1.0, 4 * 1024 * 1024
_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Connection(Protocol):
    """What we need of a socket. An `ssl.SSLSocket` has `pending() -> int` besides."""

    def recv_into(self, buffer: memoryview, /) -> int:
        """Read into `buffer` and return how many bytes; 0 at the end of the stream."""
        ...

    def send(self, data: memoryview, /) -> int:
        """Send some of `data` and return how much."""
        ...

    def sendall(self, data: memoryview, /) -> None:
        """Send all of `data`."""
        ...

    def fileno(self) -> int:
        """Return the descriptor, for waiting."""
        ...

    def settimeout(self, value: float | None, /) -> None:
        """Let reading and sending wait for so many seconds; 0 means not at all."""
        ...

    def shutdown(self, how: int, /) -> None:
        """Close one direction."""
        ...

    def close(self) -> None:
        """Close both directions and the descriptor."""
        ...


class Telling(queue.Queue[Any]):
    """A queue that tells someone of each item."""

    def __init__(self, tell: Callable[[], None]) -> None:
        super().__init__()
        self._tell = tell

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put it in, then tell."""
        super().put(item, block, timeout)
        self._tell()


class Wake:
    """Ends the wait of one thread from another."""

    def __init__(self) -> None:
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._lock = threading.Lock()
        self.is_set = False

    def set(self) -> None:
        """End the wait under way, or the next one."""
        with self._lock:
            if not self.is_set and self._descriptor >= 0:
                self.is_set = True
                os.eventfd_write(self._descriptor, 1)

    def clear(self) -> None:
        """Let the next wait be one."""
        with self._lock:
            if self.is_set and self._descriptor >= 0:
                os.eventfd_read(self._descriptor)
            self.is_set = False

    def close(self) -> None:
        """Give the descriptor back; setting does nothing any more."""
        with self._lock:
            descriptor, self._descriptor = self._descriptor, -1
            if descriptor >= 0:
                os.close(descriptor)

    def wait(self, connection: Connection | None, seconds: float) -> bool:
        """Wait for bytes on `connection`, for `set`, or for the time to pass.

        Returns:
            Whether there are bytes, or the connection was closed.
        """
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        if connection is not None:
            if pending(connection):
                return True
            poll.register(connection.fileno(), select.POLLIN)
        ready = poll.poll(max(0.0, 1000 * seconds))
        return any(descriptor != self._descriptor for descriptor, _ in ready)


def pending(connection: Connection) -> bool:
    """Return whether bytes have been decoded that the kernel does not show as readable."""
    ask = getattr(connection, "pending", None)
    return ask is not None and ask() > 0


def receive(connection: Connection, buffer: memoryview) -> int | None:
    """Read what is there now from a connection that does not block.

    Returns:
        How many bytes, 0 at the end of the stream, None when there is nothing now.

    Raises:
        OSError: when the connection was broken.
    """
    try:
        return connection.recv_into(buffer)
    except _NOT_NOW:
        return None


class BoundedSocket(AssociationSocket):
    """An association's socket that reads no PDU for longer, nor larger, than it should."""

    streaming: bool
    opened: float

    @classmethod
    def around(cls, plain: AssociationSocket) -> BoundedSocket:
        """Return `plain` with bounds; constructing anew would announce the connection twice."""
        bounded = cls.__new__(cls)
        bounded.__dict__.update(plain.__dict__)
        bounded.streaming = False
        bounded.opened = time.monotonic()
        return bounded

    @property
    def connection(self) -> Connection | None:
        """The connection; None once it was closed."""
        return cast(Connection | None, self.socket)

    def stream(self) -> None:
        """From now on reading does not block (`receive`); sending does, within the time-out."""
        if self.socket is not None and not self.streaming:
            self.socket.settimeout(0.0)
            self.streaming = True

    def recv(self, nr_bytes: int) -> bytearray:
        """Return `nr_bytes` bytes, or fewer when the peer closed the connection.

        Raises:
            OSError: when there are too many, or they take longer than the DIMSE time-out.
        """
        if nr_bytes > LARGEST_PDU:
            self._wake_association()
            raise OSError("the PDU is longer than the limit")
        received = bytearray(nr_bytes)
        done = 0
        try:
            with memoryview(received) as view:
                done = self._receive_all(view)
        finally:
            if done < nr_bytes:
                self._wake_association()
        del received[done:]
        return received

    def send(self, bytestream: bytes) -> None:
        """Send all of `bytestream`; the connection counts as lost when the peer does not take it.

        Emits Evt17 when it could not be sent within the network time-out.
        """
        connection = self.connection
        if connection is None:
            return
        left = memoryview(bytestream)
        try:
            try:
                left = left[connection.send(left) :]
            except _NOT_NOW:
                left = left[:]
            if left:
                connection.settimeout(self.assoc.network_timeout)
                connection.sendall(left)
                if self.streaming:
                    connection.settimeout(0.0)
        except OSError:
            self.event_queue.put("Evt17")

    def hang_up(self) -> None:
        """Close the connection once the peer had a moment to read what was sent last.

        Closing while its bytes are unread would reset the connection, and an A-ABORT or
        A-ASSOCIATE-RJ could be lost with it. Emits Evt17.
        """
        connection = self.connection
        if connection is None:
            self.event_queue.put("Evt17")
            return
        deadline = time.monotonic() + _LINGER_SECONDS
        scratch = memoryview(bytearray(65536))
        try:
            connection.shutdown(socket.SHUT_WR)
            for _ in range(_LINGER_BYTES // len(scratch)):
                connection.settimeout(max(deadline - time.monotonic(), 0.0))
                if not connection.recv_into(scratch):
                    break
        except OSError:
            # The peer was faster, or has nothing more to say.
            connection.settimeout(0.0)
        self.close()

    def close(self) -> None:
        """Close the connection, also when the peer closed it first."""
        connection = self.socket
        super().close()
        if connection is not None:
            connection.close()

    def _receive_all(self, view: memoryview) -> int:
        connection = cast(Connection, self.socket)
        deadline = time.monotonic() + (self.assoc.dimse_timeout or 0.0)
        if self.assoc.requestor.primitive is None:
            # The association request has a deadline of its own, from the first moment.
            deadline = min(deadline, self.opened + (self.assoc.acse_timeout or 0.0))
        done = 0
        try:
            while done < len(view):
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    raise TimeoutError("the PDU is not complete within the deadline")
                connection.settimeout(remaining)
                count = connection.recv_into(view[done:])
                if count == 0:
                    break
                done += count
        finally:
            connection.settimeout(0.0 if self.streaming else self.assoc.network_timeout)
        return done

    def _wake_association(self) -> None:
        """Tell an association that waits for its request that none will come.

        Left alone it would wait for the whole time-out, so that a port that is probed every
        second would soon count as full.
        """
        if self.assoc.requestor.primitive is None:
            self.assoc.dul.to_user_queue.put(A_P_ABORT())
