"""The header of a kept file in DICOM JSON (PS3.18 annex F), without bulk data, within bounds.

What is read came from outside. Only the beginning of the file is looked at, pixels are never
reached, a deflated data set is not inflated, values that break their VR are left out one by one,
and whatever the parser makes of the rest, the answer is a header or None.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydicom import Dataset, config, dcmread
from pydicom.dataelem import DataElement

from gatekeeper.listen.headers import DEFLATED

_BULK = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_DEPTH = 16
_LONGEST_VALUE = 64 * 1024
"""Characters of one value; what is longer is bulk, whatever its VR."""

JsonObject = dict[str, Any]


def read_header(path: Path, transfer_syntax_uid: str, limit: int) -> Dataset | None:
    """Return the data set of a file up to its pixels, or None when it cannot be shown.

    Args:
        path: a DICOM file.
        transfer_syntax_uid: as recorded.
        limit: bytes of the file that are looked at; the header must end within them.

    Raises:
        OSError: if the file cannot be read.
    """
    if transfer_syntax_uid in DEFLATED:
        return None
    with path.open("rb") as file:
        beginning = file.read(limit)
    try:
        return dcmread(io.BytesIO(beginning), stop_before_pixels=True)
    except Exception:  # noqa: BLE001 - the parser may raise anything for foreign bytes
        return None


def as_json(dataset: Dataset) -> JsonObject:
    """Return a header in DICOM JSON, without group 0002, bulk data and broken values."""
    return dict(_elements(dataset, 0))


def values_of(dataset: Dataset, tags: frozenset[str]) -> JsonObject:
    """Return the attributes `tags`, eight hexadecimal digits each, as far as they are there."""
    found: JsonObject = {}
    for tag in tags:
        number = int(tag, 16)
        if number in dataset:
            found |= _element(dataset, number, 0)
    return found


def quiet() -> None:
    """Have pydicom neither warn of foreign values nor judge them, in this process."""
    config.settings.reading_validation_mode = config.IGNORE
    warnings.filterwarnings("ignore", module="pydicom")


def _elements(dataset: Dataset, depth: int) -> Iterator[tuple[str, JsonObject]]:
    for tag in sorted(dataset.keys()):
        yield from _element(dataset, int(tag), depth).items()


def _element(dataset: Dataset, tag: int, depth: int) -> JsonObject:
    if tag >> 16 == 0x0002 or tag & 0xFFFF == 0:
        return {}
    name = f"{tag:08X}"
    try:
        element = dataset[tag]
        vr = str(element.VR)
        if vr == "SQ":
            return {name: _sequence(element, depth)}
        if vr in _BULK or " " in vr:
            return {}
        shown = element.to_json_dict(None, _LONGEST_VALUE)
    except Exception:  # noqa: BLE001 - likewise; the other attributes are shown
        return {}
    return {name: shown} if all(map(_can_be_shown, _values(shown))) else {}


def _can_be_shown(value: Any) -> bool:
    """Return whether JSON has the value; it has no infinity, and none of our answers a flood."""
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, str) or len(value) <= _LONGEST_VALUE


def _sequence(element: DataElement, depth: int) -> JsonObject:
    if depth >= _DEPTH:
        return {"vr": "SQ"}
    items = [dict(_elements(item, depth + 1)) for item in element.value]
    return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}


def _values(shown: JsonObject) -> list[Any]:
    found = shown.get("Value", [])
    return found if isinstance(found, list) else []
