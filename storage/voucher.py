"""Vouchers: what a received file says of itself, so that its row can be made again from it.

A voucher is an extended attribute of the file (xattr(7)): the SHA-256 that its content must have,
and the AE title of who brought it. It is put on before the file is synchronised and becomes durable
with it, in the same wait for the disk. The bytes stay as they came. Who finds a file whose content
is what its voucher says knows that it is whole, and may have been acknowledged.

On file systems of today it lies in the inode and costs no block of its own. Some have no extended
attributes; there a file has no voucher, and its row must be durable before its answer.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path

SLOT_MODE = 0o640
"""Of a file while it is written: only who may write to one may set its attributes."""

_NAME = "user.gatekeeper"
_VERSION = b"\x01"
_DIGEST_BYTES = 32
_LONGEST = 60
"""Bytes. With this name so many just fit into an inode of 256 bytes on ext4."""

_UNABLE = frozenset(
    {
        errno.ENOTSUP,
        errno.ENOSYS,
        errno.EPERM,
        errno.ENOSPC,
        errno.EDQUOT,
        errno.E2BIG,
        errno.ERANGE,
    }
)
_NONE = frozenset({errno.ENODATA, errno.ENOTSUP, errno.ENOSYS, errno.ERANGE})


@dataclass(frozen=True, slots=True)
class Voucher:
    """What a file says of itself.

    Attributes:
        digest: SHA-256 of its content, as 64 hexadecimal characters.
        calling_ae: AE title of the node that sent it.
    """

    digest: str
    calling_ae: str


def put(descriptor: int, voucher: Voucher) -> bool:
    """Put a voucher on an open file; it is durable once the file is synchronised with fsync.

    Returns:
        False if the file system cannot hold it; then the file has none.

    Raises:
        OSError: if the file is in trouble.
    """
    title = voucher.calling_ae.encode("utf-8", "surrogatepass")
    value = _VERSION + bytes.fromhex(voucher.digest) + title
    if len(value) > _LONGEST:
        return False
    try:
        os.setxattr(descriptor, _NAME, value)
    except OSError as error:
        if error.errno in _UNABLE:
            return False
        raise
    return True


def read(path: Path) -> Voucher | None:
    """Return the voucher of a file, or None if it has none.

    Raises:
        FileNotFoundError: if there is no such file.
        OSError: if it cannot be read.
    """
    try:
        value = os.getxattr(path, _NAME)
    except OSError as error:
        if error.errno in _NONE:
            return None
        raise
    digest, title = value[1 : 1 + _DIGEST_BYTES], value[1 + _DIGEST_BYTES :]
    if not value.startswith(_VERSION) or len(digest) < _DIGEST_BYTES:
        return None
    return Voucher(digest.hex(), title.decode("utf-8", "surrogatepass"))


def take_off(path: Path) -> None:
    """Take the voucher off a file: it is not whole, and nobody shall ask again.

    Raises:
        OSError: if it cannot be done.
    """
    path.chmod(SLOT_MODE)
    os.removexattr(path, _NAME)
