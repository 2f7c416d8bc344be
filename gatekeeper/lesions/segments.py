"""Segments of a Segmentation (PS3.3 A.51) as regions in the patient. Decodes foreign pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
    SegmentationStorage,
)

from gatekeeper.errors import LesionRefused
from gatekeeper.lesions.drawn import Drawn
from gatekeeper.lesions.finding import Origin
from gatekeeper.work.source import BoundedReader, Source
from gatekeeper.work.values import items, numbers, text, whole

SOP_CLASS = str(SegmentationStorage)
MOST_SEGMENTS = 100
"""Segments of one object that are looked at."""
MOST_PIXELS = 2_000_000
"""Pixels of one segment; a lesion that fits a patch has far fewer."""
_SYNTAXES = frozenset(
    {
        str(one)
        for one in (
            ImplicitVRLittleEndian,
            ExplicitVRLittleEndian,
            DeflatedExplicitVRLittleEndian,
            RLELossless,
        )
    }
)
_NO_LESIONS = frozenset({"123037004", "91723000", "85756007", "T-D000A", "T-D0050"})
"""CID 7150 'Segmentation Property Categories' (PS3.16): anatomical structures and tissues."""


def segments(source: Source, maximum_voxels: int) -> Iterator[Drawn]:
    """Yield the segments of a Segmentation that may be lesions; organs are passed over.

    Args:
        source: its header and file.
        maximum_voxels: pixels of all its frames that are decoded.

    Raises:
        LesionRefused: naming why it is not read.
        UnreadableSeries: if a number in it is not one.
    """
    header = source.header
    _check(source, maximum_voxels)
    series = frozenset(
        text(one, "SeriesInstanceUID") for one in items(header, "ReferencedSeriesSequence")
    )
    with source.path.open("rb") as file:
        whole_object = dcmread(cast("BinaryIO", BoundedReader(file)))
    threshold = 0.0
    if text(header, "SegmentationType") == "FRACTIONAL":
        threshold = (whole(header, "MaximumFractionalValue") or 255) / 2
    frames = whole_object.pixel_array.reshape(-1, *whole_object.pixel_array.shape[-2:])
    groups = _groups(header, len(frames))
    for segment in items(header, "SegmentSequence"):
        category = items(segment, "SegmentedPropertyCategoryCodeSequence")
        if category and text(category[0], "CodeValue") in _NO_LESIONS:
            continue
        number = whole(segment, "SegmentNumber")
        own = [index for index, one in enumerate(groups) if _segment_of(one) == number]
        points, steps = _placed(frames[own] > threshold, [groups[index] for index in own])
        if len(points):
            yield Drawn(
                Origin.SEGMENTATION,
                source.sop_instance_uid,
                number or 0,
                text(header, "FrameOfReferenceUID"),
                series,
                points=points,
                steps=steps,
            )


def _groups(header: Dataset, frames: int) -> list[tuple[Dataset, ...]]:
    """Return the functional groups of each frame, its own before the shared ones."""
    shared = items(header, "SharedFunctionalGroupsSequence")
    own = items(header, "PerFrameFunctionalGroupsSequence")
    if len(own) != frames:
        raise LesionRefused("of another number of frames than it states")
    return [(one, *shared) for one in own]


def _segment_of(groups: tuple[Dataset, ...]) -> int | None:
    """Return which segment a frame is of (PS3.3 C.8.20.3.2); it may be said once for all."""
    for group in groups:
        for item in items(group, "SegmentIdentificationSequence"):
            return whole(item, "ReferencedSegmentNumber")
    return None


def _check(source: Source, maximum_voxels: int) -> None:
    header = source.header
    if text(header, "SegmentationType") not in ("BINARY", "FRACTIONAL"):
        raise LesionRefused("of a type that is not read")
    if source.transfer_syntax not in _SYNTAXES:
        raise LesionRefused("compressed in a way that is not read")
    sides = [whole(header, keyword) or 0 for keyword in ("NumberOfFrames", "Rows", "Columns")]
    if min(sides) < 1 or sides[0] * sides[1] * sides[2] > maximum_voxels:
        raise LesionRefused(f"beyond the limit of {maximum_voxels:,} pixels")
    if len(items(header, "SegmentSequence")) > MOST_SEGMENTS:
        raise LesionRefused(f"beyond the limit of {MOST_SEGMENTS} segments")
    if not text(header, "FrameOfReferenceUID"):
        raise LesionRefused("without a frame of reference")


def _placed(
    frames: NDArray[np.bool_], groups: Sequence[tuple[Dataset, ...]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the centres of a segment's pixels, (n, 3), and the steps between them, mm."""
    if int(np.count_nonzero(frames)) > MOST_PIXELS:
        raise LesionRefused(f"beyond the limit of {MOST_PIXELS:,} pixels of a segment")
    parts = [np.zeros((0, 3))]
    steps = np.zeros((3, 2))
    for frame, own in zip(frames, groups, strict=True):
        if frame.any():
            first, steps = _plane(own)
            parts.append(first + np.argwhere(frame) @ steps.T)
    return np.concatenate(parts), steps


def _plane(groups: tuple[Dataset, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return where a frame's first pixel lies, and the steps to the next row and column, mm.

    PS3.3 C.7.6.2.1.1; the first of the functional groups that has a value counts.
    """

    def of(sequence: str, keyword: str, count: int) -> NDArray[np.float64]:
        for group in groups:
            for item in items(group, sequence):
                values = numbers(item, keyword, count)
                if values:
                    return np.array(values)
        raise LesionRefused(f"without {keyword}")

    position = of("PlanePositionSequence", "ImagePositionPatient", 3)
    along = of("PlaneOrientationSequence", "ImageOrientationPatient", 6)
    height, width = of("PixelMeasuresSequence", "PixelSpacing", 2)
    return position, np.stack([along[3:] * height, along[:3] * width], axis=1)
