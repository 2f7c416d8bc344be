"""Digest placeholder until the spool lands (storage room)."""

from __future__ import annotations

import hashlib
import re
from typing import Self


class Digest(str):
    """A SHA-256 as 64 lower-case hexadecimal characters."""

    @classmethod
    def parse(cls, text: str) -> Self:
        if not re.fullmatch(r"[0-9a-f]{64}", text):
            raise ValueError("not a digest: 64 lower-case hexadecimal characters")
        return cls(text)

    @classmethod
    def of(cls, data: bytes) -> Self:
        return cls(hashlib.sha256(data).hexdigest())
