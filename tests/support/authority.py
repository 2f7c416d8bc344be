"""A certificate authority for tests, and the files that it hands out."""

from __future__ import annotations

import dataclasses
import hashlib
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme

from gatekeeper.settings import TlsSettings


@dataclass(frozen=True)
class Identity:
    """A certificate and its key as files."""

    certificate: Path
    key: Path

    @property
    def fingerprint(self) -> str:
        der = ssl.PEM_cert_to_DER_cert(self.certificate.read_text())
        return hashlib.sha256(der).hexdigest()

    def write(self, issued: trustme.LeafCert) -> None:
        """Put another certificate and key in place of these."""
        issued.cert_chain_pems[0].write_to_path(str(self.certificate))
        issued.private_key_pem.write_to_path(str(self.key))
        self.key.chmod(0o600)


class Authority:
    """A CA that issues certificates into a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._ca = trustme.CA()
        self._issued = 0
        self.file = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.file))

    def leaf(self, *names: str, **dates: Any) -> trustme.LeafCert:
        """Issue a certificate for `names`, by default valid for a year and more."""
        return self._ca.issue_cert(*names, **dates)

    def issue(self, *names: str, **dates: Any) -> Identity:
        """Issue a certificate into files of its own."""
        self._issued += 1
        stem = self._folder / str(self._issued)
        identity = Identity(stem.with_suffix(".crt"), stem.with_suffix(".key"))
        identity.write(self.leaf(*names, **dates))
        return identity

    def settings(self, identity: Identity, **more: Any) -> TlsSettings:
        """Return settings that present `identity` and trust this authority."""
        settings = TlsSettings(
            certificate=str(identity.certificate), key=str(identity.key), ca=str(self.file)
        )
        return dataclasses.replace(settings, **more)
