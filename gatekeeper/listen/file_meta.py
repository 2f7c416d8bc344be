"""The preamble and File Meta Information in front of a received data set (PS3.10 section 7.1).

It is a function of the SOP class, the SOP instance and the transfer syntax alone. Nothing that
differs between two transfers of the same object (who sent it, which release received it) is in
it, so that the digest of a file says whether the content is the same. The sender is in the
database.
"""

from __future__ import annotations

import struct

IMPLEMENTATION_CLASS_UID = "2.25.223589578244447624880699652175361190533"
"""Our Implementation Class UID (PS3.7 D.3.3.2); never changes, see above."""

_PREAMBLE = bytes(128) + b"DICM"


def part10_header(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Return preamble, prefix and file meta, to be followed by the data set as received."""
    elements = b"".join(
        (
            # FileMetaInformationVersion, OB: 2 reserved bytes and a 32-bit length.
            struct.pack("<HH2sHL", 0x0002, 0x0001, b"OB", 0, 2) + b"\x00\x01",
            _uid(0x0002, sop_class_uid),
            _uid(0x0003, sop_instance_uid),
            _uid(0x0010, transfer_syntax_uid),
            _uid(0x0012, IMPLEMENTATION_CLASS_UID),
        )
    )
    group_length = struct.pack("<HH2sHL", 0x0002, 0x0000, b"UL", 4, len(elements))
    return _PREAMBLE + group_length + elements


def _uid(element: int, value: str) -> bytes:
    encoded = value.encode("ascii")
    encoded += b"\0" * (len(encoded) % 2)
    return struct.pack("<HH2sH", 0x0002, element, b"UI", len(encoded)) + encoded
