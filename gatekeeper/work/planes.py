"""The planes of one file: where each of its frames lies and how its values are scaled.

Single-frame objects say so in the Image Plane module (PS3.3 C.7.6.2); enhanced multi-frame ones in
functional groups, for each frame or shared (PS3.3 C.7.6.16). A multi-frame object without them
does not say where its frames are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from pydicom.dataset import Dataset

from gatekeeper.errors import UnreadableSeries
from gatekeeper.work.geometry import Plane
from gatekeeper.work.protocol import SPLIT_KEYS
from gatekeeper.work.source import Source
from gatekeeper.work.values import items, number, numbers, text, whole

MAXIMUM_FRAMES = 100_000

_Vector = tuple[float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """One plane of pixels in a file.

    Attributes:
        source: the file.
        frame: 1-based frame number; None in a single-frame object.
        plane: where it lies.
        slope, intercept: stored value to modality value (PS3.3 C.11.1, C.7.6.16.2.9).
    """

    source: Source
    frame: int | None
    plane: Plane
    slope: float = 1.0
    intercept: float = 0.0


def images_of(source: Source) -> list[Image]:
    """Return the file's images in the order of its frames.

    Raises:
        UnreadableSeries: naming the attribute that is missing or wrong.
    """
    header = source.header
    frames = whole(header, "NumberOfFrames")
    frames = 1 if frames is None else frames
    if not 1 <= frames <= MAXIMUM_FRAMES:
        raise UnreadableSeries(f"NumberOfFrames is not between 1 and {MAXIMUM_FRAMES:,}.")
    groups = items(header, "PerFrameFunctionalGroupsSequence")
    if not groups:
        if frames > 1:
            raise UnreadableSeries(
                f"Multi-frame without functional groups: where its {frames} frames lie is not "
                "stated."
            )
        return [_image(source, (header,), None)]
    if len(groups) != frames:
        raise UnreadableSeries(
            f"NumberOfFrames is {frames}, but functional groups describe {len(groups)} frames."
        )
    shared = items(header, "SharedFunctionalGroupsSequence")
    return [
        _image(source, _holders(group, shared, header), index + 1)
        for index, group in enumerate(groups)
    ]


_MACROS = (
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "PixelMeasuresSequence",
    "PixelValueTransformationSequence",
    "FrameContentSequence",
    "MREchoSequence",
    "MRDiffusionSequence",
    "MRTimingAndRelatedParametersSequence",
    "MRImageFrameTypeSequence",
    "CTImageFrameTypeSequence",
)


def _holders(group: Dataset, shared: tuple[Dataset, ...], header: Dataset) -> tuple[Dataset, ...]:
    """Return the data sets that speak of one frame, the most specific first."""
    found: list[Dataset] = []
    for level in (group, *shared):
        for macro in _MACROS:
            found += items(level, macro)[:1]
    return (*found, header)


def _image(source: Source, holders: tuple[Dataset, ...], frame: int | None) -> Image:
    header = source.header
    position = _needed(holders, "ImagePositionPatient", 3)
    orientation = _needed(holders, "ImageOrientationPatient", 6)
    spacing = _needed(holders, "PixelSpacing", 2)
    rows, columns = whole(header, "Rows"), whole(header, "Columns")
    if not rows or not columns or rows < 0 or columns < 0:
        raise UnreadableSeries("Rows or Columns is missing.")
    slope = _first(holders, "RescaleSlope")
    intercept = _first(holders, "RescaleIntercept")
    plane = Plane(
        position=cast(_Vector, position),
        rows_direction=cast(_Vector, orientation[:3]),
        columns_direction=cast(_Vector, orientation[3:]),
        pixel_spacing=(spacing[0], spacing[1]),
        rows=rows,
        columns=columns,
        instance_number=whole(header, "InstanceNumber") if frame is None else frame,
        thickness=_first(holders, "SliceThickness"),
        keys=_keys(holders),
    )
    return Image(source, frame, plane, 1.0 if slope is None else slope, intercept or 0.0)


def _needed(holders: tuple[Dataset, ...], keyword: str, count: int) -> tuple[float, ...]:
    for holder in holders:
        values = numbers(holder, keyword, count)
        if values:
            return values
    raise UnreadableSeries(f"{keyword} is missing.")


def _first(holders: tuple[Dataset, ...], keyword: str) -> float | None:
    for holder in holders:
        value = number(holder, keyword)
        if value is not None:
            return value
    return None


_ALSO_CALLED = {
    "EchoTime": "EffectiveEchoTime",
    "AcquisitionNumber": "FrameAcquisitionNumber",
    "ImageType": "FrameType",
    "TriggerTime": "NominalCardiacTriggerDelayTime",
    "AcquisitionTime": "FrameAcquisitionDateTime",
}
"""Functional-group names of the attributes that tell volumes apart."""


def _keys(holders: tuple[Dataset, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for key in SPLIT_KEYS:
        for holder in holders:
            value = text(holder, _ALSO_CALLED.get(key, key)) or text(holder, key)
            if value:
                found[key] = value
                break
    return found
