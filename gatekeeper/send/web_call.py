"""One HTTP request to a DICOMweb node and its answer, with a deadline for the whole.

The body is sent as it is read, so memory does not grow with it. TLS is the house's own, verified
as for DICOM (`gatekeeper.tls`); redirects are not followed, since what we send is for this node
alone; credentials never go out in plain text.
"""

from __future__ import annotations

import contextlib
import datetime
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from gatekeeper.errors import ConfigurationError, TransportError
from gatekeeper.send.web_address import WebAddress
from gatekeeper.send.web_credentials import credential_of
from gatekeeper.settings import SendSettings
from gatekeeper.tls import Credentials, TlsError, reason
from storage.records import Node

_EARLY_ANSWER_SECONDS = 5.0
"""Wait for the answer of a node that closed before it had the whole body."""


@dataclass(frozen=True, slots=True)
class Body:
    """The body of a request.

    Attributes:
        kind: its Content-Type.
        size: in bytes.
        blocks: the bytes; reading them may raise.
    """

    kind: str
    size: int
    blocks: Iterable[bytes]


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a request.

    Attributes:
        status: HTTP status.
        body: what it says, None when that is over ``send.stow_answer_mib``.
        retry_after: seconds that the node asks us to wait, None when it does not.
    """

    status: int
    body: bytes | None
    retry_after: float | None = None


class UnreadableBody(Exception):
    """Raised by a body's blocks: what was to be sent cannot be read."""


def call(
    node: Node,
    method: str,
    target: str,
    settings: SendSettings,
    credentials: Credentials | None,
    body: Body | None = None,
) -> Reply:
    """Send a request to a node's DICOMweb service and return the answer.

    Args:
        node: whom to call; `Node.url` is the root of its service.
        method: ``GET`` or ``POST``.
        target: path and query below the root.
        settings: time-outs and limits.
        credentials: for https.
        body: what to send, if anything.

    Raises:
        TransportError: if the node cannot be reached, does not answer in time, or what we would
            show it cannot be used.
        UnreadableBody: as the body raised it; the connection is closed.
    """
    address = WebAddress.parse(node.url)
    headers = {
        "Accept": "application/dicom+json",
        "User-Agent": "Gatekeeper",
        "Connection": "close",
        **_authorization(node, address, settings),
    }
    if body is not None:
        headers |= {"Content-Type": body.kind, "Content-Length": str(body.size)}
    connection = _Connection(node, address, settings, credentials)
    try:
        with _guarded(connection, settings.object_seconds + settings.stow_answer_seconds):
            return _exchange(connection, method, address.path + target, headers, body, settings)
    finally:
        connection.close()


class _Connection(http.client.HTTPConnection):
    """A connection by the house's TLS, or plain."""

    def __init__(
        self,
        node: Node,
        address: WebAddress,
        settings: SendSettings,
        credentials: Credentials | None,
    ) -> None:
        super().__init__(address.host, address.port)
        self._node = node
        self._secure = address.secure
        self._settings = settings
        self._credentials = credentials
        self.late = False
        """Set when the deadline was over."""

    def connect(self) -> None:
        """Connect; called by the library once a request begins.

        Raises:
            TransportError: naming the reason.
        """
        try:
            plain = socket.create_connection((self.host, self.port), self._settings.connect_timeout)
        except (OSError, UnicodeError) as error:
            raise TransportError(
                f"no connection to {self.host}:{self.port}: {_named(error)}"
            ) from None
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self._secure:
            self.sock = plain
        elif self._credentials is None:
            plain.close()
            raise TlsError("TLS: the node is called by https, and no TLS is set up here")
        else:
            self.sock = self._credentials.call(plain, self._node)
        self.sock.settimeout(self._settings.network_timeout)

    def cut(self) -> None:
        """End the connection under whoever waits for it."""
        self.late = True
        if isinstance(self.sock, socket.socket):
            with contextlib.suppress(OSError):
                # The method of SSLSocket would go on in plain text.
                socket.socket.shutdown(self.sock, socket.SHUT_RDWR)


@contextlib.contextmanager
def _guarded(connection: _Connection, seconds: float) -> Generator[None]:
    """Cut the connection at the deadline, and put every loss of it in our own words."""
    guard = threading.Timer(seconds, connection.cut)
    guard.daemon = True
    guard.start()
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        why = f"over the deadline of {seconds:g} s" if connection.late else _named(error)
        raise TransportError(f"lost the connection to {connection.host}: {why}") from None
    finally:
        guard.cancel()


def _exchange(
    connection: _Connection,
    method: str,
    target: str,
    headers: Mapping[str, str],
    body: Body | None,
    settings: SendSettings,
) -> Reply:
    connection.putrequest(method, target)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    patience = settings.stow_answer_seconds
    try:
        for block in () if body is None else body.blocks:
            connection.send(block)
    except OSError:
        # It may have refused before it had everything; then its reason is there to be read.
        patience = _EARLY_ANSWER_SECONDS
    connection.sock.settimeout(patience)
    answer = connection.getresponse()
    limit = settings.stow_answer_mib << 20
    data = answer.read(limit + 1)
    return Reply(
        answer.status,
        data if len(data) <= limit else None,
        _seconds(answer.getheader("Retry-After")),
    )


def _authorization(node: Node, address: WebAddress, settings: SendSettings) -> dict[str, str]:
    try:
        credential = credential_of(node.ae_title, settings.web_credentials)
    except ConfigurationError as error:
        raise TransportError(str(error)) from None
    if credential is None:
        return {}
    if not address.secure:
        raise TransportError("credentials are set for the node, and its URL is not https")
    return {"Authorization": credential.header}


def _seconds(text: str | None) -> float | None:
    """Return the seconds of a Retry-After header (RFC 9110 10.2.3)."""
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return max(0.0, moment.timestamp() - time.time())


def _named(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {reason(error)}"
    if isinstance(error, http.client.RemoteDisconnected):
        return "it closed without an answer"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"no HTTP ({type(error).__name__})"
