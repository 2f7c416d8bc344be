"""The spool: received bytes, each file once, named by the SHA-256 of its content.

`SpoolWriter.commit` returns only when the file survives a power cut: its bytes were synchronised
before it got its name, and the folders that hold the name were synchronised after. A file under
``objects/`` is therefore always whole and never changes. What a killed process leaves behind is in
``incoming/`` and is removed by `Spool.sweep`.

Paths are made from digests alone, never from anything a peer sent: ``objects/ab/DIGEST``. Before, a
file lay one folder deeper, ``objects/ab/cd/DIGEST``; it stays there and is found there.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from types import TracebackType
from typing import Self

from storage import failpoint, voucher
from storage.filesystem import synchronise_folder, synchronise_names, unlink

_DIGEST = re.compile(r"[0-9a-f]{64}")
FILE_MODE = 0o440
FOLDER_MODE = 0o750


class Digest(str):
    """A SHA-256 as 64 lower-case hexadecimal characters."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return `text` as a digest.

        Raises:
            ValueError: if it is not 64 lower-case hexadecimal characters.
        """
        if not _DIGEST.fullmatch(text):
            raise ValueError("not a digest: 64 lower-case hexadecimal characters")
        return cls(text)

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Return the digest of `data`."""
        return cls(hashlib.sha256(data).hexdigest())


class SpoolLimitError(Exception):
    """More bytes were written than the writer allows; nothing was kept."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"over the limit of {limit} bytes")
        self.limit = limit


@dataclass(frozen=True, slots=True)
class Stored:
    """A file that is safely in the spool.

    Attributes:
        digest: SHA-256 of its content.
        size: in bytes.
        path: where it lies.
    """

    digest: Digest
    size: int
    path: Path


Make = Callable[[], tuple[int, str]]
"""Returns an empty file of the spool's file system, open for writing, and its path."""
_Adopt = Callable[[str, Digest, int], Stored]


class Spool:
    """A folder of files named by their content.

    Args:
        root: the folder; made, with its two parts, when missing.

    Raises:
        OSError: if it cannot be made.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._objects = root / "objects"
        self._incoming = root / "incoming"
        # Folders whose own name is known to be on the disk; grows to at most 65,792 entries, in a
        # spool of before.
        self._durable: set[Path] = set()
        root.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        for folder in (self._objects, self._incoming):
            folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
        synchronise_folder(root)
        # A folder above ours may be closed to us; then it was there before us.
        with contextlib.suppress(PermissionError):
            synchronise_folder(root.absolute().parent)
        # A folder without folders in it has two links; some file systems do not count them.
        self._has_older = any(one.stat().st_nlink != 2 for one in self._objects.iterdir())

    def writer(self, limit: int | None = None, make: Make | None = None) -> SpoolWriter:
        """Return a writer of one new file, to be used in a ``with`` statement.

        Args:
            limit: largest size in bytes; None for no limit.
            make: opens the file that is written to; None for a temporary one.
        """
        return SpoolWriter(make or self._temporary, limit, self._adopt)

    def store(self, data: bytes) -> Stored:
        """Keep `data` and return where, once it survives a power cut.

        Raises:
            OSError: if it could not be written or synchronised.
        """
        with self.writer() as writer:
            writer.write(data)
            return writer.commit()

    def make_folders(self) -> None:
        """Make all folders now, so that the first files need not.

        Raises:
            OSError: if they cannot be made.
        """
        for number in range(256):
            (self._objects / f"{number:02x}").mkdir(mode=FOLDER_MODE, exist_ok=True)
        synchronise_folder(self._objects)

    def path(self, digest: str) -> Path:
        """Return where the file of this digest lies or would lie.

        Raises:
            ValueError: if it is not a digest.
        """
        here, before = map(Path, self._places(Digest.parse(digest)))
        return before if before.exists() and not here.exists() else here

    def open(self, digest: str) -> BufferedReader:
        """Return the file of this digest, open for reading.

        Raises:
            FileNotFoundError: if it is not in the spool.
        """
        return self.path(digest).open("rb")

    def exists(self, digest: str) -> bool:
        """Return whether the file of this digest is in the spool."""
        return self.path(digest).is_file()

    def remove(self, digest: str) -> bool:
        """Unlink the file of this digest; False when it is not there. Its space is free at once.

        Only for a file that nobody needs by the database's word, and that nobody stores meanwhile.

        Raises:
            OSError: if it cannot be unlinked.
        """
        removed = False
        for place in map(Path, self._places(Digest.parse(digest))):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                place.unlink()
                removed = True
        return removed

    def free_mib(self) -> int:
        """Return the free space of the spool's file system in MiB."""
        found = os.statvfs(self.root)
        return found.f_bavail * found.f_frsize >> 20

    def sweep(self, older_than_seconds: float) -> int:
        """Remove what killed writers left, if untouched for so long, and return how many files.

        A live writer whose file is swept cannot commit: it raises FileNotFoundError, and its
        sender keeps the instance.
        """
        oldest = time.time() - older_than_seconds
        removed = 0
        for residue in self._incoming.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if residue.stat().st_mtime <= oldest:
                    residue.unlink()
                    removed += 1
        return removed

    def name(self, whole: str, digest: Digest, size: int) -> str:
        """Give a synchronised file its name and return it; `synchronise` makes names durable.

        Paths are text here: for every received file, a `Path` costs more than what is done with it.

        Raises:
            OSError: if it could not be named.
        """
        target, before = self._places(digest)
        if self._has_older and os.path.exists(before):  # noqa: PTH110
            target = before
        try:
            try:
                os.link(whole, target)
            except FileNotFoundError:
                # Its folder, most likely; what else it may be is raised again.
                Path(target).parent.mkdir(mode=FOLDER_MODE, exist_ok=True)
                os.link(whole, target)
        except FileExistsError:
            # Linked by someone who may not have come to synchronise the folder.
            if os.stat(target).st_size != size:  # noqa: PTH116
                raise OSError(errno.EIO, "a file of the spool is damaged", target) from None
        failpoint.reached("spool.named")
        return target

    def synchronise(self, names: Iterable[str]) -> None:
        """Make these names, given by `name`, and the folders that hold them, durable.

        Raises:
            OSError: if it could not be done; it is not tried again.
        """

        def folders() -> set[Path]:
            leaves = {Path(name).parent for name in names}
            return leaves | {leaf.parent for leaf in leaves} | {self._objects}

        synchronise_names(folders, self._objects)

    def _places(self, digest: Digest) -> tuple[str, str]:
        """Return where the file of this digest would be put now, and where it was put before."""
        folder = f"{self._objects}/{digest[:2]}"
        return f"{folder}/{digest}", f"{folder}/{digest[2:4]}/{digest}"

    def _adopt(self, temporary: str, digest: Digest, size: int) -> Stored:
        """Give a synchronised temporary file its name, and make the name durable."""
        self._ensure_folder(self.path(digest).parent)
        target = Path(self.name(temporary, digest, size))
        synchronise_folder(target.parent)
        return Stored(digest, size, target)

    def _temporary(self) -> tuple[int, str]:
        return tempfile.mkstemp(".part", dir=self._incoming)

    def _ensure_folder(self, folder: Path) -> None:
        """Make ``objects/ab`` and make its name durable.

        A folder found in place may be another process's, made a moment ago and not yet on the
        disk, so the first use of each by this process synchronises its parent.
        """
        if folder in self._durable or folder == self._objects:
            return
        self._ensure_folder(folder.parent)
        folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
        synchronise_folder(folder.parent)
        self._durable.add(folder)


