"""Headers, a few attributes of each, with every length bounded.

The wanted elements are cut out of the encoded data set without parsing the rest, and only they are
handed to pydicom: what a stranger put beside them costs nothing. Pixels are never reached.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from gatekeeper.errors import GatekeeperError, RefusedInstance
from gatekeeper.listen.headers import Beginning, beginning
from gatekeeper.work.values import MALFORMED

LARGEST_VALUE = 65536
"""Bytes of an element that is kept; larger ones are tables and pictures."""
MAXIMUM_ITEMS = 50_000
"""Items of the sequences kept of one header."""

_PREAMBLE = 132
_FIRST_READ = 64 * 1024
_EXPLICIT = "1.2.840.10008.1.2.1"
_TRANSFER_SYNTAX = 0x00020010
_CHARACTER_SET = 0x00080005
_GROUPS = frozenset({0x52009229, 0x52009230})
"""Functional groups, kept whatever their size."""
_ITEM_TAGS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")


class UnreadableHeader(GatekeeperError):
    """A header that is not read; the text names no value."""


def tags_of(keywords: Sequence[str]) -> frozenset[int]:
    """Return the tags of DICOM keywords."""
    found = {tag_for_keyword(keyword) for keyword in keywords}
    return frozenset(int(tag) for tag in found if tag is not None)


def read_header(path: Path, tags: frozenset[int], limit: int) -> Dataset:
    """Return the elements of `tags` of a DICOM file, as far as it has them.

    Args:
        path: a file of PS3.10, or the data set alone in Explicit or Implicit VR Little Endian.
        tags: of top-level elements.
        limit: bytes of the file within which they must lie; of a deflated data set, 4 MiB inflated.

    Raises:
        UnreadableHeader: when they do not, or the file is no data set.
        OSError: when it cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(min(_FIRST_READ, limit))
        try:
            found = _cut(data, tags)
            if found is None:
                data += file.read(limit - len(data))
                found = _cut(data, tags, whole=len(data) < limit)
        except RefusedInstance as error:
            raise UnreadableHeader(f"no DICOM data set: {error.rule}") from None
    if found is None:
        raise UnreadableHeader(f"its header goes over {limit >> 10} KiB")
    return _parsed(*found)


def _cut(
    data: bytes, tags: frozenset[int], *, whole: bool = False
) -> tuple[bytes, bool, bool] | None:
    """Return the wanted elements and their encoding; None when they may go on after `data`."""
    syntax, offset = _meta(data)
    start = beginning(data[offset:], syntax)
    last = max(tags, default=0)
    pieces: list[bytes] = []
    end = 0
    for tag, begin, end in start.elements():
        if tag > last:
            return b"".join(pieces), start.implicit, start.little
        if tag in tags or tag == _CHARACTER_SET:
            piece = start.data[begin:end]
            if len(piece) <= LARGEST_VALUE or tag in _GROUPS:
                pieces.append(piece)
    if not whole:
        return None
    if end < len(start.data):
        raise UnreadableHeader("it is cut off")
    return b"".join(pieces), start.implicit, start.little


def _meta(data: bytes) -> tuple[str, int]:
    """Return the transfer syntax and where the data set begins (PS3.10 7.1)."""
    if data[128:_PREAMBLE] != b"DICM":
        return _EXPLICIT, 0
    meta = Beginning(data[_PREAMBLE:], implicit=False, little=True)
    syntax, offset = _EXPLICIT, 0
    for tag, begin, end in meta.elements():
        if tag >> 16 != 2:
            break
        if tag == _TRANSFER_SYNTAX:
            syntax = meta.data[begin + 8 : end].rstrip(b"\0 ").decode("ascii", errors="replace")
        offset = end
    return syntax, _PREAMBLE + offset


def _parsed(data: bytes, implicit: bool, little: bool) -> Dataset:
    if sum(data.count(tag) for tag in _ITEM_TAGS) > MAXIMUM_ITEMS:
        raise UnreadableHeader(f"its sequences have over {MAXIMUM_ITEMS:,} items")
    try:
        return read_dataset(io.BytesIO(data), implicit, little)
    except (*MALFORMED, OSError) as error:
        # In memory, an `OSError` speaks of the data set and not of this machine.
        raise UnreadableHeader(f"it does not parse ({type(error).__name__})") from None
