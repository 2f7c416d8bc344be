"""Making names durable: one folder, or every name of a file system at once.

A batch of new names lies in as many folders. On ext4 one `syncfs` took 1 to 11 ms where an fsync of
each of 160 folders took 20 to 390 ms, since every fsync may have to write the journal once more.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import platform
from collections.abc import Callable
from pathlib import Path

OUT_OF_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Error numbers of a disk, or of a quota on it, that is full."""

_REPORTS_ERRORS = (5, 17)
"""The first Linux whose syncfs returns every error: since 5.8 those of writing back (syncfs(2)),
since 5.17 also those of the file system's journal."""


def synchronise_folder(folder: Path) -> None:
    """Make the names in `folder` durable.

    Raises:
        OSError: if it could not be done.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unlink(path: str) -> None:
    """Unlink a file if it is there; as text, since for every received file a `Path` costs more.

    Raises:
        OSError: if it is there and cannot be unlinked.
    """
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108


def synchronise_names(folders: Callable[[], set[Path]], anywhere: Path) -> None:
    """Make the names in `folders`, all of one file system, durable.

    Args:
        folders: returns every folder that got a name; asked only where it matters.
        anywhere: a folder of the same file system.

    Raises:
        OSError: if it could not be done.
    """
    call = _syncfs()
    if call is None:
        for folder in folders():
            synchronise_folder(folder)
        return
    descriptor = os.open(anywhere, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if call(descriptor) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
    finally:
        os.close(descriptor)


@functools.cache
def _syncfs() -> Callable[[int], int] | None:
    """Return the C library's syncfs, or None where it is not there or reports no errors."""
    if platform.system() != "Linux" or _kernel() < _REPORTS_ERRORS:
        return None
    call = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if call is not None:
        call.argtypes, call.restype = (ctypes.c_int,), ctypes.c_int
    return call


def _kernel() -> tuple[int, ...]:
    return tuple(int(part) for part in platform.release().split(".")[:2] if part.isdecimal())