class SpoolWriter:
    """One file on its way into the spool; leaving without `commit` removes it."""

    def __init__(self, make: Make, limit: int | None, adopt: _Adopt) -> None:
        self._make = make
        self._limit = limit
        self._adopt = adopt
        self._hash = hashlib.sha256()
        self._descriptor: int | None = None
        self._path = ""
        self._kept = False
        self._vouched = False
        self.size = 0

    def open(self) -> Self:
        """Open the file, and return the writer; to be ended by `leave`.

        Raises:
            OSError: if there is no file to write to.
        """
        self._descriptor, self._path = self._make()
        return self

    def leave(self) -> None:
        """Close the file, and remove it unless it was kept. Leaving twice is harmless.

        Raises:
            OSError: if it could not be removed.
        """
        try:
            self._close()
        finally:
            if not self._kept:
                unlink(self._path)

    def __enter__(self) -> Self:
        return self.open()

    @property
    def path(self) -> str:
        """Where the bytes are until they have their name."""
        return self._path

    @property
    def digest(self) -> Digest:
        """SHA-256 of what was written so far."""
        return Digest(self._hash.hexdigest())

    def write(self, *parts: bytes | bytearray | memoryview) -> None:
        """Append `parts`. After an error nothing can be written or committed any more.

        Raises:
            SpoolLimitError: if the file would grow over the limit.
            OSError: if it could not be written (ENOSPC and others).
        """
        descriptor = self._opened()
        length = sum(map(len, parts))
        try:
            if self._limit is not None and self.size + length > self._limit:
                raise SpoolLimitError(self._limit)
            if (written := os.writev(descriptor, parts)) < length:
                left = memoryview(b"".join(parts))[written:]
                while left:
                    left = left[os.write(descriptor, left) :]
        except BaseException:
            self._close()
            raise
        for part in parts:
            self._hash.update(part)
        self.size += length

    def vouch(self, calling_ae: str) -> bool:
        """Have the file say of itself what it holds and who brought it; see `storage.voucher`.

        Returns:
            Whether it will once it is synchronised; not on a file system that cannot hold that.

        Raises:
            OSError: if the file is in trouble.
        """
        mine = voucher.Voucher(self.digest, calling_ae)
        self._vouched = voucher.put(self._opened(), mine)
        return self._vouched

    def commit(self) -> Stored:
        """Put the file in the spool and return where, once it survives a power cut.

        Raises:
            OSError: if it could not be synchronised or named; nothing is promised then.
        """
        self.synchronise()
        return self._adopt(self._path, self.digest, self.size)

    def synchronise(self) -> None:
        """Make the bytes durable, and end writing; the name of the file is another matter.

        A failed synchronisation is not tried again: after it the kernel may report success for
        pages it has dropped.

        Raises:
            OSError: if it could not be done; nothing is promised then.
        """
        descriptor = self._opened()
        try:
            failpoint.reached("spool.written")
            os.fchmod(descriptor, FILE_MODE)
            # Of a file's own attributes only fsync promises anything.
            (os.fsync if self._vouched else os.fdatasync)(descriptor)
            failpoint.reached("spool.synchronised")
        finally:
            # From here on nobody can write to it.
            self._close()

    def discard(self) -> None:
        """Remove the file."""
        self._close()
        unlink(self._path)

    def keep(self) -> None:
        """Leave the file where it is on leaving: from now on it is someone else's."""
        self._kept = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.leave()

    def _opened(self) -> int:
        if self._descriptor is None:
            raise ValueError("nothing can be written to this spool writer, or not any more")
        return self._descriptor

    def _close(self) -> None:
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)
