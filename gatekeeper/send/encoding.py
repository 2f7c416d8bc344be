"""Re-encoding between the two uncompressed little endian transfer syntaxes, and no others.

Explicit and Implicit VR Little Endian (PS3.5 A.1, A.2) hold the same values and the same pixel
bytes, so that a change from one to the other loses nothing. Compressed, deflated and big endian
objects are never changed on the way.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from struct import error as StructError

from pydicom import dcmread
from pydicom.filebase import DicomIO
from pydicom.filewriter import write_dataset

from gatekeeper.errors import GatekeeperError

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED = frozenset(
    {"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"}
)
"""Transfer syntaxes whose data set is one deflated stream (PS3.5 A.5, A.7)."""

_OTHER = {IMPLICIT_LITTLE: EXPLICIT_LITTLE, EXPLICIT_LITTLE: IMPLICIT_LITTLE}

# What pydicom raises on data sets that it cannot read or write.
_CODEC_ERRORS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    NotImplementedError,
    RecursionError,
    StructError,
    TypeError,
    ValueError,
)


class NotReencodable(GatekeeperError):
    """An object whose data set cannot be read or written again."""


def alternative(transfer_syntax_uid: str) -> str | None:
    """Return the other transfer syntax that an object may be sent in, None without one."""
    return _OTHER.get(transfer_syntax_uid)


def reencode(path: Path, transfer_syntax_uid: str) -> bytes:
    """Return the data set of the file at `path` in another uncompressed little endian syntax.

    Raises:
        NotReencodable: if it cannot be read or written.
        OSError: if the file cannot be read.
    """
    buffer = BytesIO()
    target = DicomIO(buffer)
    target.is_little_endian = True
    target.is_implicit_VR = transfer_syntax_uid == IMPLICIT_LITTLE
    try:
        write_dataset(target, dcmread(path))
    except _CODEC_ERRORS as error:
        raise NotReencodable(f"cannot be re-encoded: {type(error).__name__}") from None
    return buffer.getvalue()
