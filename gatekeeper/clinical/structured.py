"""Structured reports: the measurements in their content tree (PS3.3 C.17.3), whatever the template.

Only NUM content items of known codes are taken, with a unit of UCUM. A tree of a stranger is walked
without recursion and to a limit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from gatekeeper.clinical.quantities import coded
from gatekeeper.errors import ClinicalRefused

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MAXIMUM_ITEMS = 20_000
"""Content items of one report that are looked at."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One measurement, checked.

    Attributes:
        name: of the quantity.
        value: in the quantity's unit.
        given_value: as the report has it.
        given_unit: as the report has it, UCUM.
        observed_at: seconds since 1970-01-01 UTC; 0 where the report does not say.
    """

    name: str
    value: float
    given_value: float
    given_unit: str
    observed_at: float


@dataclass(frozen=True, slots=True)
class Found:
    """What a report holds.

    Attributes:
        measured: in the order of the tree.
        refused: why others of a known code were not taken, a sentence each.
    """

    measured: tuple[Measured, ...]
    refused: tuple[str, ...]


def measurements(report: Dataset) -> Found:
    """Return the measurements of a report that we know.

    The time of a measurement is its Observation DateTime (PS3.3 C.17.3.2), else that of the
    nearest item around it, else the report's Content Date and Time.
    """
    measured: list[Measured] = []
    refused: list[str] = []
    for item, moment in _items(report):
        if _text(item, "ValueType") != "NUM":
            continue
        scheme, value, _ = _code(item, "ConceptNameCodeSequence")
        quantity = coded(scheme, value)
        if quantity is None:
            continue
        try:
            given, unit = _measured_value(item)
            converted = quantity.converted(given, unit)
        except ClinicalRefused as error:
            text = str(error)
            named = text if text.startswith(quantity.name) else f"{quantity.name}: {text}"
            refused.append(named)
        else:
            measured.append(Measured(quantity.name, converted, given, unit, moment))
    return Found(tuple(measured), tuple(refused))


def _items(report: Dataset) -> Iterator[tuple[Dataset, float]]:
    """Yield the content items in the order of the tree, each with its time."""
    waiting: list[tuple[Any, float]] = [(report, _content_moment(report))]
    seen = 0
    while waiting:
        item, moment = waiting.pop()
        seen += 1
        if seen > MAXIMUM_ITEMS:
            return
        moment = moment_of(_text(item, "ObservationDateTime")) or moment
        yield item, moment
        children: Any = item.get("ContentSequence") or ()
        waiting += [(child, moment) for child in reversed(list(children))]


def _measured_value(item: Dataset) -> tuple[float, str]:
    """Return number and unit (PS3.3 C.18.1)."""
    values: Any = item.get("MeasuredValueSequence") or ()
    if len(values) != 1:
        raise ClinicalRefused("the measurement has no value")
    numbers: Any = values[0].get("NumericValue")
    try:
        value = float(numbers)
    except (TypeError, ValueError):
        raise ClinicalRefused("the value is not one number") from None
    if not math.isfinite(value):
        raise ClinicalRefused("the value is not one number")
    scheme, unit, _ = _code(values[0], "MeasurementUnitsCodeSequence")
    if scheme != "UCUM":
        raise ClinicalRefused("the unit is not a code of UCUM")
    return value, unit


def _code(item: Dataset, keyword: str) -> tuple[str, str, str]:
    """Return scheme, value and meaning of a code (PS3.3 8.8); empty where there is none."""
    codes: Any = item.get(keyword) or ()
    if not codes:
        return "", "", ""
    one = codes[0]
    return (
        _text(one, "CodingSchemeDesignator"),
        _text(one, "CodeValue") or _text(one, "LongCodeValue"),
        _text(one, "CodeMeaning"),
    )


def _text(item: Dataset, keyword: str) -> str:
    value: Any = item.get(keyword)
    return "" if value is None else str(value).strip()


def _content_moment(report: Dataset) -> float:
    date, time = _text(report, "ContentDate"), _text(report, "ContentTime")
    zone = _text(report, "TimezoneOffsetFromUTC")
    return moment_of(f"{date}{time.partition('.')[0]}{zone}" if date else "")


def moment_of(text: str) -> float:
    """Return a DICOM date-time (PS3.5 6.2, DT) as seconds since 1970; 0 where it is none.

    Without an offset it is taken as UTC: the window in which values are used counts days.
    """
    offset = UTC
    for sign in "+-":
        text, found, zone = text.partition(sign)
        if found:
            if len(zone) != 4 or not zone.isdigit():
                return 0.0
            minutes = int(zone[:2]) * 60 + int(zone[2:])
            if minutes > 14 * 60:
                return 0.0
            offset = timezone(timedelta(minutes=minutes if sign == "+" else -minutes))
    digits = text.partition(".")[0]
    form = {8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}.get(len(digits))
    if form is None or not digits.isdigit():
        return 0.0
    try:
        return datetime.strptime(digits, form).replace(tzinfo=offset).timestamp()
    except ValueError:
        return 0.0
