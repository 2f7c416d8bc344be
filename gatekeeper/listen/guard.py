"""Bounds that stock pynetdicom lacks, put around it from outside.

- A PDU longer than a limit closes the connection before it is buffered.
- A PDU, header included, that is not complete within a deadline closes the connection.
- A connection that closes before it asks for anything frees its thread at once.
- A peer that does not take our bytes is given up after the network time-out.
- Connections beyond a limit are closed before they cost a thread.
- Answers leave at once (TCP_NODELAY).
- A TLS handshake runs in the connection's own thread, and counts as a connection meanwhile.

One private method of pynetdicom is overridden (`_create_association`); a test holds it in place.
"""

from __future__ import annotations

import socket
import socketserver
import sys
import time
from collections.abc import Callable
from typing import Any, cast

from pynetdicom.association import Association
from pynetdicom.pdu_primitives import A_P_ABORT
from pynetdicom.transport import (
    AssociationSocket,
    RequestHandler,
    ThreadedAssociationServer,
)

from gatekeeper.log import error_name, get_logger
from gatekeeper.tls import TlsError

LARGEST_PDU = 1024 * 1024 + 1024
"""Bytes: the largest maximum length that can be configured, and an association request with all
its 128 contexts, which no negotiated length bounds (PS3.8 D.1)."""
SPARE_CONNECTIONS = 16
"""Connections beyond the maximum of associations that are still answered, with a rejection."""
BACKLOG = 128

log = get_logger()


class BoundedSocket(AssociationSocket):
    """An association's socket that reads no PDU for longer, nor larger, than it should."""

    @classmethod
    def around(cls, plain: AssociationSocket) -> BoundedSocket:
        """Return `plain` with bounds; constructing anew would announce the connection twice."""
        bounded = cls.__new__(cls)
        bounded.__dict__.update(plain.__dict__)
        return bounded

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
                done = self._receive_into(view)
        finally:
            if done < nr_bytes:
                self._wake_association()
        del received[done:]
        return received

    def close(self) -> None:
        """Close the connection, also when the peer closed it first."""
        connection = self.socket
        super().close()
        if connection is not None:
            connection.close()

    def _receive_into(self, view: memoryview) -> int:
        connection = cast(socket.socket, self.socket)
        deadline = time.monotonic() + (self.assoc.dimse_timeout or 0.0)
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
            connection.settimeout(self.assoc.network_timeout)
        return done

    def _wake_association(self) -> None:
        """Tell an association that waits for its request that none will come.

        Left alone it would wait for the whole time-out, so that a port that is probed every
        second would soon count as full.
        """
        if self.assoc.requestor.primitive is None:
            self.assoc.dul.to_user_queue.put(A_P_ABORT())


class GuardedHandler(RequestHandler):
    """Makes the association of a connection."""

    def _create_association(self) -> Association:
        association = super()._create_association()
        # pynetdicom would let this thread hold up the end of the process.
        association.dul.daemon = True
        association.dul.socket = BoundedSocket.around(
            cast(AssociationSocket, association.dul.socket)
        )
        return association


class GuardedServer(ThreadedAssociationServer):
    """Accepts connections, up to a limit, and leaves the rest to pynetdicom."""

    request_queue_size = BACKLOG
    daemon_threads = True
    secure: Callable[[socket.socket], socket.socket] | None = None
    """Shakes hands by TLS on an accepted connection, in its thread; None on a plain port."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._shaking: set[socket.socket] = set()
        super().__init__(*arguments, **options)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give the connection a thread; until it is secured it counts as one more here."""
        if self.secure is not None:
            self._shaking.add(request)
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._shaking.discard(request)
            raise

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Secure the connection, in its own thread, and hand it to an association."""
        connection = request
        if self.secure is not None:
            try:
                connection = self.secure(request)
            except TlsError as error:
                log.warning("connection_refused", address=str(client_address[0]), reason=str(error))
                return
            finally:
                self._shaking.discard(request)
        super().finish_request(connection, client_address)

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Return the next connection, ready for use."""
        connection, address = super().get_request()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(self.ae.network_timeout)
        return connection, address

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002
        """Return whether there is room for one more connection."""
        limit = self.ae.maximum_associations + SPARE_CONNECTIONS
        if len(self.active_associations) + len(self._shaking) < limit:
            return True
        log.warning("connection_refused", address=str(client_address[0]), limit=limit)
        return False

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Log that a connection could not be served; the base class prints a traceback."""
        error = sys.exception()
        log.error(
            "connection_failed",
            address=str(client_address[0]),
            error=error_name(error) if error is not None else "",
        )

    def stop_accepting(self) -> None:
        """Close the port; open associations go on."""
        socketserver.BaseServer.shutdown(self)
        self.server_close()
