"""A disk with a cache that loses its content when the power is cut.

What is written lies in the cache until the disk is told to empty it; after a cut any part of what
lay there may have reached the platter, in any order, some writes in parts. That is all that a disk
promises, and it is what a file system is built for.

Run as a module it offers itself as a file over FUSE, for a loop device to stand on, and cuts the
power whenever it reads ``SEED FILE`` from its standard input: the platter as it would be then goes
to that file, and the disk runs on. Needs mfusepy and libfuse; everything else is plain files.
"""

from __future__ import annotations

import collections
import errno
import os
import random
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

SECTOR = 4096
"""Bytes that a disk writes whole or not at all. XFS takes that for granted: with 512, the recovery
of its journal met a block of a folder that had been written in parts, and gave up."""
NAME = "disk"
"""Of the one file that is offered."""
_PIECE = 4 << 20
_PATIENCE = 0.5
CACHE = 64 << 20
"""Bytes that it holds; when more are written, the oldest go to the platter."""


class VolatileDisk:
    """A disk of `size` bytes, whose two states are files in `folder`.

    ``platter`` is what survives in any case, ``current`` what is read. May be used from several
    threads.

    Args:
        folder: an empty one.
        size: in bytes.
        content: a file with what is on it; None for nothing.
    """

    def __init__(self, folder: Path, size: int, content: Path | None = None) -> None:
        self.size = size
        self._current = _made(folder / "current", size)
        self._platter = _made(folder / "platter", size)
        if content is not None:
            with content.open("rb") as file:
                for state in (self._current, self._platter):
                    _copy(file.fileno(), state, size)
        self._cache: collections.deque[tuple[int, bytes]] = collections.deque()
        self._cached = 0
        self._changed = threading.Condition()
        self._order: Callable[[], None] | None = None

    def read(self, offset: int, size: int) -> bytes:
        """Return what was written last, whether it would survive or not."""
        with self._changed:
            return os.pread(self._current, size, offset)

    def write(self, offset: int, data: bytes) -> int:
        """Take `data` into the cache, and return its length."""
        with self._changed:
            os.pwrite(self._current, data, offset)
            self._cache.append((offset, data))
            self._cached += len(data)
            while self._cached > CACHE:
                self._keep_oldest()
        return len(data)

    def flush(self) -> None:
        """Empty the cache: what was written until now survives."""
        with self._changed:
            if self._cache:
                self._carry_out_order()
            while self._cache:
                self._keep_oldest()

    def _keep_oldest(self) -> None:
        offset, data = self._cache.popleft()
        self._cached -= len(data)
        os.pwrite(self._platter, data, offset)

    def cut(self, chance: random.Random, into: Path, patience: float = 0.0) -> int:
        """Write the platter to `into` as a power cut would leave it; the disk runs on.

        Args:
            chance: decides how much of the cache reached the platter: nothing, all, or of each
                write all, nothing or some sectors.
            into: a new file.
            patience: seconds to wait for the moment at which most is at stake, when the disk is
                told to empty its cache and has not begun to; then it is cut as it is.

        Returns:
            How many writes lay in the cache.
        """
        cached: list[int] = []
        with self._changed:
            self._order = lambda: cached.append(self._cut(chance, into))
            self._changed.wait_for(lambda: cached, patience)
            self._carry_out_order()
        return cached[0]

    @property
    def ordered(self) -> bool:
        """Whether a cut is to come."""
        return self._order is not None

    def _carry_out_order(self) -> None:
        order, self._order = self._order, None
        if order is not None:
            order()
            self._changed.notify_all()

    def _cut(self, chance: random.Random, into: Path) -> int:
        after = _made(into, self.size)
        try:
            _copy(self._platter, after, self.size)
            share = chance.choice((0.0, 0.2, 0.5, 0.8, 1.0))
            for offset, data in self._cache:
                for start, stop in _surviving(chance, share, offset, offset + len(data)):
                    os.pwrite(after, data[start - offset : stop - offset], start)
        finally:
            os.close(after)
        return len(self._cache)


def _made(path: Path, size: int) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    os.truncate(descriptor, size)
    return descriptor


def _copy(source: int, target: int, size: int) -> None:
    """Copy what a file holds, without its holes."""
    offset = 0
    while offset < size:
        try:
            offset = os.lseek(source, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return
        hole = os.lseek(source, offset, os.SEEK_HOLE)
        while offset < hole:
            offset += os.pwrite(
                target, os.pread(source, min(_PIECE, hole - offset), offset), offset
            )


def _surviving(
    chance: random.Random, share: float, start: int, stop: int
) -> Iterator[tuple[int, int]]:
    """Yield what reached the platter of one write, from `start` to `stop` on the disk."""
    if share in (0.0, 1.0) or chance.random() < 0.5:
        # As a whole or not; most writes are.
        if chance.random() < share:
            yield start, stop
        return
    while start < stop:
        end = min(start - start % SECTOR + SECTOR, stop)
        if chance.random() < share:
            yield start, end
        start = end


def serve(disk: VolatileDisk, mount_point: Path) -> None:
    """Offer the disk as ``mount_point/disk`` until that is unmounted."""
    from mfusepy import FUSE, FuseOSError, Operations

    class Offered(Operations):
        use_ns = True

        def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
            if path == "/":
                return {"st_mode": stat.S_IFDIR | 0o700, "st_nlink": 2}
            if path != f"/{NAME}":
                raise FuseOSError(errno.ENOENT)
            return {"st_mode": stat.S_IFREG | 0o600, "st_nlink": 1, "st_size": disk.size}

        def readdir(self, path: str, fh: int) -> Any:
            return [".", "..", NAME]

        def open(self, path: str, flags: int) -> int:
            return 0

        def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
            return disk.read(offset, size)

        def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
            return disk.write(offset, data)

        def fsync(self, path: str, datasync: int, fh: int) -> int:
            disk.flush()
            return 0

    FUSE(Offered(), str(mount_point), foreground=True, nothreads=True)


def _take_orders(disk: VolatileDisk) -> None:
    for line in sys.stdin:
        seed, _, path = line.rstrip("\n").partition(" ")
        print(disk.cut(random.Random(seed), Path(path), _PATIENCE), flush=True)  # noqa: T201


def main() -> None:
    """Serve a disk: the arguments are its folder, its size, where to offer it, and its content."""
    folder, size, mount_point, *content = sys.argv[1:]
    disk = VolatileDisk(Path(folder), int(size), *map(Path, content))
    threading.Thread(target=_take_orders, args=(disk,), daemon=True).start()
    serve(disk, Path(mount_point))


if __name__ == "__main__":
    main()
