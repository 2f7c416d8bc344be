"""What a compressed frame says of itself, read before any decoder allocates for it.

A decoder believes the codestream, not the DICOM header. A frame whose codestream declares more
than the header is refused while it is still a few bytes in a file.
"""

from __future__ import annotations

import struct

_JPEG_START = b"\xff\xd8"
_JPEG_2000_START = b"\xff\x4f\xff\x51"
_JP2_BOX = b"\x00\x00\x00\x0cjP  "
# Frame headers: SOF0 to SOF15 without DHT, JPG and DAC (ISO/IEC 10918-1 B.2.2), and SOF55 of
# JPEG-LS (ISO/IEC 14495-1 C.2.2).
_FRAME_MARKERS = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})


def has_end(code: bytes) -> bool:
    """Tell whether JPEG, JPEG-LS or JPEG 2000 data ends with its end marker, padding aside."""
    return code[-64:].rstrip(b"\x00\xff").endswith(b"\xff\xd9")


def declared_size(code: bytes) -> tuple[int, int, int] | None:
    """Return (rows, columns, components) as the codestream declares them.

    Returns:
        None when the data is not JPEG, JPEG-LS or JPEG 2000, as with RLE, or declares nothing.
    """
    if code.startswith(_JP2_BOX):
        start = code.find(_JPEG_2000_START)
        return None if start < 0 else _jpeg_2000(code[start:])
    if code.startswith(_JPEG_2000_START):
        return _jpeg_2000(code)
    if code.startswith(_JPEG_START):
        return _jpeg(code)
    return None


def _jpeg_2000(code: bytes) -> tuple[int, int, int] | None:
    """Read the SIZ marker segment (ISO/IEC 15444-1 A.5.1)."""
    if len(code) < 42:
        return None
    right, bottom, left, top = struct.unpack(">4L", code[8:24])
    (components,) = struct.unpack(">H", code[40:42])
    return bottom - top, right - left, components


def _jpeg(code: bytes) -> tuple[int, int, int] | None:
    position = 2
    while position + 9 <= len(code):
        if code[position] != 0xFF:
            return None
        marker = code[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if marker in _STANDALONE:
            position += 2
            continue
        if marker in _FRAME_MARKERS:
            rows, columns, components = struct.unpack(">HHB", code[position + 5 : position + 10])
            return rows, columns, components
        (length,) = struct.unpack(">H", code[position + 2 : position + 4])
        position += 2 + max(2, length)
    return None
