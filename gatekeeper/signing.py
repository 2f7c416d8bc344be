"""Signing: one Ed25519 key of the site's own, and envelopes that any DSSE tool can verify.

The private key is a PEM file that its owner alone may read. Beside it lies a public key for each
private one that there ever was, by its id, so that what was signed before a change of keys stays
verifiable. An envelope is a DSSE one (Dead Simple Signing Envelope, v1.0.2): the signature covers
the type and the exact bytes of the payload, so nothing depends on how JSON is written.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from gatekeeper.errors import ConfigurationError, GatekeeperError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

KEY = "records.signing_key"
"""The setting that names the private key's file."""


class SignatureRefusedError(GatekeeperError):
    """An envelope is not what was signed, or was not signed by a known key."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A payload with its signature in base64."""

    payload: bytes
    key_id: str
    signature: str


class SigningKey:
    """The site's private key.

    Args:
        private: the key.
    """

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.key_id = key_id(private.public_key())

    @classmethod
    def read(cls, path: Path) -> SigningKey | None:
        """Return the key in `path`, or None when there is no such file.

        Raises:
            ConfigurationError: if others may read it, or it is no Ed25519 key.
        """
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            if path.stat().st_mode & 0o077:
                raise ConfigurationError(KEY, f"{path}: others may read it: chmod 600")
            found = load_pem_private_key(path.read_bytes(), None)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError):
            raise ConfigurationError(KEY, f"{path}: not a private key in PEM form") from None
        if not isinstance(found, Ed25519PrivateKey):
            raise ConfigurationError(KEY, f"{path}: not an Ed25519 key")
        return cls(found)

    @classmethod
    def make(cls, path: Path) -> SigningKey:
        """Write a new key to `path` and its public key beside it.

        Raises:
            FileExistsError: if there is one already.
            OSError: if it cannot be written.
        """
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            NoEncryption,
            PrivateFormat,
            PublicFormat,
        )

        private = Ed25519PrivateKey.generate()
        made = cls(private)
        path.parent.mkdir(parents=True, exist_ok=True)
        public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        _write(_public_path(path, made.key_id), public, 0o644)
        secret = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        _write(path, secret, 0o600)
        return made

    def sign(self, payload: bytes, payload_type: str) -> Signed:
        """Return the payload signed."""
        signature = self._private.sign(_encoded(payload, payload_type))
        return Signed(payload, self.key_id, base64.b64encode(signature).decode())


def key_id(public: Ed25519PublicKey) -> str:
    """Return the id of a public key: SHA-256 of its 32 bytes, in hexadecimal."""
    return hashlib.sha256(public.public_bytes_raw()).hexdigest()


def public_keys(private: Path) -> dict[str, Ed25519PublicKey]:
    """Return every public key that lies beside the private one, by id.

    Raises:
        ConfigurationError: naming a file that is no Ed25519 public key.
    """
    found = sorted(private.parent.glob(f"{private.stem}-*.pub.pem"))
    return {key_id(key): key for key in map(read_public, found)}


def read_public(path: Path) -> Ed25519PublicKey:
    """Return the public key in a PEM file.

    Raises:
        ConfigurationError: if there is none, or no Ed25519 one.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        found = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError):
        raise ConfigurationError(KEY, f"{path}: not a public key in PEM form") from None
    if not isinstance(found, Ed25519PublicKey):
        raise ConfigurationError(KEY, f"{path}: not an Ed25519 key")
    return found


def verify(signed: Signed, payload_type: str, keys: Mapping[str, Ed25519PublicKey]) -> None:
    """Return when the payload is what a known key signed.

    Raises:
        SignatureRefusedError: naming what is wrong.
    """
    from cryptography.exceptions import InvalidSignature

    key = keys.get(signed.key_id)
    if key is None:
        raise SignatureRefusedError(f"signed by a key that is not known: {signed.key_id[:16]}")
    try:
        signature = base64.b64decode(signed.signature, validate=True)
        key.verify(signature, _encoded(signed.payload, payload_type))
    except (InvalidSignature, binascii.Error):
        raise SignatureRefusedError("the signature is not that of this document") from None


def envelope(signed: Iterable[Signed], payload_type: str) -> list[dict[str, Any]]:
    """Return DSSE envelopes."""
    return [
        {
            "payloadType": payload_type,
            "payload": base64.b64encode(one.payload).decode(),
            "signatures": [{"keyid": one.key_id, "sig": one.signature}],
        }
        for one in signed
    ]


def read_envelopes(text: str, payload_type: str) -> list[Signed]:
    """Return what a file of envelopes holds, not verified.

    Raises:
        SignatureRefusedError: if it is no list of DSSE envelopes of this type.
    """
    try:
        found = cast("list[dict[str, Any]]", json.loads(text))
        if any(one["payloadType"] != payload_type for one in found):
            raise SignatureRefusedError(f"not a list of envelopes of type {payload_type}")
        return [
            Signed(
                base64.b64decode(one["payload"], validate=True),
                str(one["signatures"][0]["keyid"]),
                str(one["signatures"][0]["sig"]),
            )
            for one in found
        ]
    except (ValueError, KeyError, TypeError, IndexError):
        raise SignatureRefusedError("not a list of DSSE envelopes in JSON") from None


def _encoded(payload: bytes, payload_type: str) -> bytes:
    """Return DSSE's pre-authentication encoding."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _public_path(private: Path, identifier: str) -> Path:
    return private.with_name(f"{private.stem}-{identifier[:16]}.pub.pem")


def _write(path: Path, content: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
