"""Structures of an RT Structure Set (PS3.3 A.19) as contours in the patient."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import RTStructureSetStorage

from gatekeeper.errors import LesionRefused
from gatekeeper.lesions.drawn import Drawn
from gatekeeper.lesions.finding import Origin
from gatekeeper.work.source import BoundedReader, Source
from gatekeeper.work.values import items, numbers, text, whole

SOP_CLASS = str(RTStructureSetStorage)
MOST_STRUCTURES = 100
"""Structures of one object that are looked at."""
MOST_CONTOURS = 1000
"""Contours of one structure."""
MOST_POINTS = 500_000
"""Points of all contours of one object."""
_TAGS = ["ReferencedFrameOfReferenceSequence", "StructureSetROISequence", "ROIContourSequence",
         "RTROIObservationsSequence"]  # fmt: skip
_XOR = "CLOSEDPLANAR_XOR"
_CLOSED = frozenset({"CLOSED_PLANAR", _XOR})
_TARGETS = frozenset({"", "GTV", "CTV", "PTV", "TREATED_VOLUME", "IRRAD_VOLUME"})
"""RT ROI Interpreted Type (3006,00A4) of what may be a lesion; others: organs, marks, devices."""


def structures(source: Source) -> Iterator[Drawn]:
    """Yield the structures of a set that may be lesions; organs, marks and devices are passed over.

    Raises:
        LesionRefused: naming why it is not read.
        UnreadableSeries: if a number in it is not one.
    """
    # Read again: where value representations are implicit, the header leaves long sequences out.
    with source.path.open("rb") as file:
        content = dcmread(cast("BinaryIO", BoundedReader(file)), specific_tags=list(_TAGS))
    spaces = _spaces(content)
    if not spaces:
        raise LesionRefused("without a frame of reference")
    own = {
        whole(one, "ROINumber"): text(one, "ReferencedFrameOfReferenceUID")
        for one in items(content, "StructureSetROISequence")
    }
    kinds = {
        whole(one, "ReferencedROINumber"): text(one, "RTROIInterpretedType")
        for one in items(content, "RTROIObservationsSequence")
    }
    drawn = items(content, "ROIContourSequence")
    if len(drawn) > MOST_STRUCTURES:
        raise LesionRefused(f"beyond the limit of {MOST_STRUCTURES} structures")
    left = MOST_POINTS
    for one in drawn:
        number = whole(one, "ReferencedROINumber")
        if number not in own or kinds.get(number, "") not in _TARGETS:
            continue
        contours, exclusive = _contours(one, left)
        left -= sum(map(len, contours))
        space = own[number] or next(iter(spaces))
        if contours:
            yield Drawn(
                Origin.STRUCTURE_SET,
                source.sop_instance_uid,
                number or 0,
                space,
                spaces.get(space, frozenset()),
                contours=tuple(contours),
                exclusive=exclusive,
            )


def _contours(structure: Dataset, left: int) -> tuple[list[NDArray[np.float64]], bool]:
    """Return a structure's closed contours (PS3.3 C.8.8.6), and whether they leave holes."""
    found: list[NDArray[np.float64]] = []
    exclusive = False
    sequence = items(structure, "ContourSequence")
    if len(sequence) > MOST_CONTOURS:
        raise LesionRefused(f"beyond the limit of {MOST_CONTOURS} contours of a structure")
    for item in sequence:
        kind = text(item, "ContourGeometricType")
        if kind not in _CLOSED:
            continue
        values = numbers(item, "ContourData")
        if not values or len(values) % 3:
            raise LesionRefused("with a contour that is not of points in space")
        left -= len(values) // 3
        if left < 0:
            raise LesionRefused(f"beyond the limit of {MOST_POINTS:,} points")
        exclusive = exclusive or kind == _XOR
        found.append(np.array(values).reshape(-1, 3))
    return found, exclusive


def _spaces(content: Dataset) -> dict[str, frozenset[str]]:
    """Return each frame of reference with the series that it was drawn on (PS3.3 C.8.8.5)."""
    return {
        text(space, "FrameOfReferenceUID"): frozenset(
            text(series, "SeriesInstanceUID")
            for study in items(space, "RTReferencedStudySequence")
            for series in items(study, "RTReferencedSeriesSequence")
        )
        for space in items(content, "ReferencedFrameOfReferenceSequence")
        if text(space, "FrameOfReferenceUID")
    }
