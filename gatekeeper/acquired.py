"""Acquired: how a series was acquired, as far as one header says: device, protocol, numbers, clock.

Device and protocol have the names by which calibrations are found (`gatekeeper.work.protocol`).
Values are those of the image, of a multi-frame image those that its frames share (PS3.3
C.7.6.16). A value that is malformed is no value. Of patients there is nothing here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any

from pydicom.dataset import Dataset

from gatekeeper.errors import UnreadableSeries
from gatekeeper.work.protocol import device_name, protocol_name
from gatekeeper.work.values import items, numbers, text

TEXT_LENGTH = 64
"""Characters of a text that are kept (LO, PS3.5 6.2)."""

_SHARED = "SharedFunctionalGroupsSequence"
_NUMBERS: Mapping[str, tuple[str, int]] = {
    "pixel_spacing_row": ("PixelSpacing", 0),
    "pixel_spacing_column": ("PixelSpacing", 1),
    "slice_thickness": ("SliceThickness", 0),
    "spacing_between_slices": ("SpacingBetweenSlices", 0),
    "rows": ("Rows", 0),
    "columns": ("Columns", 0),
    "bits_stored": ("BitsStored", 0),
    "repetition_time": ("RepetitionTime", 0),
    "echo_time": ("EchoTime", 0),
    "inversion_time": ("InversionTime", 0),
    "flip_angle": ("FlipAngle", 0),
    "echo_train_length": ("EchoTrainLength", 0),
    "pixel_bandwidth": ("PixelBandwidth", 0),
    "field_strength": ("MagneticFieldStrength", 0),
    "kvp": ("KVP", 0),
}
"""Name -> the attribute and which of its values; units as in PS3.3: mm, ms, degrees, Hz, T, kV."""
_INSTEAD = {"echo_time": "EffectiveEchoTime", "inversion_time": "InversionTimes"}
"""Names of multi-frame images for the same (PS3.3 C.8.13.5.4)."""

_MACROS = (
    "PixelMeasuresSequence",
    "MRTimingAndRelatedParametersSequence",
    "MREchoSequence",
    "MRModifierSequence",
    "MRImagingModifierSequence",
    "CTXRayDetailsSequence",
)
"""Functional groups that hold them."""

_TIMES = (
    ("InstanceCreationDate", "InstanceCreationTime"),
    ("AcquisitionDateTime", ""),
    ("AcquisitionDate", "AcquisitionTime"),
    ("ContentDate", "ContentTime"),
    ("SeriesDate", "SeriesTime"),
)
"""When an image was made, the nearest to its sending first."""

KEYWORDS = (
    "Manufacturer",
    "ManufacturerModelName",
    "StationName",
    "DeviceSerialNumber",
    "SoftwareVersions",
    "ProtocolName",
    "SeriesDescription",
    "NumberOfFrames",
    "TimezoneOffsetFromUTC",
    _SHARED,
    *dict.fromkeys(keyword for keyword, _ in _NUMBERS.values()),
    *(keyword for pair in _TIMES for keyword in pair if keyword),
)
"""Everything that is looked at."""


@dataclass(frozen=True, slots=True)
class Acquired:
    """How one series was acquired.

    Attributes:
        series_instance_uid: its UID.
        modality: as received.
        device, protocol: as calibrations name them; empty where not stated.
        station, serial, software: StationName, DeviceSerialNumber and SoftwareVersions.
        slices: images, the frames of a multi-frame one counted.
        numbers: name of `_NUMBERS` -> value, of those that are stated.
        made_by: attribute that says when the image was made; empty where none does.
        made_at: that time, seconds since 1970; without a stated offset, in the zone of this
            machine.
        received_at: when the image came, seconds since 1970.
    """

    series_instance_uid: str
    modality: str
    device: str = ""
    protocol: str = ""
    station: str = ""
    serial: str = ""
    software: str = ""
    slices: int = 0
    numbers: Mapping[str, float] = field(default_factory=dict[str, float])
    made_by: str = ""
    made_at: float | None = None
    received_at: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return asdict(self)

    @classmethod
    def of_json(cls, stored: Mapping[str, Any]) -> Acquired:
        """Return what was stored by `as_json`, of this version or an older one.

        Raises:
            LookupError, TypeError, ValueError: if it was not.
        """
        known = {name: stored[name] for name in cls.__slots__ if name in stored}
        return cls(**known)


def acquired(
    header: Dataset, series_instance_uid: str, modality: str, images: int, received_at: float
) -> Acquired:
    """Return how a series was acquired.

    Args:
        header: `KEYWORDS` of one of its images.
        series_instance_uid: as recorded at receipt.
        modality: likewise.
        images: of the series.
        received_at: of that image.
    """
    made_by, made_at = _made(header)
    frames = _number(header, "NumberOfFrames", 0)
    return Acquired(
        series_instance_uid=series_instance_uid,
        modality=modality,
        device=device_name(header),
        protocol=protocol_name(header),
        station=line(header, "StationName"),
        serial=line(header, "DeviceSerialNumber"),
        software=line(header, "SoftwareVersions"),
        slices=images * max(1, int(frames or 1)),
        numbers=dict(_numbers(header)),
        made_by=made_by,
        made_at=made_at,
        received_at=received_at,
    )


def line(header: Dataset, keyword: str, length: int = TEXT_LENGTH) -> str:
    """Return an attribute as one line of printable text; empty when absent."""
    return one_line(text(header, keyword), length)


def one_line(words: str, length: int = TEXT_LENGTH) -> str:
    """Return text with anything that is not printable as a space, cut at a length."""
    printable = "".join(one if one.isprintable() else " " for one in words[: 4 * length])
    return " ".join(printable.split())[:length]


def _numbers(header: Dataset) -> Iterator[tuple[str, float]]:
    for name, (keyword, place) in _NUMBERS.items():
        value = _number(header, keyword, place)
        if value is None:
            value = _shared(header, _INSTEAD.get(name, keyword), place)
        if value is not None:
            yield name, value


def _number(header: Dataset, keyword: str, place: int) -> float | None:
    try:
        values = numbers(header, keyword)
    except UnreadableSeries:
        return None
    return values[place] if place < len(values) else None


def _shared(header: Dataset, keyword: str, place: int) -> float | None:
    """Return a value that all frames of a multi-frame image share."""
    for group in items(header, _SHARED)[:1]:
        for macro in _MACROS:
            for item in items(group, macro)[:1]:
                value = _number(item, keyword, place)
                if value is not None:
                    return value
    return None


def _made(header: Dataset) -> tuple[str, float | None]:
    """Return when the image was made, and by which attribute."""
    zone = _zone(text(header, "TimezoneOffsetFromUTC"))
    for first, second in _TIMES:
        stated = text(header, first)
        clock = text(header, second) if second else ""
        if not stated or (second and not clock):
            continue
        moment = moment_of(stated + clock, zone)
        if moment is not None:
            return first, moment
    return "", None


_MOMENT = re.compile(r"(\d{4})\.?(\d\d)\.?(\d\d)(\d\d):?(\d\d):?(\d\d)(?:\.(\d{1,6}))?([+-]\d{4})?")


def moment_of(stated: str, zone: tzinfo | None) -> float | None:
    """Return a date and time of PS3.5 6.2 (DA and TM, or DT) as seconds since 1970, or None.

    Args:
        stated: to the second at least.
        zone: that it is in where it does not say; None for the zone of this machine.
    """
    found = _MOMENT.fullmatch(stated.strip())
    if found is None:
        return None
    *parts, fraction, offset = found.groups()
    year, month, day, hour, minute, second = (int(part) for part in parts)
    try:
        local = datetime(  # noqa: DTZ001 - the zone is put to it below
            year, month, day, hour, minute, min(second, 59), int((fraction or "0").ljust(6, "0"))
        )
        there = _zone(offset or "") or zone
        aware = local.astimezone() if there is None else local.replace(tzinfo=there)
        return aware.astimezone(UTC).timestamp()
    except (OverflowError, ValueError, OSError):
        return None


def _zone(offset: str) -> timezone | None:
    found = re.fullmatch(r"([+-])(\d\d)(\d\d)", offset.strip())
    if found is None:
        return None
    minutes = int(found[2]) * 60 + int(found[3])
    if minutes > 14 * 60:
        return None
    return timezone(timedelta(minutes=-minutes if found[1] == "-" else minutes))
