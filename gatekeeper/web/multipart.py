"""multipart/related (RFC 2387, RFC 2046) taken apart as it comes, by python-multipart's parser.

That parser is made for forms, and knows nothing of what a part means: the boundary, a part's
headers and its bytes are all that is asked of it. Nothing is gathered here but a part's headers,
within limits.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from gatekeeper.web.refusal import BadRequest

DICOM = "application/dicom"
_RELATED = "multipart/related"
_HEADERS = 16
_HEADER_BYTES = 4096
# RFC 2046 5.1.1, with a few more characters that are seen.
_BOUNDARY = re.compile(rb"[0-9A-Za-z'()+_,./:=?*!#$%&~@ -]{0,199}[0-9A-Za-z'()+_,./:=?*!#$%&~@-]")


class Part(Protocol):
    """What takes the bytes of one part."""

    def write(self, data: memoryview) -> None:
        """Take the next bytes; they are valid until this returns."""
        ...

    def finish(self) -> None:
        """Note that all bytes are here."""
        ...

    def abandon(self) -> None:
        """Note that the rest will not come."""
        ...


def boundary_of(content_type: str | None) -> bytes:
    """Return the boundary of a STOW-RS request's body.

    Raises:
        BadRequest: with 415 for another media type, 400 without a usable boundary.
    """
    kind, parameters = parse_options_header(content_type)
    if kind != _RELATED.encode():
        raise BadRequest(415, "the body must be multipart/related (PS3.18 10.5.1)")
    if parameters.get(b"type", b"").lower() != DICOM.encode():
        raise BadRequest(415, 'the parts must be of type="application/dicom" (PS3.18 8.7.3)')
    boundary = parameters.get(b"boundary", b"")
    if not _BOUNDARY.fullmatch(boundary):
        raise BadRequest(400, "no boundary by RFC 2046 5.1.1")
    return boundary


class Parts:
    """Hands the parts of a body to what takes each.

    Args:
        boundary: as the Content-Type has it.
        begin: returns what takes the next part, whose headers were fit.
        maximum_parts: most parts.
    """

    def __init__(self, boundary: bytes, begin: Callable[[], Part], maximum_parts: int) -> None:
        self._begin = begin
        self._maximum_parts = maximum_parts
        self._count = 0
        self._field = bytearray()
        self._value = bytearray()
        self._kind = ""
        self._part: Part | None = None
        self.ended = False
        """Whether the closing boundary was seen."""
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_begin": self._on_header_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
            max_header_count=_HEADERS,
            max_header_size=_HEADER_BYTES,
        )

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body.

        Raises:
            BadRequest: naming the rule that the body breaks.
        """
        try:
            self._parser.write(data)
        except FormParserError:
            raise BadRequest(400, "the body is not multipart by its boundary") from None

    def finish(self) -> None:
        """Check that the body was whole.

        Raises:
            BadRequest: if it broke off, or had no part.
        """
        if not self.ended:
            raise BadRequest(400, "the body ends before its closing boundary")
        if not self._count:
            raise BadRequest(400, "the body has no part")

    def abandon(self) -> None:
        """Forget the part under way."""
        if self._part is not None:
            part, self._part = self._part, None
            part.abandon()

    def _on_part_begin(self) -> None:
        self._count += 1
        if self._count > self._maximum_parts:
            raise BadRequest(413, f"more than {self._maximum_parts} parts")
        self._kind = ""

    def _on_header_begin(self) -> None:
        self._field.clear()
        self._value.clear()

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if bytes(self._field).lower() == b"content-type":
            kind, _ = parse_options_header(self._value.decode("latin-1"))
            self._kind = kind.decode("latin-1")

    def _on_headers_finished(self) -> None:
        # Without one, it is what the type of the whole says (RFC 2387 3.1).
        if self._kind not in {"", DICOM}:
            raise BadRequest(415, "a part is not application/dicom")
        self._part = self._begin()

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._part is not None:
            self._part.write(memoryview(data)[start:end])

    def _on_part_end(self) -> None:
        if self._part is not None:
            part, self._part = self._part, None
            part.finish()

    def _on_end(self) -> None:
        self.ended = True
