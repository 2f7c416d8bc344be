"""The cache: folders of pictures, each under a digest, bounded in size and in time.

A drawing is made in a folder of its own and gets its name whole, in one step; who comes second with
the same drops theirs. What is removed loses its name first. So any number of processes may share
the folder, and one that is killed leaves nothing but an unnamed folder, which is swept.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gatekeeper.identifiers import Digest
from gatekeeper.viewing.request import MANIFEST
from storage.spool import FOLDER_MODE

FOLDER = "viewing"
"""Name of the cache below the spool, whose walkers look into their own folders alone."""
_UNDER_WAY = "under-way"
_SIZE = "size"


@dataclass(frozen=True, slots=True)
class Kept:
    """One set of pictures.

    Attributes:
        folder: with the pictures.
        used_at: when it was last looked at, seconds since 1970.
        size: in bytes.
    """

    folder: Path
    used_at: float
    size: int


class Cache:
    """A folder of drawn series.

    Args:
        root: made when first written to.
        maximum_bytes: of all pictures; what was not looked at for longest goes first.
        maximum_seconds: after which what nobody looked at goes.
    """

    def __init__(self, root: Path, maximum_bytes: int, maximum_seconds: float) -> None:
        self._root = root
        self._maximum_bytes = maximum_bytes
        self._maximum_seconds = maximum_seconds

    def manifest(self, key: Digest) -> Mapping[str, Any] | None:
        """Return what is drawn under a key, and count it as looked at; None when nothing is."""
        path = self._folder(key) / MANIFEST
        try:
            found = json.loads(path.read_bytes())
            os.utime(path)
        except FileNotFoundError:
            return None
        return found

    def picture(self, key: Digest, name: str) -> bytes | None:
        """Return a picture; None when it is not, or no longer, here.

        Args:
            key: of the drawing.
            name: of the file, made by us.
        """
        try:
            return (self._folder(key) / name).read_bytes()
        except FileNotFoundError:
            return None

    def begin(self) -> Path:
        """Return a new folder to draw in.

        Raises:
            OSError: if it cannot be made.
        """
        under_way = self._root / _UNDER_WAY
        under_way.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(dir=under_way))

    def adopt(self, folder: Path, key: Digest) -> None:
        """Give a finished drawing its name; when it has been drawn meanwhile, drop it.

        Raises:
            OSError: if it cannot be named.
        """
        size = sum(one.stat().st_size for one in os.scandir(folder))
        (folder / _SIZE).write_text(str(size), encoding="ascii")
        target = self._folder(key)
        target.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        try:
            folder.rename(target)
        except OSError:
            if not target.is_dir():
                raise
            self.drop(folder)

    def drop(self, folder: Path) -> None:
        """Remove a folder that `begin` made."""
        shutil.rmtree(folder, ignore_errors=True)

    def tidy(self, abandoned_seconds: float) -> int:
        """Remove what is over a limit, and folders that nobody draws in; return how many.

        Args:
            abandoned_seconds: after which a folder under way is nobody's.
        """
        now = time.time()
        kept = sorted(self._kept(), key=lambda one: one.used_at, reverse=True)
        total, gone = 0, 0
        for one in kept:
            total += one.size
            if total > self._maximum_bytes or now - one.used_at > self._maximum_seconds:
                gone += self._remove(one.folder)
        for folder in _listed(self._root / _UNDER_WAY):
            with suppress(FileNotFoundError):
                if now - folder.stat().st_mtime > abandoned_seconds:
                    self.drop(folder)
                    gone += 1
        return gone

    def _remove(self, folder: Path) -> bool:
        try:
            hidden = self.begin()
            folder.rename(hidden / "old")
        except OSError:
            return False
        self.drop(hidden)
        return True

    def _kept(self) -> Iterator[Kept]:
        for part in _listed(self._root):
            if len(part.name) != 2:
                continue
            for folder in _listed(part):
                try:
                    used_at = (folder / MANIFEST).stat().st_mtime
                    size = int((folder / _SIZE).read_text(encoding="ascii"))
                except (OSError, ValueError):
                    used_at, size = 0.0, 0
                yield Kept(folder, used_at, size)

    def _folder(self, key: Digest) -> Path:
        return self._root / key[:2] / key


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
