"""Uid, AeTitle and Digest: parsed or refused once, at the edge.

All three are `str`, so that they go wherever text goes; having one in hand means it was checked.
"""

from __future__ import annotations

import re
import uuid
from typing import Self

from gatekeeper.errors import IdentifierError
from storage.spool import Digest

__all__ = ["AeTitle", "Digest", "Uid"]

_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*")
# AE: 16 characters of the default repertoire without backslash and control characters (PS3.5 6.2).
_AE_TITLE = re.compile(r"[\x20-\x5b\x5d-\x7e]{1,16}")


class Uid(str):
    """A DICOM unique identifier (PS3.5 section 9.1): at most 64 of ``0-9.``, no leading zeros."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return `text` as a UID.

        Trailing NUL or space padding is dropped.

        Raises:
            IdentifierError: if the text breaks PS3.5 section 9.1.
        """
        value = str(text).rstrip("\0 ")
        if len(value) > 64 or not _UID.fullmatch(value):
            raise IdentifierError("not a UID: PS3.5 9.1 allows at most 64 of 0-9 and '.'")
        return cls(value)

    @classmethod
    def derive(cls, *parts: str) -> Self:
        """Return the UID that these parts always give (PS3.5 B.2, a UUID-derived ``2.25`` UID).

        Each part is length-prefixed, so that ("ab", "c") and ("a", "bc") differ.
        """
        key = b"".join(f"{len(part.encode())}:".encode() + part.encode() for part in parts)
        return cls(f"2.25.{uuid.UUID(bytes=_name_bytes(key)).int}")


def _name_bytes(key: bytes) -> bytes:
    """Return 16 bytes of SHA-256 with the version and variant bits of a UUID of version 8."""
    digest = bytearray(bytes.fromhex(Digest.of(key))[:16])
    digest[6] = (digest[6] & 0x0F) | 0x80
    digest[8] = (digest[8] & 0x3F) | 0x80
    return bytes(digest)


class AeTitle(str):
    """A DICOM application entity title (PS3.5 section 6.2, VR AE), without its padding."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return `text` as an AE title, leading and trailing spaces dropped.

        Raises:
            IdentifierError: if nothing is left, it is over 16 characters, or has one not allowed.
        """
        value = str(text).strip(" \0")
        if not value or not _AE_TITLE.fullmatch(value):
            raise IdentifierError(
                "not an AE title: 1 to 16 printable ASCII characters without backslash"
            )
        return cls(value)
