"""Where a channel leads: a URL or an e-mail address, parsed or refused once, at the edge."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from gatekeeper.errors import ConfigurationError

# ASCII alone and nothing that could end a header (RFC 5321 4.1.2, without quoted local parts).
_MAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PRINTABLE = re.compile(r"[\x21-\x7e]{1,2000}")


@dataclass(frozen=True, slots=True)
class Target:
    """A webhook's URL in its parts."""

    host: str
    port: int
    path: str
    tls: bool


def channel_name(text: str) -> str:
    """Return the name of a channel.

    Raises:
        ConfigurationError: if it is not one.
    """
    if not _NAME.fullmatch(text):
        raise ConfigurationError("name", "1 to 64 letters, digits, '.', '_' or '-'")
    return text


def mail_address(text: str, key: str = "--email") -> str:
    """Return one e-mail address.

    Raises:
        ConfigurationError: naming `key`, if it is not one.
    """
    if not _MAIL.fullmatch(text):
        raise ConfigurationError(key, "not one e-mail address, such as mri@hospital.example")
    return text


def webhook_target(url: str, plain_hosts: tuple[str, ...]) -> Target:
    """Return the parts of a webhook's URL.

    Args:
        url: ``https://HOST[:PORT]/PATH``.
        plain_hosts: hosts that may be called by http.

    Raises:
        ConfigurationError: naming the rule that it breaks.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ConfigurationError("webhook", "not a URL") from None
    if not _PRINTABLE.fullmatch(url) or parts.scheme not in ("http", "https") or not host:
        raise ConfigurationError("webhook", "not a URL such as https://HOST/PATH")
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError("webhook", "no user and no password in a URL: it is shown")
    if parts.scheme == "http" and host not in {one.lower() for one in plain_hosts}:
        raise ConfigurationError("webhook", "https alone; notify.plain_hosts names exceptions")
    tls = parts.scheme == "https"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(host, port or (443 if tls else 80), path, tls)
