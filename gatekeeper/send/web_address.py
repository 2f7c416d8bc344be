"""The root of a DICOMweb service: an http or https URL, parsed once at the border."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from gatekeeper.errors import IdentifierError

# What RFC 3986 allows in a path; what is sent in a request line has no room for more.
_PATH = re.compile(r"(/[A-Za-z0-9._~!$&'()*+,;=:@%-]*)*")
_HOST = re.compile(r"[A-Za-z0-9._:-]+")


@dataclass(frozen=True, slots=True)
class WebAddress:
    """Where a DICOMweb service is.

    Attributes:
        secure: whether it is called by https.
        host: name or address.
        port: TCP port.
        path: of the service's root, without a slash at the end.
    """

    secure: bool
    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, text: str) -> WebAddress:
        """Return the address that a URL names.

        Raises:
            IdentifierError: naming what the URL has or lacks.
        """
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            raise IdentifierError(f"{text}: not a URL") from None
        if parts.scheme not in {"http", "https"}:
            raise IdentifierError(f"{text}: not an http or https URL")
        if parts.username is not None or parts.password is not None:
            raise IdentifierError(
                "a URL must not hold a name or password: they belong in send.web_credentials"
            )
        if parts.query or parts.fragment:
            raise IdentifierError(f"{text}: the root of a service has no query and no fragment")
        host = parts.hostname or ""
        if not _HOST.fullmatch(host) or not _PATH.fullmatch(parts.path):
            raise IdentifierError(f"{text}: not a URL of plain host and path")
        secure = parts.scheme == "https"
        return cls(secure, host, port or (443 if secure else 80), parts.path.rstrip("/"))

    @property
    def loopback(self) -> bool:
        """Whether nothing that is sent there leaves this machine."""
        return self.host in {"127.0.0.1", "::1", "localhost"}
