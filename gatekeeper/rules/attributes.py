"""Attributes of a header as values of fields. A value that is malformed is no value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from gatekeeper.rules.fields import Field, Kind
from gatekeeper.rules.values import Value, of_text
from gatekeeper.work.values import MALFORMED, items, text

THERE = "(there)"
"""Value of an attribute that is only looked at for being there."""

_ONE_VALUE = frozenset({"LT", "ST", "UT", "UR"})
"""VRs in which a backslash is a character like any other (PS3.5 6.4)."""


def values_of(header: Dataset, field: Field) -> tuple[Value, ...]:
    """Return the distinct values of a DICOM field, of every item where it lies in sequences."""
    keywords = field.name.split(".")
    holders: Sequence[Dataset] = (header,)
    for keyword in keywords[:-1]:
        holders = [item for holder in holders for item in items(holder, keyword)]
    found: dict[Value, None] = {}
    vr = dictionary_VR(field.tags[-1])
    for holder in holders:
        found.update(dict.fromkeys(_values(holder, keywords[-1], vr, field.kind)))
    return tuple(found)


def _values(holder: Dataset, keyword: str, vr: str, kind: Kind) -> list[Value]:
    if vr == "SQ":
        return [THERE] if items(holder, keyword) else []
    if kind is Kind.OPAQUE:
        return [THERE] if _is_there(holder, keyword) else []
    if vr == "FL":
        return _singles(holder, keyword)
    if vr == "PN":
        several = _names(holder, keyword)
    else:
        words = text(holder, keyword)
        several = [words] if vr in _ONE_VALUE else words.split("\\")
    read = (of_text(kind, one) for one in several)
    return [value for value in read if value is not None]


def _singles(holder: Dataset, keyword: str) -> list[Value]:
    """Return values of single precision to the digits that they have: 0.1, not 0.100000001."""
    found: list[Value] = []
    for one in text(holder, keyword).split("\\"):
        try:
            value = of_text(Kind.NUMBER, f"{float(one):.7g}")
        except ValueError:
            continue
        if value is not None:
            found.append(value)
    return found


def _names(holder: Dataset, keyword: str) -> list[str]:
    try:
        value: Any = holder.get(keyword)
        if value is None:
            return []
        names = value if isinstance(value, MultiValue) else [value]
        return [str(name) for name in names]
    except (*MALFORMED, OSError):
        return []


def _is_there(holder: Dataset, keyword: str) -> bool:
    try:
        value: Any = holder.get(keyword)
        return value is not None and len(value) > 0
    except (*MALFORMED, OSError):
        return False
