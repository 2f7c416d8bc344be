"""Reading a Structured Report's content tree: names, values and children as text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code


def children(item: Dataset) -> Sequence[Dataset]:
    """Return the content items right below `item`."""
    return item.get("ContentSequence", ())


def descendants(item: Dataset) -> Iterator[Dataset]:
    """Yield every content item below `item`, in reading order."""
    for child in children(item):
        yield child
        yield from descendants(child)


def code_of(item: Dataset) -> Code:
    """Return an item's concept name; an empty code when it has none."""
    return Code(*code_parts(item.get("ConceptNameCodeSequence")))


def code_parts(sequence: Any) -> tuple[str, str, str]:
    """Return value, scheme and meaning of the one item of a code sequence."""
    code: Dataset = sequence[0] if sequence else Dataset()
    value, scheme, meaning = (
        str(code.get(keyword, ""))
        for keyword in ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
    )
    return value, scheme, meaning


def value_of(item: Dataset) -> str:
    """Return an item's value as a person would write it; empty for a container."""
    reader = _READERS.get(str(item.get("ValueType", "")))
    return "" if reader is None else reader(item)


def person_text(name: Any) -> str:
    """Return a person's name, its groups apart, family name first."""
    groups = str(name or "").split("=")
    return " / ".join(", ".join(filter(None, group.split("^"))) for group in groups if group)


def date_text(value: Any) -> str:
    """Return a DA as YYYY-MM-DD, anything else as it is."""
    text = str(value or "")
    return f"{text[:4]}-{text[4:6]}-{text[6:8]}" if len(text) == 8 and text.isdigit() else text


def time_text(value: Any) -> str:
    """Return a TM as HH:MM:SS, anything else as it is."""
    text = str(value or "")
    whole = text[:6]
    return f"{whole[:2]}:{whole[2:4]}:{whole[4:6]}" if whole.isdigit() and len(whole) == 6 else text


def _number(item: Dataset) -> str:
    measured: Dataset = (item.get("MeasuredValueSequence") or [Dataset()])[0]
    value = measured.get("NumericValue")
    if value is None:
        return ""
    unit, _, meaning = code_parts(measured.get("MeasurementUnitsCodeSequence"))
    number = f"{float(value):.4g}" if abs(float(value)) < 10000 else f"{float(value):,.0f}"
    return number if unit in ("", "1") or "subjects" in unit else f"{number} {meaning}"


def _graphic(item: Dataset) -> str:
    axes = 3 if str(item.get("ValueType", "")) == "SCOORD3D" else 2
    points = len(item.get("GraphicData") or ()) // axes
    return f"{item.get('GraphicType', '')}, {points} points"


def _reference(item: Dataset) -> str:
    reference: Dataset = (item.get("ReferencedSOPSequence") or [Dataset()])[0]
    instance, frame = reference.get("ReferencedSOPInstanceUID", ""), reference.get(_FRAME)
    return str(instance) if frame is None else f"{instance}, frame {frame}"


_FRAME = "ReferencedFrameNumber"
_READERS: dict[str, Callable[[Dataset], str]] = {
    "TEXT": lambda item: str(item.get("TextValue", "")),
    "CODE": lambda item: code_parts(item.get("ConceptCodeSequence"))[2],
    "NUM": _number,
    "UIDREF": lambda item: str(item.get("UID", "")),
    "PNAME": lambda item: person_text(item.get("PersonName")),
    "DATETIME": lambda item: str(item.get("DateTime", "")),
    "DATE": lambda item: date_text(item.get("Date")),
    "TIME": lambda item: time_text(item.get("Time")),
    "SCOORD": _graphic,
    "SCOORD3D": _graphic,
    "IMAGE": _reference,
    "COMPOSITE": _reference,
    "WAVEFORM": _reference,
}
