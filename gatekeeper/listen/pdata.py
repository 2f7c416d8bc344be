"""The byte stream of an established association, taken apart as it comes: pure.

`Unwrapping.feed` takes any piece of the stream and yields what is in it: parts of presentation data
values (PS3.8 9.3.5) as views into the piece, and other PDUs whole. Only a header that is cut by the
end of a piece is kept, at most 12 bytes. A length that is over a limit or does not add up raises
`ProtocolError` at the header, before anything behind it is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from gatekeeper.send.pdu import (
    ABORT,
    HEADER,
    P_DATA_TF,
    PDV_HEADER,
    RELEASE_RP,
    RELEASE_RQ,
    ProtocolError,
)

_PDV = 6
"""Bytes before a fragment: item length, context, control."""
_CONTROL_LENGTH = 4
"""Length of A-RELEASE-RQ, A-RELEASE-RP and A-ABORT (PS3.8 9.3.6 to 9.3.8)."""


class Part(NamedTuple):
    """Part of a presentation data value.

    Attributes:
        context: presentation context identifier.
        control: message control header (PS3.8 E.2).
        data: a view that is valid until the next piece is read.
        ends: whether the value ends here.
    """

    context: int
    control: int
    data: memoryview
    ends: bool


class Unwrapping:
    """Where in the stream we are.

    Args:
        limit: largest P-DATA-TF length in bytes.

    Attributes:
        boundaries: PDUs begun and ended so far; it changes when the peer gets on.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        # Of a PDU or a value, which are equally long, or a whole PDU that is no P-DATA.
        self._header = bytearray()
        self._header_size = HEADER.size
        self._pdu_left = 0
        self._value_left = 0
        self._in_value = False
        self._context = self._control = 0
        self.boundaries = 0

    @property
    def inside(self) -> bool:
        """Whether a PDU has begun and not ended."""
        return bool(self._header) or self._pdu_left > 0 or self._in_value

    def feed(self, piece: memoryview) -> Iterator[Part | bytes]:
        """Yield the parts of values, and other PDUs as bytes, that `piece` goes on with.

        Raises:
            ProtocolError: when a length or a PDU type is none that may come here.
        """
        position, end = 0, len(piece)
        while position < end:
            if self._in_value:
                taken = min(self._value_left, end - position)
                yield self._part(piece[position : position + taken])
                position += taken
                continue
            if not self._header and not self._pdu_left and self._begin_both(piece, position):
                position += PDV_HEADER.size
                if self._value_left == 0:
                    yield self._part(piece[:0])
                continue
            needed = self._header_size - len(self._header)
            if not self._header and not self._pdu_left:
                self.boundaries += 1
            self._header += piece[position : position + needed]
            if needed > end - position:
                return
            position += needed
            if self._pdu_left:
                self._begin_value()
                if self._value_left == 0:
                    yield self._part(piece[:0])
            elif (whole := self._begin_pdu()) is not None:
                yield whole

    def _begin_both(self, piece: memoryview, position: int) -> bool:
        """Take in the headers of a PDU and its first value, if both are here and in order.

        So it nearly always is, and one look is enough; what is wrong is found out the long way.
        """
        if position + PDV_HEADER.size > len(piece):
            return False
        kind, length, item, context, control = PDV_HEADER.unpack_from(piece, position)
        left = length - item - 4
        if kind != P_DATA_TF or length > self._limit or item < 2 or left < 0 or 0 < left < _PDV:
            return False
        self.boundaries += 1
        self._context, self._control = context, control
        self._pdu_left, self._value_left = left, item - 2
        self._in_value = True
        return True

    def _part(self, data: memoryview) -> Part:
        self._value_left -= len(data)
        ends = self._value_left == 0
        if ends:
            self._in_value = False
            if not self._pdu_left:
                self.boundaries += 1
        return Part(self._context, self._control, data, ends)

    def _begin_pdu(self) -> bytes | None:
        """Take in the header of a PDU; return the PDU when it is whole and no P-DATA."""
        kind, length = HEADER.unpack_from(self._header)
        if kind == P_DATA_TF:
            if length > self._limit:
                raise ProtocolError("a PDU is longer than the limit")
            if length < _PDV:
                raise ProtocolError("P-DATA without a presentation data value")
            self._pdu_left = length
            self._header.clear()
            return None
        if kind not in {RELEASE_RQ, RELEASE_RP, ABORT} or length != _CONTROL_LENGTH:
            raise ProtocolError("a PDU that may not come in an association")
        if len(self._header) == HEADER.size:
            self._header_size += _CONTROL_LENGTH
            return None
        whole = bytes(self._header)
        self._header.clear()
        self._header_size = HEADER.size
        self.boundaries += 1
        return whole

    def _begin_value(self) -> None:
        length = int.from_bytes(self._header[:4], "big")
        self._context, self._control = self._header[4], self._header[5]
        self._header.clear()
        if length < 2 or length + 4 > self._pdu_left:
            raise ProtocolError("a presentation data value with a wrong length")
        self._pdu_left -= length + 4
        if 0 < self._pdu_left < _PDV:
            raise ProtocolError("a presentation data value with a wrong length")
        self._value_left = length - 2
        self._in_value = True
