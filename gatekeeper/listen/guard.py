"""Bounds that stock pynetdicom lacks, put around it from outside.

- A PDU longer than a limit closes the connection before it is buffered (`connection`, `pdata`).
- A PDU, header included, that is not complete within a deadline closes the connection; so does an
  association request, and a message that takes too long (`connection`, `provider`).
- Objects, other requests and associations have a byte budget (`messages`).
- A connection that closes before it asks for anything frees its thread at once.
- A peer that does not take our bytes is given up after the network time-out.
- Connections beyond a limit, of one host or of all, are closed before they cost a thread.
- Answers leave at once (TCP_NODELAY).
- A TLS handshake runs in the connection's own thread, and counts as a connection meanwhile.

One private method of pynetdicom is overridden here (`_create_association`), more in `provider`;
tests hold them in place.
"""

from __future__ import annotations

import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.transport import AssociationServer, AssociationSocket, RequestHandler

from gatekeeper.listen.connection import BoundedSocket
from gatekeeper.listen.provider import GuardedAssociation, Reception
from gatekeeper.listen.seats import OwnSeats, Seats
from gatekeeper.listen.share import SharedPort
from gatekeeper.log import error_name, get_logger
from gatekeeper.tls import TlsError

BACKLOG = 128
_TELL_AGAIN_SECONDS = 1.0

log = get_logger()


@dataclass(frozen=True, slots=True)
class Caps:
    """Connections open at once.

    Attributes:
        total: of all hosts.
        per_host: of one address.
    """

    total: int
    per_host: int


class Connections:
    """The connections that are open, counted by host.

    Args:
        caps: how many may be.
        seats: where they are counted, `Caps.total` of them; None to count them here.
    """

    def __init__(self, caps: Caps, seats: Seats | None = None) -> None:
        self._caps = caps
        self._seats = OwnSeats(caps.total) if seats is None else seats
        self._lock = threading.Lock()
        self._refused = 0
        self._told = float("-inf")

    def admit(self, host: str) -> bool:
        """Count one more connection of `host` and return True, unless there are too many."""
        limit = self._seats.take(host, self._caps.per_host)
        if not limit:
            return True
        with self._lock:
            self._refused += 1
            now = time.monotonic()
            # A flood must not fill the log.
            refused = self._refused if now - self._told >= _TELL_AGAIN_SECONDS else 0
            if refused:
                self._refused, self._told = 0, now
        if refused:
            log.warning("connection_refused", address=host, limit=limit, count=refused)
        return False

    def leave(self, host: str) -> None:
        """Count one connection of `host` less."""
        self._seats.leave(host)


class GuardedHandler(RequestHandler):
    """Makes the association of a connection and starts its thread."""

    def handle(self) -> None:
        """Start the association; the connection counts until the association's thread ends."""
        association = self._create_association()
        evt.trigger(association, evt.EVT_CONN_OPEN, {"address": self.client_address})
        association.start()

    def _create_association(self) -> Association:
        """Do what the overridden method does, with our own association and socket."""
        server, entity = cast(GuardedServer, self.server), self.ae
        host = str(self.client_address[0])
        association = GuardedAssociation(
            server,
            server.reception,
            prepare=server.prepare,
            ended=lambda: server.connections.leave(host),
        )
        # The server knows its associations by this name.
        association.name = "AcceptorThread"
        association.set_socket(
            BoundedSocket.around(AssociationSocket(association, client_socket=self.request))
        )
        acceptor = association.acceptor
        acceptor.maximum_length = entity.maximum_pdu_size
        acceptor.ae_title = server.ae_title
        acceptor.address_info = self.local
        acceptor.implementation_class_uid = entity.implementation_class_uid
        acceptor.implementation_version_name = entity.implementation_version_name
        # Negotiation only reads them; a copy for each association would take 6 to 8 ms.
        acceptor.supported_contexts = server.contexts
        association.requestor.address_info = self.remote
        for event in server.get_events():
            bound: Any = server.get_handlers(event)
            for handler, arguments in [bound] if event.is_intervention else bound:
                association.bind(event, handler, arguments)
        return association


class GuardedServer(AssociationServer):
    """Accepts connections, up to the caps; each is served by threads of its own.

    Args:
        arguments: those of pynetdicom's server.
        reception: what associations do with what they receive.
        connections: counts those that are open; servers may share it.
        shared: the port, when other processes accept from it, too; None to open one of our own.
        keywords: those of pynetdicom's server.
    """

    request_queue_size = BACKLOG

    secure: Callable[[socket.socket], socket.socket] | None = None
    """Shakes hands by TLS on an accepted connection, in its thread; None on a plain port."""
    refused: Callable[[str, str], None] | None = None
    """Told the address and the rule of a failed handshake; None for nobody."""

    def __init__(
        self,
        *arguments: Any,
        reception: Reception,
        connections: Connections,
        shared: SharedPort | None = None,
        **keywords: Any,
    ) -> None:
        self.reception = reception
        self.connections = connections
        self._shared = shared
        super().__init__(*arguments, **keywords)

    def server_bind(self) -> None:
        """Open the port, or take up the one that is shared."""
        if self._shared is None:
            super().server_bind()
            return
        cast(socket.socket, self.socket).close()
        self.socket = self._shared.socket
        self.server_address = self._shared.socket.getsockname()

    def server_close(self) -> None:
        """Close the port; shared, it stays open for the others."""
        if self._shared is None:
            super().server_close()
        else:
            self._shared.socket.close()

    def prepare(self, association: GuardedAssociation) -> bool:
        """Make the association's connection ready, by TLS on a secured port; return whether it is.

        Called in the connection's own thread, before anything is read.
        """
        bounded = cast(BoundedSocket, association.dul.socket)
        if self.secure is None or bounded.socket is None:
            return True
        address = association.provider.address
        try:
            bounded.socket = self.secure(bounded.socket)
        except TlsError as error:
            log.warning("connection_refused", address=address, reason=str(error))
            if self.refused is not None:
                self.refused(address, str(error))
            return False
        return True

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Return the next connection, ready for use.

        Raises:
            BlockingIOError: if another process that shares the port took it.
        """
        if self._shared is not None:
            self._shared.give_way()
        connection, address = cast(socket.socket, self.socket).accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(self.ae.network_timeout)
        return connection, address

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002
        """Return whether there is room for one more connection, and count it."""
        return self.connections.admit(str(client_address[0]))

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start the threads of a connection."""
        try:
            self.finish_request(request, client_address)
        except BaseException:
            self.connections.leave(str(client_address[0]))
            raise

    def service_actions(self) -> None:
        """Leave out the base class's collection of garbage, 50 ms now and then."""

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
