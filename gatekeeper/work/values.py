"""Typed values out of a header that may be malformed in any way.

pydicom converts an element when it is first looked at, so a wrong value can raise anything then.
Here it is turned into a typed value, an empty one, or an `UnreadableSeries` that names the
attribute and never its value.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterable
from typing import Any, cast

from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError

from gatekeeper.errors import UnreadableSeries

MALFORMED: tuple[type[Exception], ...] = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BytesLengthException,
    EOFError,
    InvalidDicomError,
    LookupError,
    RuntimeError,  # with RecursionError and NotImplementedError
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What pydicom and the decoders raise on malformed input. Not `OSError` and `MemoryError`: those
speak of this machine and not of the data set."""

_MALFORMED_VALUE = (*MALFORMED, OSError)
"""What pydicom raises on a value in memory, where an `OSError` cannot be the machine's: it raises
one for a sequence that is cut off."""


class IncompleteSeries(UnreadableSeries):
    """Part of what the scanner made did not arrive: slices or pixel data are missing."""


def text(header: Dataset, keyword: str) -> str:
    """Return an attribute as text, several values joined by a backslash; empty when absent."""
    try:
        value: Any = header.get(keyword)
    except _MALFORMED_VALUE:
        return ""
    if value is None:
        return ""
    return "\\".join(str(item) for item in _several(value)).strip(" \0")


def number(header: Dataset, keyword: str) -> float | None:
    """Return an attribute's only or first value as a finite number; None when absent.

    Raises:
        UnreadableSeries: when a value is there and is not a finite number.
    """
    values = numbers(header, keyword)
    return values[0] if values else None


def numbers(header: Dataset, keyword: str, count: int | None = None) -> tuple[float, ...]:
    """Return an attribute as finite numbers; an empty tuple when absent or empty.

    Raises:
        UnreadableSeries: when a value is not a finite number, or there are not `count` of them.
    """
    try:
        value: Any = header.get(keyword)
        if value is None or value == "":
            return ()
        found = tuple(float(item) for item in _several(value))
    except _MALFORMED_VALUE:
        raise UnreadableSeries(f"{keyword} is not a number.") from None
    if not all(math.isfinite(item) for item in found):
        raise UnreadableSeries(f"{keyword} is not a finite number.")
    if count is not None and found and len(found) != count:
        raise UnreadableSeries(f"{keyword} has {len(found)} values instead of {count}.")
    return found


def whole(header: Dataset, keyword: str) -> int | None:
    """Return an attribute's first value as a whole number; None when absent.

    Raises:
        UnreadableSeries: when it is there and is not a whole number.
    """
    value = number(header, keyword)
    if value is None:
        return None
    if value != int(value):
        raise UnreadableSeries(f"{keyword} is not a whole number.")
    return int(value)


def items(header: Dataset, keyword: str) -> tuple[Dataset, ...]:
    """Return the items of a sequence; an empty tuple when absent or malformed."""
    try:
        value: Any = header.get(keyword)
        if value is None or isinstance(value, str | bytes):
            return ()
        return tuple(item for item in value if isinstance(item, Dataset))
    except _MALFORMED_VALUE:
        return ()


def _several(value: Any) -> list[Any]:
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        return [value]
    return list(cast(Iterable[Any], value))
