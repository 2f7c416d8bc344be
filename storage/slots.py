"""Slots: empty files whose names are durable already, one for each file that is being received.

Writing into a slot and synchronising it is then all that a received file needs to survive a power
cut. Each process has a folder of its own, ``slots/OWNER/``, with a lock that it holds while it
lives; the lock goes with the process, however it ends, and tells the others whose slots they may
recover. A slot is named ``OWNER/NUMBER``.
"""

from __future__ import annotations

import collections
import contextlib
import fcntl
import itertools
import os
import secrets
import shutil
import threading
from collections.abc import Generator, Iterable
from pathlib import Path

from storage import voucher
from storage.filesystem import synchronise_folder, unlink
from storage.spool import FOLDER_MODE
from storage.voucher import SLOT_MODE, Voucher

_LOCK = "lock"
_MAKING = "."


class Slots:
    """The slots of this process; used from any thread.

    Args:
        root: the folder of the spool.
        ready: how many empty files are made at once and held open.
    """

    def __init__(self, root: Path, ready: int) -> None:
        self._folder = root / "slots"
        self._ready = ready
        self._numbers = itertools.count(1)
        self._empty: collections.deque[tuple[int, str]] = collections.deque()
        self._lock = threading.Lock()
        self._filling = threading.Lock()
        self._own: Path | None = None
        self._held: list[tuple[Path, int]] = []

    def take(self) -> tuple[int, str]:
        """Return an empty file, open for writing, and its path.

        Raises:
            OSError: if there is none and none could be made.
        """
        while True:
            try:
                taken = self._empty.popleft()
            except IndexError:
                self.fill()
                continue
            if len(self._empty) < self._ready // 2:
                self._fill_soon()
            return taken

    def fill(self) -> None:
        """Make slots until there are enough, and make their names durable.

        Raises:
            OSError: if they could not be made.
        """
        with self._lock:
            missing = self._ready - len(self._empty)
            if missing <= 0:
                return
            folder = self._own or self._found()
            made: list[tuple[int, str]] = []
            try:
                for _ in range(missing):
                    path = f"{folder}/{next(self._numbers):08d}"
                    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
                    made.append((os.open(path, flags, SLOT_MODE), path))
                synchronise_folder(folder)
            except OSError:
                _remove(made)
                raise
            self._empty.extend(made)

    def _fill_soon(self) -> None:
        """Fill up in the background, so that no file waits for it."""
        if self._filling.acquire(blocking=False):
            threading.Thread(target=self._fill_behind, name="slots", daemon=True).start()

    def _fill_behind(self) -> None:
        try:
            # Whoever finds no slot tries again, and tells.
            with contextlib.suppress(OSError):
                self.fill()
        finally:
            self._filling.release()

    def name(self, slot: str) -> str:
        """Return what the database calls a slot."""
        return "/".join(slot.rsplit("/", 2)[1:])

    def renew(self) -> None:
        """Throw the empty slots away, and the folder when it is gone: something removed files.

        The lock stays held: files taken before may still be on their way.
        """
        with self._lock:
            self._drain()
            if self._own is not None and not self._own.is_dir():
                self._own = None

    def close(self) -> None:
        """Remove the empty slots, and the folder if nothing else is in it.

        Otherwise the lock stays held until the process ends: a file may still be on its way.
        """
        with self._filling, self._lock:
            self._own = None
            self._drain()
            held, self._held = self._held, []
            for folder, lock in held:
                if _clear(folder):
                    os.close(lock)
                else:
                    self._held.append((folder, lock))

    def _drain(self) -> None:
        _remove(self._empty)
        self._empty.clear()

    def _found(self) -> Path:
        """Make the folder of this process; it gets its name once its lock is held."""
        if not self._folder.is_dir():
            self._folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
        # Found in place, it may be another process's, made a moment ago.
        synchronise_folder(self._folder.parent)
        owner = secrets.token_hex(8)
        making, own = self._folder / f"{_MAKING}{owner}", self._folder / owner
        making.mkdir(mode=FOLDER_MODE)
        lock = os.open(making / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o640)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            making.rename(own)
            synchronise_folder(self._folder)
        except OSError:
            os.close(lock)
            raise
        self._held.append((own, lock))
        self._own = own
        return own


