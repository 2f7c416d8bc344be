"""One received file: its header, and where its pixels lie.

Reading never allocates what a length field claims, only what the file holds. Private elements,
overlays and bulk values are left out of the header, so that thousands of headers stay small.
"""

from __future__ import annotations

import hashlib
import os
import struct
import warnings
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.filewriter import write_file_meta_info
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from gatekeeper.errors import ChildFailed, UnreadableSeries
from gatekeeper.work.messages import ReceivedFile
from gatekeeper.work.values import MALFORMED, text

LARGEST_VALUE = 65536
"""Bytes of a header value that is kept; larger ones are tables and pictures."""
LARGEST_INFLATED = 512 << 20
"""Bytes to which a deflated data set may expand."""
UNDEFINED = 0xFFFFFFFF

_KEPT_LARGE = frozenset({0x52009229, 0x52009230, 0x7FE00001, 0x7FE00002})
"""Functional groups and extended offset tables, kept whatever their size."""
_PIXEL_KEYWORDS = {
    0x7FE00010: "PixelData",
    0x7FE00008: "FloatPixelData",
    0x7FE00009: "DoubleFloatPixelData",
}
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class PixelElement:
    """Where the pixel data's value lies.

    Attributes:
        keyword: ``PixelData``, ``FloatPixelData`` or ``DoubleFloatPixelData``.
        vr: its value representation; empty in implicit encodings.
        offset: of the value's first byte in the file.
        length: in bytes as declared; `UNDEFINED` when encapsulated (PS3.5 A.4).
        available: bytes that the file holds from `offset` on.
    """

    keyword: str
    vr: str
    offset: int
    length: int
    available: int


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """One file as read.

    Attributes:
        sop_instance_uid: as recorded at receipt.
        path: the file that holds the pixels; a copy in the scratch folder when it was deflated.
        header: file meta and data set without pixel data, private elements and bulk values.
        pixels: None when the object has no pixel data.
    """

    sop_instance_uid: str
    path: Path
    header: Dataset
    pixels: PixelElement | None

    @property
    def transfer_syntax(self) -> str:
        """Transfer Syntax UID of the pixel data."""
        return text(cast(Dataset, self.header.file_meta), "TransferSyntaxUID")


class BoundedReader:
    """A file that never reads past its end, so that no buffer is made for bytes it lacks."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = os.fstat(file.fileno()).st_size

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes, all that are left when it is negative."""
        left = max(0, self._size - self._file.tell())
        return self._file.read(left if size < 0 else min(size, left))

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move and return the position."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the position."""
        return self._file.tell()

    @property
    def left(self) -> int:
        """Bytes from the position to the end."""
        return max(0, self._size - self._file.tell())


def read_source(file: ReceivedFile, scratch: Path) -> Source:
    """Return one file of the spool.

    Args:
        file: what the listener recorded of it.
        scratch: folder for the inflated copy of a deflated data set.

    Raises:
        UnreadableSeries: when it is not a data set, or expands over `LARGEST_INFLATED`.
        ChildFailed: when the file's content is not what the digest names.
        OSError: when the file cannot be read.
    """
    path = Path(file.path)
    with path.open("rb") as opened:
        if hashlib.file_digest(opened, "sha256").hexdigest() != file.digest:
            raise ChildFailed("a file of the spool is not what its digest names")
    try:
        if file.transfer_syntax_uid == DeflatedExplicitVRLittleEndian:
            path = _inflate(path, scratch / f"{file.digest}.inflated")
        source = _parse(path, file.sop_instance_uid)
    except (*MALFORMED, OSError) as error:
        # The system's own errors have a number; pydicom raises one without for a cut off sequence.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        name = type(error).__name__
        raise UnreadableSeries(f"A file cannot be read as a DICOM data set ({name}).") from None

    recorded = (file.sop_instance_uid, file.sop_class_uid, file.series_instance_uid)
    keywords = ("SOPInstanceUID", "SOPClassUID", "SeriesInstanceUID")
    if tuple(text(source.header, keyword) for keyword in keywords) != recorded:
        raise UnreadableSeries("A file's identifiers are not those recorded at its receipt.")
    return source


@contextmanager
def quiet() -> Generator[None]:
    """Hold library warnings, whose texts hold raw values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _parse(path: Path, sop_instance_uid: str) -> Source:
    with path.open("rb") as file:
        reader = BoundedReader(file)
        header = dcmread(cast(BinaryIO, reader), stop_before_pixels=True)
        pixels = _pixel_element(header, reader)
    for tag in list(header.keys()):
        if _is_bulk(header, tag):
            del header[tag]
    return Source(sop_instance_uid, path, header, pixels)


def _is_bulk(header: Dataset, tag: BaseTag) -> bool:
    if tag.is_private or (tag.group & 0xFF00) in (0x5000, 0x6000):
        return True
    element = header.get_item(tag)
    return (
        isinstance(element, RawDataElement)
        and element.length > LARGEST_VALUE
        and element.length != UNDEFINED
        and int(tag) not in _KEPT_LARGE
        and element.VR != "SQ"
    )


def _pixel_element(header: Dataset, reader: BoundedReader) -> PixelElement | None:
    """Return the pixel element that the reader stands before, or None at the end."""
    implicit, little = cast("tuple[bool, bool]", header.original_encoding)
    order = "<" if little else ">"
    start = reader.read(8)
    if len(start) < 8:
        return None
    vr = ""
    if implicit:
        group, element, length = struct.unpack(f"{order}HHL", start)
    else:
        group, element, raw = struct.unpack(f"{order}HH2s", start[:6])
        vr = raw.decode("ascii")
        (length,) = struct.unpack(f"{order}L", reader.read(4))
    keyword = _PIXEL_KEYWORDS.get(group << 16 | element)
    if keyword is None:
        return None
    return PixelElement(keyword, vr, reader.tell(), length, reader.left)


def _inflate(path: Path, copy: Path) -> Path:
    """Write the data set of `path`, inflated (PS3.5 A.5), to `copy` and return it."""
    with path.open("rb") as file, copy.open("wb") as out:
        meta: Any = read_file_meta_info(path)
        # The group length counts from the end of its own 12 bytes (PS3.10 7.1).
        file.seek(132 + 12 + int(meta.FileMetaInformationGroupLength))
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        out.write(b"\0" * 128 + b"DICM")
        write_file_meta_info(cast(Any, out), meta)
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        written = 0
        pending = file.read(_CHUNK)
        while pending and not inflater.eof:
            data = inflater.decompress(pending, _CHUNK)
            written += len(data)
            if written > LARGEST_INFLATED:
                raise UnreadableSeries(
                    f"A deflated data set expands over {LARGEST_INFLATED >> 20} MiB."
                )
            out.write(data)
            pending = inflater.unconsumed_tail or file.read(_CHUNK)
    return copy
