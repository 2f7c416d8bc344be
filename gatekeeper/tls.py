"""TLS around a DICOM connection: contexts from the settings, handshakes that end, plain reasons.

The profile is PS3.15 B.12 (BCP 195: RFC 8996, RFC 9325): TLS 1.2 and 1.3, the four cipher suites
that RFC 9325 4.2 recommends for 1.2, no compression, no renegotiation, no session tickets. A peer's
certificate always leads to a CA of ours; a fingerprint entered for a node narrows that to one
certificate and never widens it. Nothing here falls back to plain text.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path

from gatekeeper import certificates
from gatekeeper.certificates import Presented
from gatekeeper.errors import ConfigurationError, TransportError
from gatekeeper.log import error_name, get_logger
from gatekeeper.settings import TlsSettings
from storage.records import Node

CIPHER_SUITES = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
)
"""OpenSSL's names of RFC 9325 4.2; TLS 1.3 has suites of its own, all of them taken."""

_OPTIONS = (
    ssl.OP_NO_COMPRESSION
    | ssl.OP_NO_RENEGOTIATION
    | ssl.OP_NO_TICKET
    | ssl.OP_CIPHER_SERVER_PREFERENCE
)
_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

# X.509 verification codes of OpenSSL (x509_vfy.h).
_UNVERIFIED = {
    9: "the peer's certificate is not yet valid",
    10: "the peer's certificate has expired",
    18: "the peer's certificate is its own CA, and none of tls.ca",
    19: "the peer's certificate leads to no CA of tls.ca",
    20: "the peer's certificate leads to no CA of tls.ca",
    21: "the peer's certificate leads to no CA of tls.ca",
    26: "the peer's certificate is not for this use (extended key usage)",
    62: "the peer's certificate is not for the node's host",
    64: "the peer's certificate is not for the node's host",
    66: "the peer's certificate has too short a key",
    67: "the certificate of the peer's CA has too short a key",
    68: "the peer's certificate is signed with a hash that is too weak",
}
_NO_TLS = "the peer speaks no TLS"
_REFUSED = "the peer does not accept our certificate"
_FAILED = {
    "WRONG_VERSION_NUMBER": _NO_TLS,
    "HTTP_REQUEST": _NO_TLS,
    "HTTPS_PROXY_REQUEST": _NO_TLS,
    "PACKET_LENGTH_TOO_LONG": _NO_TLS,
    "RECORD_LAYER_FAILURE": _NO_TLS,
    "UNEXPECTED_MESSAGE": _NO_TLS,
    "UNSUPPORTED_PROTOCOL": "the peer speaks no version of TLS that is allowed",
    "VERSION_TOO_LOW": "the peer speaks no version of TLS that is allowed",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the peer allows no version of TLS that we speak",
    "NO_SHARED_CIPHER": "the peer speaks no cipher suite that is allowed",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the peer shares no cipher suite with us, or misses a "
    "certificate of ours",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the peer presented no certificate",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the peer wants a certificate, and none is set",
    "TLSV1_ALERT_UNKNOWN_CA": "the peer does not know the CA of our certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the peer says that our certificate has expired",
    "SSLV3_ALERT_BAD_CERTIFICATE": _REFUSED,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": _REFUSED,
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": _REFUSED,
    "TLSV1_ALERT_ACCESS_DENIED": _REFUSED,
    "TLSV1_ALERT_DECRYPT_ERROR": _REFUSED,
}

log = get_logger()


class TlsError(TransportError):
    """A handshake that failed, or a peer whose certificate is not its own; says which rule."""