class Abandoned:
    """The slots of a process that has ended, as long as its lock is held by us."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.owner = folder.name

    def path(self, slot: str) -> Path:
        """Return where the slot of this name lies or lay."""
        return self._folder / slot.rpartition("/")[2]

    def vouched(self) -> dict[str, Voucher]:
        """Return the slots that say of themselves what they hold, in their order.

        Raises:
            OSError: if one cannot be read.
        """
        return _vouched(self._folder)

    def sweep(self, done: Iterable[Path], older_than: float) -> int:
        """Remove slots that are done with and those not written since; then an empty folder.

        Args:
            done: slots that are settled.
            older_than: in seconds since 1970-01-01 UTC.

        Returns:
            How many files were removed that nobody was done with.
        """
        for path in done:
            path.unlink(missing_ok=True)
        removed = 0
        for path in self._folder.iterdir():
            facts = path.stat()
            if path.name != _LOCK and facts.st_mtime <= older_than:
                path.unlink()
                removed += facts.st_size > 0
        _clear(self._folder)
        return removed


def abandoned(root: Path) -> Generator[Abandoned]:
    """Yield the slots of each process that has ended, locked until the next is asked for."""
    for owner in sorted(_named(root)):
        one = root / "slots" / owner
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(one / _LOCK, os.O_RDWR)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield Abandoned(one)
            except BlockingIOError:
                continue
            finally:
                os.close(lock)


def sweep_unnamed(root: Path, older_than: float) -> None:
    """Remove folders that a process died making or removing; there is no slot in them.

    Args:
        root: the folder of the spool.
        older_than: in seconds since 1970-01-01 UTC. A younger one may still get its name.
    """
    for owner in owners(root) - _named(root):
        folder = root / "slots" / owner
        with contextlib.suppress(FileNotFoundError):
            if folder.stat().st_mtime <= older_than:
                shutil.rmtree(folder)


def owners(root: Path) -> set[str]:
    """Return the owners that have a folder here, living or not."""
    folder = root / "slots"
    return {one.name for one in folder.iterdir()} if folder.is_dir() else set()


def path(root: Path, slot: str) -> Path:
    """Return where the slot of this name lies or lay."""
    return root / "slots" / slot


def living(root: Path) -> dict[str, bool]:
    """Return of each owner that has a folder here whether it lives: whether it holds its lock."""
    found: dict[str, bool] = {}
    for owner in _named(root):
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(root / "slots" / owner / _LOCK, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                found[owner] = False
            except BlockingIOError:
                found[owner] = True
            finally:
                os.close(lock)
    return found


def vouched(root: Path) -> dict[str, Voucher]:
    """Return all slots that say of themselves what they hold, of processes living or not.

    One that goes away meanwhile is left out.

    Raises:
        OSError: if one cannot be read.
    """
    found: dict[str, Voucher] = {}
    for owner in sorted(_named(root)):
        with contextlib.suppress(FileNotFoundError):
            found |= _vouched(root / "slots" / owner)
    return found


def _vouched(folder: Path) -> dict[str, Voucher]:
    found: dict[str, Voucher] = {}
    for one in sorted(folder.iterdir()):
        with contextlib.suppress(FileNotFoundError):
            if one.name != _LOCK and (read := voucher.read(one)) is not None:
                found[f"{folder.name}/{one.name}"] = read
    return found


def _named(root: Path) -> set[str]:
    """Return the owners whose folder has its name.

    One without is left alone: the owner's own attempt to lock it would fail.
    """
    return {owner for owner in owners(root) if not owner.startswith(_MAKING)}


def _remove(slots: Iterable[tuple[int, str]]) -> None:
    for descriptor, path in slots:
        os.close(descriptor)
        with contextlib.suppress(OSError):
            unlink(path)


def _clear(folder: Path) -> bool:
    """Remove a folder that holds nothing but its lock, and return whether it is gone.

    Under another name first, so that nobody finds it without.
    """
    try:
        if [one.name for one in folder.iterdir()] != [_LOCK]:
            return False
        gone = folder.with_name(f"{_MAKING}{folder.name}")
        folder.rename(gone)
        shutil.rmtree(gone)
    except OSError:
        return False
    return True
