"""Small data sets as bytes: UIDs, codes and numbers in Implicit or Explicit VR Little Endian.

What we ask other nodes and tell them (queries, lists of references) is written here value by value,
so that an identifier goes out as it came in, however odd. What they say is read by pydicom with
its size bounded; values are taken raw, and anything that cannot be read is one error.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from gatekeeper.errors import GatekeeperError

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
ENCODINGS = (EXPLICIT_LITTLE, IMPLICIT_LITTLE)
"""Transfer syntaxes of such data sets, the preferred one first."""

_ITEM = (0xFFFE, 0xE000)
_SHORT = struct.Struct("<HH2sH")
_LONG = struct.Struct("<HH2sxxI")
_IMPLICIT = struct.Struct("<HHI")


class NotReadable(GatekeeperError):
    """A data set that is too long, or is none."""


@dataclass(frozen=True, slots=True)
class Element:
    """One element: its tag, VR and value, or for a sequence its items."""

    tag: int
    vr: str
    value: bytes | Sequence[Sequence[Element]]


def uid(tag: int, value: str) -> Element:
    """Return a UI element; an empty value matches everything in a query (PS3.4 C.2.2.2.3)."""
    return Element(tag, "UI", value.encode("ascii") + b"\0" * (len(value) % 2))


def code(tag: int, value: str) -> Element:
    """Return a CS element."""
    return Element(tag, "CS", value.encode("ascii") + b" " * (len(value) % 2))


def text(tag: int, vr: str, value: bytes = b"") -> Element:
    """Return an element of text, padded with a space; an empty one asks for the value."""
    return Element(tag, vr, value + b" " * (len(value) % 2))


def number(tag: int, value: int) -> Element:
    """Return a US element."""
    return Element(tag, "US", value.to_bytes(2, "little"))


def write(elements: Sequence[Element], transfer_syntax_uid: str) -> bytes:
    """Return the encoded data set of `elements`, which are in the order of their tags."""
    explicit = transfer_syntax_uid == EXPLICIT_LITTLE
    return b"".join(_encoded(element, explicit) for element in elements)


def read(data: bytes, transfer_syntax_uid: str, limit: int) -> Dataset:
    """Return the data set of `data`.

    Args:
        data: encoded data set.
        transfer_syntax_uid: one of `ENCODINGS`.
        limit: most bytes that are looked at.

    Raises:
        NotReadable: if it is longer, in another encoding, or does not parse.
    """
    if len(data) > limit:
        raise NotReadable(f"a data set over {limit} bytes")
    if transfer_syntax_uid not in ENCODINGS:
        raise NotReadable("a data set in a transfer syntax that was not negotiated")
    try:
        return read_dataset(io.BytesIO(data), transfer_syntax_uid == IMPLICIT_LITTLE, True)
    except Exception as error:  # noqa: BLE001 - whatever a stranger's bytes do to the parser
        raise NotReadable(f"a data set that does not parse: {type(error).__name__}") from None


def text_of(dataset: Dataset, tag: int) -> str:
    """Return an element's raw value as text, padding dropped, empty without one.

    Raises:
        NotReadable: if it is not ASCII.
    """
    try:
        return bytes_of(dataset, tag).decode("ascii").strip("\0 ")
    except UnicodeDecodeError:
        raise NotReadable("a value with characters that are not ASCII") from None


def number_of(dataset: Dataset, tag: int) -> int | None:
    """Return a US element's value, None without one."""
    value = bytes_of(dataset, tag)
    return int.from_bytes(value, "little") if len(value) == 2 else None


def items_of(dataset: Dataset, tag: int) -> list[Dataset]:
    """Return a sequence's items, empty without one.

    Raises:
        NotReadable: if it is no sequence.
    """
    if tag not in dataset:
        return []
    try:
        return list(dataset[tag].value or ())
    except Exception as error:  # noqa: BLE001 - whatever a stranger's bytes do to the parser
        raise NotReadable(f"a sequence that does not parse: {type(error).__name__}") from None


def bytes_of(dataset: Dataset, tag: int) -> bytes:
    """Return an element's raw value, empty without one."""
    if tag not in dataset:
        return b""
    raw = dataset.get_item(tag)
    value = getattr(raw, "value", b"")
    return value if isinstance(value, bytes) else b""


def _encoded(element: Element, explicit: bool) -> bytes:
    group, number = element.tag >> 16, element.tag & 0xFFFF
    if isinstance(element.value, bytes):
        value = element.value
        head = _SHORT.pack(group, number, element.vr.encode(), len(value)) if explicit else b""
    else:
        value = b"".join(_item(item, explicit) for item in element.value)
        head = _LONG.pack(group, number, element.vr.encode(), len(value)) if explicit else b""
    return (head or _IMPLICIT.pack(group, number, len(value))) + value


def _item(elements: Sequence[Element], explicit: bool) -> bytes:
    value = b"".join(_encoded(element, explicit) for element in elements)
    return _IMPLICIT.pack(*_ITEM, len(value)) + value
