"""Where the data set of a DICOM file begins, and what the file says it holds.

Reads group 0002 alone (PS3.10 section 7.1), which is always Explicit VR Little Endian, and never
more than `MAXIMUM_HEADER` bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

from gatekeeper.errors import GatekeeperError, IdentifierError
from gatekeeper.identifiers import Uid
from gatekeeper.send.encoding import LONG_VRS

MAXIMUM_HEADER = 64 * 1024
_PREAMBLE = 132
_ELEMENT = struct.Struct("<HH2sH")
SOP_CLASS, SOP_INSTANCE, TRANSFER_SYNTAX = 0x0002, 0x0003, 0x0010
"""Element numbers of group 0002."""


class NotPart10(GatekeeperError):
    """A file that is not a DICOM Part 10 file with the three identifiers needed to send it."""


@dataclass(frozen=True, slots=True)
class FileHeader:
    """The file meta information, as far as sending needs it.

    Attributes:
        offset: byte position of the data set.
        size: length of the data set in bytes.
    """

    sop_class_uid: Uid
    sop_instance_uid: Uid
    transfer_syntax_uid: Uid
    offset: int
    size: int


def read_header(file: BinaryIO, file_size: int) -> FileHeader:
    """Return the header of an open Part 10 file; the file's position is left anywhere.

    Raises:
        NotPart10: naming what is missing.
        OSError: if the file cannot be read.
    """
    file.seek(0)
    values, offset = read_meta(file.read(MAXIMUM_HEADER), file_size)
    return FileHeader(
        _uid(values, SOP_CLASS, "SOP class"),
        _uid(values, SOP_INSTANCE, "SOP instance"),
        _uid(values, TRANSFER_SYNTAX, "transfer syntax"),
        offset,
        file_size - offset,
    )


def read_meta(data: bytes, file_size: int) -> tuple[dict[int, bytes], int]:
    """Return the values of group 0002 by element number, and where the data set begins.

    Args:
        data: the first bytes of the file, `MAXIMUM_HEADER` of them if it has so many.
        file_size: in bytes.

    Raises:
        NotPart10: naming what is missing.
    """
    if data[128:_PREAMBLE] != b"DICM":
        raise NotPart10("not a DICOM file: no DICM prefix after a preamble of 128 bytes")
    values: dict[int, bytes] = {}
    offset = _PREAMBLE
    while offset + _ELEMENT.size <= len(data):
        group, element, vr, length = _ELEMENT.unpack_from(data, offset)
        if group != 0x0002:
            break
        start = offset + _ELEMENT.size
        if vr in LONG_VRS:
            length = int.from_bytes(data[start : start + 4], "little")
            start += 4
        offset = start + length
        if offset > min(len(data), file_size):
            raise NotPart10("file meta information is cut off or over 64 KiB")
        values[element] = data[start:offset]
    else:
        raise NotPart10("no data set after the file meta information")
    return values, offset


def _uid(values: dict[int, bytes], element: int, name: str) -> Uid:
    try:
        return Uid.parse(values[element].decode("ascii"))
    except (KeyError, UnicodeDecodeError, IdentifierError):
        raise NotPart10(f"file meta information without a valid {name} UID") from None
