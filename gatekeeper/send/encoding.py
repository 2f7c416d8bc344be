"""From Explicit to Implicit VR Little Endian, the one change of encoding that is ever made.

Both hold the same values in the same bytes (PS3.5 A.1, A.2); only the element headers differ. So
headers are rewritten and values copied, without reading any: what an archive gets is what the
file says, however odd. Every peer must take Implicit VR Little Endian (PS3.5 10.1), so no other
change is needed. Compressed, deflated and big endian objects are sent as stored or not at all.
"""

from __future__ import annotations

import struct

from gatekeeper.errors import GatekeeperError

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED = frozenset(
    {"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"}
)
"""Transfer syntaxes whose data set is one deflated stream (PS3.5 A.5, A.7)."""

MAXIMUM_DEPTH = 64
LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
"""Value representations with two reserved bytes and a length of 32 bits (PS3.5 7.1.2)."""
_SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())

_UNDEFINED = 0xFFFFFFFF
_HEADER = struct.Struct("<HHI")
_ITEM, _ITEM_END, _SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)
_ITEM_ENDS = _HEADER.pack(*_ITEM_END, 0)
_SEQUENCE_ENDS = _HEADER.pack(*_SEQUENCE_END, 0)


class NotReencodable(GatekeeperError):
    """A data set that is not in whole and valid Explicit VR Little Endian."""


def alternative(transfer_syntax_uid: str) -> str | None:
    """Return the other transfer syntax that an object may be sent in, None without one."""
    return IMPLICIT_LITTLE if transfer_syntax_uid == EXPLICIT_LITTLE else None


def to_implicit(data: bytes) -> bytes:
    """Return a data set of Explicit VR Little Endian in Implicit VR Little Endian.

    Sequences and items come out with undefined length; group lengths, which are retired and would
    be wrong, are left out (PS3.5 7.2).

    Raises:
        NotReencodable: naming what is not as PS3.5 section 7 wants it.
    """
    converter = _Converter(data)
    converter.data_set(0, len(data), 0)
    return bytes(converter.out)


class _Converter:
    """Reads `data` and appends to `out`; each method returns where it stopped reading."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.out = bytearray()

    def data_set(self, offset: int, end: int, depth: int, *, delimited: bool = False) -> int:
        """Convert elements up to `end`, or up to and with an item delimiter."""
        if depth > MAXIMUM_DEPTH:
            raise NotReencodable(f"sequences nested deeper than {MAXIMUM_DEPTH}")
        while offset < end:
            if delimited and self._header(offset, end)[:2] == _ITEM_END:
                return offset + _HEADER.size
            offset = self._element(offset, end, depth)
        if delimited:
            raise NotReencodable("an item without its end")
        return offset

    def _element(self, offset: int, end: int, depth: int) -> int:
        group, element, _ = self._header(offset, end)
        vr = self._data[offset + 4 : offset + 6]
        if vr in LONG_VRS:
            value = offset + 12
            length = int.from_bytes(self._data[offset + 8 : value], "little")
        elif vr in _SHORT_VRS:
            value = offset + 8
            length = int.from_bytes(self._data[offset + 6 : value], "little")
        else:
            raise NotReencodable("an element without a known value representation")
        if vr == b"SQ":
            return self._sequence(offset, value, length, end, depth)
        if length == _UNDEFINED:
            if vr != b"UN":
                raise NotReencodable("encapsulated data in an uncompressed transfer syntax")
            # Of undefined length, UN holds a sequence in Implicit VR Little Endian (PS3.5 6.2.2).
            stop = self._skip_implicit_sequence(value, end, depth + 1)
            self.out += _HEADER.pack(group, element, _UNDEFINED) + self._data[value:stop]
            return stop
        stop = self._within(value + length, end)
        if element != 0:
            self.out += _HEADER.pack(group, element, length) + self._data[value:stop]
        return stop

    def _sequence(self, offset: int, value: int, length: int, end: int, depth: int) -> int:
        group, element, _ = self._header(offset, end)
        self.out += _HEADER.pack(group, element, _UNDEFINED)
        delimited = length == _UNDEFINED
        stop = end if delimited else self._within(value + length, end)
        offset = value
        while delimited or offset < stop:
            *tag, item_length = self._header(offset, stop)
            offset += _HEADER.size
            if delimited and tuple(tag) == _SEQUENCE_END:
                break
            if tuple(tag) != _ITEM:
                raise NotReencodable("a sequence that holds something other than items")
            self.out += _HEADER.pack(*_ITEM, _UNDEFINED)
            if item_length == _UNDEFINED:
                offset = self.data_set(offset, stop, depth + 1, delimited=True)
            else:
                item_end = self._within(offset + item_length, stop)
                offset = self.data_set(offset, item_end, depth + 1)
            self.out += _ITEM_ENDS
        self.out += _SEQUENCE_ENDS
        return offset

    def _skip_implicit_sequence(self, offset: int, end: int, depth: int) -> int:
        """Return the end of a delimited sequence in Implicit VR, its delimiter with it."""
        if depth > MAXIMUM_DEPTH:
            raise NotReencodable(f"sequences nested deeper than {MAXIMUM_DEPTH}")
        while True:
            *tag, length = self._header(offset, end)
            offset += _HEADER.size
            if tuple(tag) == _SEQUENCE_END:
                return offset
            # Elements of an item are skipped like items: both have a tag and a length.
            if tuple(tag) == _ITEM_END or (tuple(tag) == _ITEM and length == _UNDEFINED):
                continue
            if length == _UNDEFINED:
                offset = self._skip_implicit_sequence(offset, end, depth + 1)
            else:
                offset = self._within(offset + length, end)

    def _header(self, offset: int, end: int) -> tuple[int, int, int]:
        self._within(offset + _HEADER.size, end)
        return _HEADER.unpack_from(self._data, offset)

    @staticmethod
    def _within(offset: int, end: int) -> int:
        if offset > end:
            raise NotReencodable("an element that reaches beyond its data set")
        return offset