class Credentials:
    """Our certificate and key and the CAs we trust, read again whenever their files change.

    A connection keeps what it was made with. Files that do not fit are reported once, and what
    was read before stays in force. Safe to call from many threads.

    Args:
        settings: which files, which versions, and how long a handshake may take.
    """

    def __init__(self, settings: TlsSettings) -> None:
        self._settings = settings
        self._server = _Fresh(lambda: server_context(settings), settings)
        self._client = _Fresh(lambda: client_context(settings, named=True), settings)
        self._pinned = _Fresh(lambda: client_context(settings, named=False), settings)

    @property
    def configured(self) -> bool:
        """Whether any file is named in the settings."""
        return self._settings.configured

    def check(self, *, server: bool) -> None:
        """Read the files, as the first handshake would.

        Raises:
            ConfigurationError: naming the setting and the rule that its file breaks.
        """
        (self._server if server else self._client).context()

    def server_context(self) -> ssl.SSLContext:
        """Return what to accept with now; for a server that makes the handshakes itself.

        Raises:
            ConfigurationError: as `check`.
        """
        return self._server.context()

    def accept(self, connection: socket.socket) -> ssl.SSLSocket:
        """Return an accepted `connection` as TLS, after the handshake.

        Its time-out is what it was. On an error it is closed.

        Raises:
            TlsError: naming the rule that the peer broke.
        """
        return self._shake(self._server, connection, None)

    def call(self, connection: socket.socket, node: Node) -> ssl.SSLSocket:
        """Return a `connection` to `node` as TLS, its certificate verified to be the node's.

        Its time-out is what it was. On an error it is closed.

        Raises:
            TlsError: naming the rule that the peer broke, or the setting that cannot be used.
        """
        return self.call_host(connection, node.host, node.certificate)

    def call_host(
        self,
        connection: socket.socket,
        host: str,
        certificate: str = "",
        *,
        strict_end: bool = False,
    ) -> ssl.SSLSocket:
        """Return a `connection` to `host` as TLS, its certificate verified.

        Its time-out is what it was. On an error it is closed.

        Args:
            connection: open, and nothing said on it.
            host: that the certificate must name.
            certificate: fingerprint of the only one that is taken, whatever it names; empty for
                any.
            strict_end: whether reading raises `ssl.SSLEOFError` where the peer ends without
                close_notify, instead of giving nothing as at an end in order.

        Raises:
            TlsError: as `call`.
        """
        if not certificate:
            return self._shake(self._client, connection, host, strict_end=strict_end)
        secured = self._shake(self._pinned, connection, host, strict_end=strict_end)
        presented = presented_on(secured)
        if presented is None or presented.fingerprint != certificate:
            secured.close()
            raise TlsError("TLS: the peer's certificate is not the one entered for the node")
        return secured

    def _shake(
        self,
        source: _Fresh,
        connection: socket.socket,
        host: str | None,
        *,
        strict_end: bool = False,
    ) -> ssl.SSLSocket:
        usual = connection.gettimeout()
        secured: ssl.SSLSocket | None = None
        try:
            secured = source.context().wrap_socket(
                connection,
                server_side=host is None,
                server_hostname=host,
                do_handshake_on_connect=False,
                suppress_ragged_eofs=not strict_end,
            )
            # Of the handshake as a whole, however many messages and pauses it has.
            secured.settimeout(self._settings.handshake_seconds)
            secured.do_handshake()
            secured.settimeout(usual)
        except BaseException as error:
            (connection if secured is None else secured).close()
            if isinstance(error, ConfigurationError):
                raise TlsError(f"TLS: {error}") from None
            if isinstance(error, (OSError, ValueError)):
                raise TlsError(f"TLS: {reason(error)}") from None
            raise
        return secured


class _Fresh:
    """A context, made again when a file of the settings has changed."""

    def __init__(self, make: Callable[[], ssl.SSLContext], settings: TlsSettings) -> None:
        self._make = make
        self._files = (settings.certificate, settings.key, settings.ca)
        self._lock = threading.Lock()
        self._context: ssl.SSLContext | None = None
        self._seen: tuple[object, ...] = ()

    def context(self) -> ssl.SSLContext:
        """Return the context of the files as they are, or as they last fitted together."""
        with self._lock:
            seen = tuple(_state(name) for name in self._files)
            if self._context is not None and seen == self._seen:
                return self._context
            renewed = self._context is not None
            try:
                self._context = self._make()
            except ConfigurationError as error:
                if self._context is None:
                    raise
                log.error("certificate_not_renewed", reason=str(error))
            else:
                if renewed:
                    log.info("certificate_renewed", path=self._files[0])
            self._seen = seen
            return self._context


