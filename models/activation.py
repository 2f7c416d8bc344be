"""Activation: which bundle a site has chosen for which profile, and who chose it when.

The choice is one small JSON file in the site's folder of bundles, replaced as a whole. It keeps its
own history, so that the last change can be undone and an auditor can read all of them. Where
nothing was chosen, the bundle that is the profile's default answers. Imports no torch.
"""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import socket
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
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
    """A profile, as it is named in `ACTIVE`: ``MR/BRAIN/T1``; the sequence may be empty for any."""

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


@dataclass(frozen=True, slots=True)
class Change:
    """One change of the choice.

    Attributes:
        at: when, ISO 8601 in UTC.
        who: the account and machine.
        action: ``activate``, ``deactivate`` or ``rollback``.
        profile: for which profile.
        before: the bundle chosen until then; `NOBODY`, or None for the default.
        after: the bundle chosen from then on, likewise.
        version: of the bundle chosen, for who reads the history; empty without one.
        digest: of the bundle chosen, likewise.
        undoes: number of the change that a rollback undid, from 0.
    """

    at: str
    who: str
    action: str
    profile: str
    before: str | None
    after: str | None
    version: str = ""
    digest: str = ""
    undoes: int | None = None


@dataclass(frozen=True, slots=True)
class Activation:
    """The choice of a site.

    Attributes:
        active: the bundle's name for each profile that something was chosen for; `NOBODY` where
            none is to answer.
        history: every change, oldest first.
    """

    active: Mapping[ProfileKey, str]
    history: tuple[Change, ...] = ()

    def changed(
        self,
        action: str,
        profile: ProfileKey,
        after: str | None,
        version: str = "",
        digest: str = "",
        undoes: int | None = None,
    ) -> Activation:
        """Return the choice after one more change; None as `after` leaves it to the default."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        before = self.active.get(profile)
        change = Change(now, _who(), action, str(profile), before, after, version, digest, undoes)
        active = {key: name for key, name in self.active.items() if key != profile}
        if after is not None:
            active[profile] = after
        return Activation(active, (*self.history, change))

    def rolled_back(self) -> Activation:
        """Return the choice with the last change undone that was not undone yet.

        Raises:
            ModelError: if there is none.
        """
        undone = {change.undoes for change in self.history}
        for number in range(len(self.history) - 1, -1, -1):
            change = self.history[number]
            if change.action != "rollback" and number not in undone:
                profile = ProfileKey.parse(change.profile)
                return self.changed("rollback", profile, change.before, undoes=number)
        raise ModelError("there is no change to undo")


def read(directory: Path) -> Activation:
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
        history = cast("list[dict[str, Any]]", stated["history"])
        return Activation(
            {ProfileKey.parse(key): _name(name) for key, name in active.items()},
            tuple(Change(**change) for change in history),
        )
    except FileNotFoundError:
        return Activation({})
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    except OSError as error:
        raise ModelError(f"{path}: cannot be read") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{path}: not a choice of bundles ({error!r})") from error


def write(directory: Path, choice: Activation) -> None:
    """Replace the choice kept in a folder of bundles, whole or not at all.

    Raises:
        ModelError: if it cannot be written.
    """
    path = directory / ACTIVE
    content = {
        "format": _FORMAT,
        "active": {str(key): choice.active[key] for key in sorted(choice.active, key=str)},
        "history": [asdict(change) for change in choice.history],
    }
    made = path.with_name(f".{ACTIVE}.partial")
    try:
        with made.open("w", encoding="utf-8") as file:
            json.dump(content, file, indent=1, ensure_ascii=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        made.replace(path)
    except OSError as error:
        raise ModelError(f"{path}: cannot be written") from error


@contextmanager
def locked(directory: Path) -> Generator[None]:
    """Within, no other process changes the choice or the bundles of this folder.

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


def _who() -> str:
    try:
        account = getpass.getuser()
    except (KeyError, OSError):
        account = str(os.getuid())
    return f"{account}@{socket.gethostname()}"
