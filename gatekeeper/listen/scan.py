"""The elements of an encoded data set, one after another, without copying a value.

The scan is iterative, moves forward only, never past the end, and looks at nothing but the headers
of elements and items. So two data sets with the same headers at the same places are scanned alike:
a `Layout` keeps what one scan found, and tells in one comparison whether it holds for another data
set. From one image of a series to the next it nearly always does.

Three encodings (PS3.5 section 7): implicit little endian, explicit little endian, explicit big
endian.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

from gatekeeper.errors import RefusedInstance

CANNOT_UNDERSTAND = 0xC000
"""Cannot understand (PS3.4 Table B.2-1)."""

MAXIMUM_DEPTH = 64
MAXIMUM_ELEMENTS = 500_000
LARGEST_LAYOUT = 16 * 1024
"""Bytes of a data set up to which headers are remembered."""

_UNDEFINED = 0xFFFFFFFF
_DELIMITERS = 0xFFFE
_ITEM = 0xFFFEE000
_ITEM_DELIMITER = 0xFFFEE00D
_SEQUENCE_DELIMITER = 0xFFFEE0DD

# VRs with a 16-bit length field in the explicit encodings; all others have 32 bits (PS3.5 7.1.2).
_SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_KNOWN_VRS = _SHORT_VRS | frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_VR = re.compile(rb"[A-Z]{2}")

_IMPLICIT = "1.2.840.10008.1.2"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_HEADERS = {
    (True, True): struct.Struct("<HHL"),
    (True, False): struct.Struct(">HHL"),
    (False, True): struct.Struct("<HH2sH"),
    (False, False): struct.Struct(">HH2sH"),
}
_LENGTHS = {True: struct.Struct("<L"), False: struct.Struct(">L")}


Spans = Mapping[int, tuple[int, int]]
"""First byte and end of values, by tag."""


class CutOffError(Exception):
    """The data ends within an element."""


def refused(rule: str) -> RefusedInstance:
    """Return a refusal with status 0xC000, naming the rule that was broken."""
    return RefusedInstance(CANNOT_UNDERSTAND, rule)


@dataclass(frozen=True, slots=True)
class Encoding:
    """How elements are encoded."""

    implicit: bool
    little: bool

    @classmethod
    def of(cls, transfer_syntax_uid: str) -> Self:
        """Return the encoding of a transfer syntax."""
        return cls(transfer_syntax_uid == _IMPLICIT, transfer_syntax_uid != _BIG_ENDIAN)

    def in_use(self, data: bytes) -> Encoding:
        """Return how `data` is encoded where this was negotiated, judged by its first element."""
        if not self.little:
            return self
        return Encoding(implicit=data[4:6] not in _KNOWN_VRS, little=True)

    def inside(self, vr: bytes) -> Encoding:
        """Return how the items are encoded of an element of undefined length.

        UN of undefined length holds implicit little endian (PS3.5 6.2.2 note 2).
        """
        return Encoding(implicit=True, little=True) if vr == b"UN" else self


@dataclass(frozen=True, slots=True)
class Layout:
    """Where in a data set some elements lie, and what makes another data set laid out alike.

    Attributes:
        size: bytes of the data set that were scanned.
        spans: first byte and end of each value that was looked for, by tag.
        as_negotiated: whether the VR encoding was the negotiated one.
        mask: every bit of the headers among the scanned bytes, as one number.
        headers: those bits.
    """

    size: int
    spans: Spans
    as_negotiated: bool
    mask: int
    headers: int

    @classmethod
    def of(cls, data: bytes, scan: Scan, spans: Spans, *, as_negotiated: bool) -> Self:
        """Return what a scan of `data` found, which ended within `LARGEST_LAYOUT`."""
        size = scan.position
        mask = bytearray(size)
        for start, end in scan.headers:
            mask[start:end] = b"\xff" * (end - start)
        number = int.from_bytes(mask, "little")
        headers = int.from_bytes(data[:size], "little") & number
        return cls(size, spans, as_negotiated, number, headers)

    def fits(self, data: bytes) -> bool:
        """Return whether a scan of `data` would find the same elements at the same places."""
        if len(data) < self.size:
            return False
        return int.from_bytes(data[: self.size], "little") & self.mask == self.headers


class Scan:
    """A position in an encoded data set that can only move forward and never past its end.

    Attributes:
        position: where the next element begins.
        headers: first byte and end of each header that begins within `LARGEST_LAYOUT`, those of
            items included.
    """

    def __init__(self, data: bytes, encoding: Encoding) -> None:
        self.position = 0
        self.headers: list[tuple[int, int]] = []
        self._count = 0
        self._data = data
        self._encoding = encoding

    def elements(self) -> Iterator[tuple[int, int, int]]:
        """Yield (tag, start, stop) of each top-level element, the value lying in data[start:stop].

        Raises:
            CutOffError: if the data ends within an element.
            RefusedInstance: if it does not parse, or nests deeper than any real one.
        """
        while self.position < len(self._data):
            tag, vr, length = self._header(self._encoding)
            start = self.position
            if length == _UNDEFINED:
                self._skip_undefined(self._encoding.inside(vr))
            else:
                self._skip(length)
            yield tag, start, self.position

    def _skip(self, length: int) -> None:
        if length > len(self._data) - self.position:
            raise CutOffError
        self.position += length

    def _header(self, encoding: Encoding) -> tuple[int, bytes, int]:
        """Return tag, VR (empty in implicit encoding and for delimiters) and length."""
        self._count += 1
        if self._count > MAXIMUM_ELEMENTS:
            raise refused(f"more than {MAXIMUM_ELEMENTS} elements before the Series Instance UID")
        start = self.position
        found = self._read_header(encoding, start)
        if start < LARGEST_LAYOUT:
            self.headers.append((start, self.position))
        return found

    def _read_header(self, encoding: Encoding, start: int) -> tuple[int, bytes, int]:
        self._skip(8)
        header = _HEADERS[encoding.implicit, encoding.little]
        group, element, *rest = header.unpack_from(self._data, start)
        tag = group << 16 | element
        if encoding.implicit:
            return tag, b"", rest[0]
        if group == _DELIMITERS:
            return tag, b"", _LENGTHS[encoding.little].unpack_from(self._data, start + 4)[0]
        vr, length = rest
        if vr in _SHORT_VRS:
            return tag, vr, length
        if not _VR.fullmatch(vr):
            raise refused("a value representation is not two capital letters")
        self._skip(4)
        return tag, vr, _LENGTHS[encoding.little].unpack_from(self._data, start + 8)[0]

    def _skip_undefined(self, encoding: Encoding) -> None:
        """Move past the items, and the delimiter, of a value of undefined length (PS3.5 7.5)."""
        # Each level is inside a sequence (True) or inside an item of undefined length (False).
        levels: list[tuple[bool, Encoding]] = [(True, encoding)]
        while levels:
            if len(levels) > 2 * MAXIMUM_DEPTH:
                raise refused(f"sequences nest deeper than {MAXIMUM_DEPTH}")
            in_sequence, encoding = levels[-1]
            tag, vr, length = self._header(encoding)
            if in_sequence:
                if tag == _SEQUENCE_DELIMITER:
                    levels.pop()
                elif tag != _ITEM:
                    raise refused("something else than an item in a sequence")
                elif length == _UNDEFINED:
                    levels.append((False, encoding))
                else:
                    self._skip(length)
            elif tag == _ITEM_DELIMITER:
                levels.pop()
            elif length == _UNDEFINED:
                levels.append((True, encoding.inside(vr)))
            else:
                self._skip(length)
