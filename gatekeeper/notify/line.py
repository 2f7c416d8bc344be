"""The line to a mail server or webhook: TCP, TLS that is verified, and an end that holds.

A time-out of the library is for one call of the system, and a peer that sends a byte now and then
outlives it. So a deadline cuts the connection itself, whatever it is at.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from gatekeeper.errors import ConfigurationError, TransportError
from gatekeeper.settings import NotifySettings

# X.509 verification codes of OpenSSL (x509_vfy.h).
_UNVERIFIED = {
    9: "its certificate is not yet valid",
    10: "its certificate has expired",
    62: "its certificate is not for this host",
    64: "its certificate is not for this host",
}


class Deadline:
    """Cuts a connection after so many seconds, TLS or not; `passed` says whether it did."""

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        # Another handle of the same connection: TLS takes the first one over.
        self._handle = connection.dup()
        self._seconds = seconds
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True
        self.passed = False

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        self._timer.join()
        self._handle.close()
        # What was done before the cut stands.
        if self.passed and isinstance(error, Exception):
            raise TransportError(f"no answer within {self._seconds:g} s") from None

    def _cut(self) -> None:
        self.passed = True
        with contextlib.suppress(OSError):
            self._handle.shutdown(socket.SHUT_RDWR)


def connect(host: str, port: int, settings: NotifySettings) -> socket.socket:
    """Return a TCP connection.

    Raises:
        TransportError: naming the operating system's reason.
    """
    try:
        connection = socket.create_connection((host, port), timeout=settings.connect_timeout)
    except (OSError, UnicodeError) as error:
        raise TransportError(f"no connection to {host}:{port}: {reason(error)}") from None
    connection.settimeout(settings.attempt_seconds)
    return connection


def tls_context(settings: NotifySettings) -> ssl.SSLContext:
    """Return what TLS is spoken with: 1.2 or 1.3, certificate and host verified.

    Raises:
        ConfigurationError: if ``notify.ca`` cannot be used.
    """
    if settings.ca and not Path(settings.ca).is_file():
        raise ConfigurationError("notify.ca", f"{settings.ca}: no such file")
    try:
        return ssl.create_default_context(cafile=settings.ca or None)
    except (OSError, ssl.SSLError):
        raise ConfigurationError("notify.ca", f"{settings.ca}: no certificates") from None


def reason(error: Exception) -> str:
    """Return an error of the system or of TLS in a few words, and nothing that a peer said."""
    if isinstance(error, ssl.SSLCertVerificationError):
        why = _UNVERIFIED.get(error.verify_code, "its certificate leads to no CA that is trusted")
        return f"TLS: {why}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or type(error).__name__}"
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__
