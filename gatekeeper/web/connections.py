"""TCP connections bounded before they cost anything: caps, and a deadline for what is asked.

The HTTP server has neither a cap by address nor a deadline for a request's headers, nor for a TLS
handshake that is under a minute. So its listening socket is ours: it closes what is too much when
it is accepted, and shuts down, from below, a connection that has not asked for anything in time.
Runs in the event loop's thread alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

from gatekeeper.listen.guard import Connections

_BACKLOG = 128

Peer = tuple[str, int]
"""Address and port of a caller, as ASGI's scope has them."""


class BoundedListener(socket.socket):
    """A listening socket whose connections are counted and timed.

    Attributes:
        idle_seconds: time to begin a request.
    """

    def __init__(self, host: str, port: int, connections: Connections, idle_seconds: float) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__(family, socket.SOCK_STREAM)
        self._connections = connections
        self.idle_seconds = idle_seconds
        self._open: dict[Peer, BoundedConnection] = {}
        try:
            self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.bind((host, port))
            self.listen(_BACKLOG)
        except OSError:
            self.close()
            raise

    def accept(self) -> tuple[socket.socket, Any]:
        """Return the next connection that is within the caps.

        Raises:
            BlockingIOError: when there is none.
        """
        while True:
            accepted, address = super().accept()
            peer: Peer = (address[0], address[1])
            if not self._connections.admit(peer[0]):
                accepted.close()
                continue
            connection = BoundedConnection(self, peer, accepted.detach())
            connection.setblocking(False)
            self._open[peer] = connection
            connection.wait()
            return connection, address

    def busy(self, peer: Peer) -> None:
        """Note that a request of this caller began: it has deadlines of its own."""
        if peer in self._open:
            self._open[peer].begun()

    def idle(self, peer: Peer) -> None:
        """Note that a request of this caller is over: the next one has to begin in time."""
        if peer in self._open:
            self._open[peer].wait()

    def closed(self, peer: Peer) -> None:
        """Note that a connection is closed."""
        if self._open.pop(peer, None) is not None:
            self._connections.leave(peer[0])


class BoundedConnection(socket.socket):
    """An accepted connection that is shut down when it asks for nothing."""

    def __init__(self, listener: BoundedListener, peer: Peer, descriptor: int) -> None:
        super().__init__(fileno=descriptor)
        self._listener = listener
        self._peer = peer
        self._timer: asyncio.TimerHandle | None = None

    def wait(self) -> None:
        """Shut the connection down unless a request begins in time."""
        self.begun()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._listener.idle_seconds, self._cut)

    def begun(self) -> None:
        """Wait no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """Close the connection; it no longer counts."""
        self.begun()
        self._listener.closed(self._peer)
        super().close()

    def _cut(self) -> None:
        with contextlib.suppress(OSError):
            self.shutdown(socket.SHUT_RDWR)
