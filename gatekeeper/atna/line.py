"""The line to an audit repository: a batch over one TLS connection, or datagrams.

Syslog has no answer. Over TLS, a batch counts as taken once the repository has ended the
connection after us: whoever ends it in an orderly way has read to our close_notify (RFC 5425 4.4,
RFC 8446 6.1). A connection that is reset, or does not end in time, leaves the batch to be sent
again, so that a message arrives at least once. Over UDP, a message counts as sent once the system
has taken it.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Sequence

from gatekeeper.atna.syslog import counted
from gatekeeper.certificates import parse_fingerprint
from gatekeeper.errors import IdentifierError, TransportError
from gatekeeper.notify.line import Deadline
from gatekeeper.settings import AuditSettings
from gatekeeper.tls import Credentials, reason, say_goodbye

_CHUNK = 4096
_MARGIN_SECONDS = 5.0
_MOST_BYTES = 1024 * 1024
"""Of what a repository says, which nobody wants to hear."""


def send(messages: Sequence[bytes], audit: AuditSettings, credentials: Credentials) -> None:
    """Hand messages to the repository, all of them or none for certain.

    Args:
        messages: as `syslog.line` makes them.
        audit: where to.
        credentials: of ``[tls]``.

    Raises:
        TransportError: if the repository has not taken them; it may have some.
    """
    if audit.protocol == "udp":
        _datagrams(messages, audit)
    else:
        _stream(messages, audit, credentials)


def _datagrams(messages: Sequence[bytes], audit: AuditSettings) -> None:
    try:
        found = socket.getaddrinfo(audit.host, audit.port, type=socket.SOCK_DGRAM)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as channel:
            channel.settimeout(audit.connect_timeout)
            channel.connect(address)
            for message in messages:
                channel.send(message)
            # A port that nobody listens on may have told so meanwhile (ICMP).
            trouble = channel.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if trouble:
                raise OSError(trouble, "nobody listens there")
    except (OSError, UnicodeError) as error:
        text = getattr(error, "strerror", None) or type(error).__name__
        raise TransportError(f"not sent to {audit.host}:{audit.port} by UDP: {text}") from None


def _stream(messages: Sequence[bytes], audit: AuditSettings, credentials: Credentials) -> None:
    where = f"{audit.host}:{audit.port}"
    try:
        certificate = parse_fingerprint(audit.certificate) if audit.certificate else ""
    except IdentifierError as error:
        raise TransportError(f"audit.certificate: {error}") from None
    try:
        connection = socket.create_connection((audit.host, audit.port), audit.connect_timeout)
    except (OSError, UnicodeError) as error:
        text = getattr(error, "strerror", None) or type(error).__name__
        raise TransportError(f"no connection to {where}: {text}") from None
    try:
        with Deadline(connection, audit.attempt_seconds) as deadline:
            # The deadline comes first, whatever the connection is at.
            connection.settimeout(audit.attempt_seconds + _MARGIN_SECONDS)
            secured = credentials.call_host(connection, audit.host, certificate, strict_end=True)
            connection = secured
            try:
                secured.sendall(b"".join(counted(one) for one in messages))
                ended = end(secured)
                # A connection that was cut looks like one that ended.
                if deadline.passed:
                    raise TimeoutError
            except (OSError, ValueError) as error:
                raise TransportError(f"{where}: TLS: {reason(error)}") from None
            if audit.close_notify and not ended:
                raise TransportError(
                    f"{where}: the repository ended the connection without close_notify, or before "
                    "ours (RFC 5425 4.4), so that nobody knows what it has; audit.close_notify = "
                    "false trusts it"
                )
    finally:
        connection.close()


def end(secured: ssl.SSLSocket) -> bool:
    """Say that nothing more comes, and wait for the end of what the repository says.

    Args:
        secured: made with ``strict_end``.

    Returns:
        Whether it ended with close_notify after us; False when the connection just ended, or
        before it can have read our end.

    Raises:
        OSError: if it does not end, or the repository says that it refuses us.
    """
    usual = secured.gettimeout()
    secured.settimeout(0)
    try:
        # What it has said already would, unread, be an error of the farewell.
        with contextlib.suppress(ssl.SSLWantReadError):
            _hear_out(secured)
            return False
        # Returns if the repository was quick; else its end is read below, behind what else comes.
        with contextlib.suppress(ssl.SSLWantReadError):
            say_goodbye(secured)
            return True
        secured.settimeout(usual)
        with contextlib.suppress(ssl.SSLZeroReturnError):
            _hear_out(secured)
    except ssl.SSLEOFError:
        return False
    return True


def _hear_out(secured: ssl.SSLSocket) -> None:
    """Read to the end; it is one in order when nothing is raised."""
    heard = 0
    while data := secured.recv(_CHUNK):
        heard += len(data)
        if heard > _MOST_BYTES:
            raise ConnectionError("the repository does not stop talking")
