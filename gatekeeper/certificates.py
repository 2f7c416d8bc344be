"""Certificates as facts: whose, until when, and which rule of ours a file breaks.

A certificate is known by its fingerprint, the SHA-256 of its DER form. Of a private key nothing is
read here but its file's mode. The library that parses X.509 is imported when a certificate is
read, so that a site without TLS pays nothing for it.
"""

from __future__ import annotations

import re
import stat
import time
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from gatekeeper.errors import ConfigurationError, IdentifierError
from gatekeeper.identifiers import Digest
from gatekeeper.settings import TlsSettings

if TYPE_CHECKING:
    from cryptography import x509

_DAY_SECONDS = 86400.0
_TOLD_AT_DAYS = (0, 1, 3, 7, 14)
"""Under each of these many days left, people are told once more."""
_LARGEST_FILE = 1024 * 1024
_FINGERPRINT = re.compile(r"(?:sha-?256)?(?: fingerprint)?[ =]*([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate says.

    Attributes:
        fingerprint: SHA-256 of its DER form.
        subject: its subject as RFC 4514 writes it.
        names: host names and addresses of its subject alternative name.
        not_before: start of its validity, seconds since 1970-01-01 UTC.
        not_after: end of its validity.
    """

    fingerprint: Digest
    subject: str
    names: tuple[str, ...]
    not_before: float
    not_after: float

    def days_left(self, now: float) -> float:
        """Return the days of validity left; negative once it has expired."""
        return (self.not_after - now) / _DAY_SECONDS

    def problem(self, now: float) -> str | None:
        """Return why it is not valid now, or None."""
        if now < self.not_before:
            return f"not valid before {_moment(self.not_before)}"
        if now > self.not_after:
            return f"expired on {_moment(self.not_after)}"
        return None


@dataclass(frozen=True, slots=True)
class Presented:
    """What a peer showed in a TLS handshake, verified up to a CA of ours.

    Attributes:
        fingerprint: SHA-256 of its certificate; empty when it presented none.
        names: host names and addresses of its subject alternative name.
    """

    fingerprint: str = ""
    names: frozenset[str] = field(default_factory=frozenset[str])

    def is_for(self, host: str) -> bool:
        """Return whether the certificate names `host`, a name or an address, itself.

        A wildcard is no match: it says which domain calls, not which machine.
        """
        wanted = _comparable(host)
        return any(_comparable(name) == wanted for name in self.names)


@dataclass(frozen=True, slots=True)
class Expiry:
    """A certificate in use and the setting that names it."""

    key: str
    certificate: Certificate
    days: int


def stage(expiry: Expiry) -> str:
    """Return the certificate and how near its end is: new when people are to be told again."""
    near = next((str(days) for days in _TOLD_AT_DAYS if expiry.days < days), "soon")
    return f"{expiry.certificate.fingerprint}:{near}"


def fingerprint(der: bytes) -> Digest:
    """Return the SHA-256 of a certificate in DER."""
    return Digest.of(der)


def parse_fingerprint(text: str) -> Digest:
    """Return a fingerprint written in any of the usual ways: colons, capitals, a SHA256 prefix.

    Raises:
        IdentifierError: if it is not a SHA-256.
    """
    found = _FINGERPRINT.fullmatch(text.strip().lower().replace(":", ""))
    if found is None:
        raise IdentifierError("not a fingerprint: 64 hexadecimal digits of SHA-256")
    return Digest(found[1])


def read(path: Path, key: str) -> list[Certificate]:
    """Return the certificates of a PEM file in their order.

    Args:
        path: the file.
        key: setting that names it, for the error.

    Raises:
        ConfigurationError: if the file cannot be read or holds no certificate.
    """
    try:
        content = path.read_bytes()[:_LARGEST_FILE]
    except OSError as error:
        raise ConfigurationError(key, f"{path}: {error.strerror or 'cannot be read'}") from None
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificates(content)
    except ValueError:
        raise ConfigurationError(key, f"{path}: no PEM certificate") from None
    return [_certificate(item) for item in found]


def key_problem(path: Path) -> str | None:
    """Return why the file of a private key is not safe, or None.

    The rule is PostgreSQL's: its owner alone reads it, or root owns it and a group may read it.

    Raises:
        OSError: if there is no such file.
    """
    facts = path.stat()
    allowed = stat.S_IRWXU | (stat.S_IRGRP if facts.st_uid == 0 else 0)
    if stat.S_IMODE(facts.st_mode) & ~allowed:
        return f"others may read {path}: chmod 600"
    return None


def in_use(settings: TlsSettings, now: float | None = None) -> list[Expiry]:
    """Return our certificate and those of the CAs, with the whole days left of each.

    Raises:
        ConfigurationError: if a file cannot be read.
    """
    moment = time.time() if now is None else now
    found: list[Expiry] = []
    for key, name in (("tls.certificate", settings.certificate), ("tls.ca", settings.ca)):
        if name:
            found += [
                Expiry(key, item, int(item.days_left(moment) // 1))
                for item in read(Path(name), key)
            ]
    return found


def _certificate(parsed: x509.Certificate) -> Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    names: tuple[str, ...] = ()
    try:
        extension = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        names = ()
    else:
        names = (
            *extension.value.get_values_for_type(x509.DNSName),
            *(str(one) for one in extension.value.get_values_for_type(x509.IPAddress)),
        )
    return Certificate(
        fingerprint=fingerprint(parsed.public_bytes(Encoding.DER)),
        subject=parsed.subject.rfc4514_string(),
        names=names,
        not_before=parsed.not_valid_before_utc.timestamp(),
        not_after=parsed.not_valid_after_utc.timestamp(),
    )


def _comparable(host: str) -> str:
    try:
        return str(ip_address(host))
    except ValueError:
        return host.rstrip(".").lower()


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
