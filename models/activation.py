"""Activation: what a site chooses a bundle for, and the file that such choices were kept in once.

The choice itself is given to `models.registry`; Gatekeeper keeps it in its database. The file is
read to take over the choice of a site that made it with an earlier version. Imports no torch.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from models.errors import ModelError

ACTIVE = "active.json"
NOBODY = ""
"""Chosen in place of a bundle's name where no bundle is to answer for a profile."""
LARGEST_BYTES = 16 << 20
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class ProfileKey:
    """A profile, as it is named: ``MR/BRAIN/T1``; the sequence may be empty for any."""

    modality: str
    body_part: str
    sequence: str

    def __str__(self) -> str:
        return "/".join((self.modality, self.body_part, self.sequence))

    @classmethod
    def parse(cls, text: str) -> ProfileKey:
        """Return the profile of a text such as ``MR/BRAIN/T1``.

        Raises:
            ModelError: if it is not a modality, a body part and a sequence.
        """
        parts = [part.strip().upper() for part in text.split("/")]
        if len(parts) != 3 or not parts[0] or not parts[1]:
            raise ModelError(f"{text!r} is not a profile: MODALITY/PART/SEQUENCE, as MR/BRAIN/T1")
        return cls(*parts)


def read(directory: Path) -> dict[ProfileKey, str]:
    """Return the choice kept in a folder of bundles; an empty one where there is none.

    Raises:
        ModelError: if the file cannot be read or is not one.
    """
    path = directory / ACTIVE
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise ModelError("too large to be a choice of bundles")
        stated = cast("dict[str, Any]", json.loads(path.read_text(encoding="utf-8")))
        if stated["format"] != _FORMAT:
            raise ModelError(f"format {stated['format']!r} is of another version")
        active = cast("dict[str, str]", stated["active"])
        return {ProfileKey.parse(key): _name(name) for key, name in active.items()}
    except FileNotFoundError:
        return {}
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    except OSError as error:
        raise ModelError(f"{path}: cannot be read") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{path}: not a choice of bundles ({error!r})") from error


@contextmanager
def locked(directory: Path) -> Generator[None]:
    """Within, no other process changes the bundles of this folder.

    Raises:
        ModelError: if the folder cannot be opened.
    """
    try:
        folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise ModelError(f"{directory}: no such folder") from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _name(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a bundle is named by a text")
    return value