def server_context(settings: TlsSettings) -> ssl.SSLContext:
    """Return the context to accept with.

    Raises:
        ConfigurationError: naming the setting and the rule that its file breaks.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _restrict(context, settings)
    context.num_tickets = 0
    if not settings.certificate:
        raise ConfigurationError("tls.certificate", "needed to accept TLS")
    _load_own(context, settings)
    if settings.ca:
        _load_trusted(context, settings)
        required = settings.require_certificate
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    elif settings.require_certificate:
        raise ConfigurationError("tls.ca", "needed to verify callers (tls.require_certificate)")
    return context


def client_context(settings: TlsSettings, *, named: bool) -> ssl.SSLContext:
    """Return the context to call with; our certificate is presented when one is set.

    Args:
        settings: which files and versions.
        named: whether the certificate must name the host; else its fingerprint is compared later.

    Raises:
        ConfigurationError: naming the setting and the rule that its file breaks.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _restrict(context, settings)
    context.hostname_checks_common_name = False
    context.check_hostname = named
    if not settings.ca:
        raise ConfigurationError("tls.ca", "needed to verify nodes that are called by TLS")
    _load_trusted(context, settings)
    if settings.certificate:
        _load_own(context, settings)
    return context


def presented_on(connection: object) -> Presented | None:
    """Return what the peer of a connection presented; None for plain text.

    Raises:
        OSError: if the connection has ended.
    """
    if not isinstance(connection, ssl.SSLSocket):
        return None
    der = connection.getpeercert(binary_form=True)
    facts = connection.getpeercert()
    if not der or not facts:
        return Presented()
    names = [str(entry[1]) for entry in facts.get("subjectAltName", ()) if len(entry) == 2]
    return Presented(certificates.fingerprint(der), frozenset(names))


def reason(error: Exception) -> str:
    """Return why TLS failed in our own words, without the library's."""
    if isinstance(error, ssl.SSLCertVerificationError):
        code = error.verify_code
        return _UNVERIFIED.get(code, f"the peer's certificate is not accepted (X.509 code {code})")
    if isinstance(error, TimeoutError):
        return "the handshake timed out"
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError)):
        return "the peer closed the connection; does it speak TLS, and trust our certificate?"
    if isinstance(error, ssl.SSLError):
        code = error.reason or "unknown"
        return _FAILED.get(code, f"it failed ({code.lower().replace('_', ' ')})")
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"it failed ({error_name(error)})"


def say_goodbye(connection: socket.socket) -> None:
    """Send TLS's own end of the connection, if there is room for it at once; wait for nothing.

    Raises:
        OSError: nearly always, as the peer's own end is not waited for.
    """
    if isinstance(connection, ssl.SSLSocket):
        connection.settimeout(0)
        connection.unwrap()


def _restrict(context: ssl.SSLContext, settings: TlsSettings) -> None:
    context.minimum_version = _VERSIONS[settings.minimum_version]
    context.options |= _OPTIONS
    # Level 2: keys of at least 112 bits of strength (RSA 2048), no SHA-1 (RFC 9325 4.5).
    context.set_ciphers(":".join(("@SECLEVEL=2", *CIPHER_SUITES)))


def _load_own(context: ssl.SSLContext, settings: TlsSettings) -> None:
    """Load our certificate and key once both are fit to be used."""
    if not settings.key:
        raise ConfigurationError("tls.key", "needed with tls.certificate")
    own = certificates.read(Path(settings.certificate), "tls.certificate")[0]
    problem = own.problem(time.time())
    if problem is not None:
        raise ConfigurationError("tls.certificate", f"{settings.certificate}: {problem}")
    try:
        problem = certificates.key_problem(Path(settings.key))
        if problem is not None:
            raise ConfigurationError("tls.key", problem)
        context.load_cert_chain(settings.certificate, settings.key, password=_no_passphrase)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigurationError("tls.key", "not the key of tls.certificate") from None
        raise ConfigurationError(
            "tls.key", f"no PEM private key, or of too little strength: {settings.key}"
        ) from None
    except OSError as error:
        raise ConfigurationError(
            "tls.key", f"{settings.key}: {error.strerror or 'cannot be read'}"
        ) from None


def _load_trusted(context: ssl.SSLContext, settings: TlsSettings) -> None:
    certificates.read(Path(settings.ca), "tls.ca")
    try:
        context.load_verify_locations(settings.ca)
    except (ssl.SSLError, OSError):
        raise ConfigurationError("tls.ca", f"{settings.ca}: no PEM certificates") from None


def _no_passphrase() -> str:
    """Refuse to ask: nobody sits at a service's terminal."""
    raise ConfigurationError("tls.key", "has a passphrase; a service needs it without")


def _state(name: str) -> tuple[int, int, int] | None:
    """Return what changes when a file is replaced or written, None when it is not there."""
    try:
        facts = Path(name).stat()
    except OSError:
        return None
    return facts.st_ino, facts.st_mtime_ns, facts.st_size
