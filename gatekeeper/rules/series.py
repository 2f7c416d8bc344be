"""Series by content: what a series shows and how it lies, told from headers alone.

The words are those by which workers find profiles (`gatekeeper.work.protocol`), and whether images
make a volume is asked of the same geometry (`gatekeeper.work.geometry`): a rule and a worker see
the same series.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import UID

from gatekeeper.errors import UnreadableSeries
from gatekeeper.rules.fields import IMAGES, NO_IMAGES, VOLUME
from gatekeeper.rules.header import tags_of
from gatekeeper.rules.values import Value
from gatekeeper.work.protocol import SPLIT_KEYS, protocol, skip_reason
from gatekeeper.work.source import Source
from gatekeeper.work.values import items, numbers, whole

_FUNCTIONAL_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_PLACES = (
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "Rows",
    "Columns",
    "InstanceNumber",
    "SliceThickness",
    "NumberOfFrames",
    *SPLIT_KEYS,
    *_FUNCTIONAL_GROUPS,
)
_KIND = (
    "SOPClassUID",
    "ImageType",
    "Manufacturer",
    "ManufacturerModelName",
    "SeriesDescription",
    "ProtocolName",
    "SamplesPerPixel",
)
_PROTOCOL = (
    "SOPClassUID",
    "Modality",
    "BodyPartExamined",
    "StudyDescription",
    "SeriesDescription",
    "ProtocolName",
    "AnatomicRegionSequence",
    "PulseSequenceName",
    "SequenceName",
    "AcquisitionContrast",
    "RepetitionTime",
    "EchoTime",
    "InversionTime",
    "ScanningSequence",
    "ContrastBolusAgent",
    "SharedFunctionalGroupsSequence",
)

GEOMETRIC = frozenset({"series.kind", "series.slice_spacing"})
"""Facts for which the header of every image is read."""
GEOMETRY_TAGS = tags_of((*_PLACES, *_KIND))

_TAGS = {
    "series.kind": tags_of(_KIND),
    "series.body_part": tags_of(_PROTOCOL),
    "series.contrast": tags_of(_PROTOCOL),
    "series.images": tags_of(("NumberOfFrames",)),
    "series.orientation": tags_of(("ImageOrientationPatient", *_FUNCTIONAL_GROUPS)),
    "series.slice_spacing": tags_of(_KIND),
    "series.thickness": tags_of(("SliceThickness", *_FUNCTIONAL_GROUPS)),
}

_KINDS = {"one of our own results": "own result"}
_OBLIQUE = 0.8
"""Cosine of the largest angle, 37 degrees, between a slice normal and the axis that names it."""
_MAXIMUM_FRAMES = 100_000

Values = dict[str, Sequence[Value]]


def tags_for(name: str) -> frozenset[int]:
    """Return the tags that a fact of a series is told from."""
    return _TAGS[name]


def is_image(sop_class_uid: str) -> bool:
    """Tell whether objects of this class are images."""
    return "Image Storage" in UID(sop_class_uid).name


def kind_of(header: Dataset) -> str:
    """Return what the images of this header are: `images`, or why they are not for assessment."""
    reason = skip_reason(header)
    if reason is None:
        return IMAGES
    return _KINDS.get(reason, reason.removeprefix("a "))


def content(header: Dataset, images: int, names: frozenset[str]) -> Values:
    """Return the facts that one header of a series tells.

    Args:
        header: of one of its images, or of an object when it has none.
        images: its objects that are images.
        names: fields that are asked about.
    """
    found: Values = {}
    if "series.kind" in names:
        found["series.kind"] = (kind_of(header) if images else NO_IMAGES,)
    if not names.isdisjoint(("series.body_part", "series.contrast")):
        acquired = protocol(header)
        found["series.body_part"] = (acquired.body_part,) if acquired.body_part else ()
        found["series.contrast"] = (acquired.sequence,) if acquired.sequence else ()
    if "series.images" in names:
        found["series.images"] = (Decimal(images * _frames(header)),)
    if "series.orientation" in names:
        found["series.orientation"] = _orientation(header)
    if "series.thickness" in names:
        thickness = _stated(header, "PixelMeasuresSequence", "SliceThickness", 1)
        found["series.thickness"] = (_millimetres(thickness[0]),) if thickness else ()
    return found


def geometry(headers: Sequence[Dataset]) -> Values:
    """Return what the headers of all images of a series tell of the volumes that they make.

    Those that are not for assessment are left out. Images that make no volume have no spacing.
    """
    # The array library is not on the listener's path; who asks for geometry needs it.
    import numpy as np

    from gatekeeper.work.geometry import stacks
    from gatekeeper.work.planes import images_of

    kept = [header for header in headers if skip_reason(header) is None]
    if not kept:
        return {}
    try:
        sources = [Source("", Path(), header, None) for header in kept]
        found = stacks([image.plane for source in sources for image in images_of(source)])
    except UnreadableSeries:
        return {"series.kind": (IMAGES,), "series.slice_spacing": ()}
    spacings: dict[Value, None] = {}
    for stack in found:
        normal = np.cross(stack.affine[:3, 1], stack.affine[:3, 2])
        distance = abs(float(stack.affine[:3, 0] @ normal)) / float(np.linalg.norm(normal))
        spacings[_millimetres(distance)] = None
    return {"series.kind": (VOLUME,), "series.slice_spacing": tuple(spacings)}


def _frames(header: Dataset) -> int:
    try:
        return min(max(whole(header, "NumberOfFrames") or 1, 1), _MAXIMUM_FRAMES)
    except UnreadableSeries:
        return 1


def _orientation(header: Dataset) -> tuple[Value, ...]:
    cosines = _stated(header, "PlaneOrientationSequence", "ImageOrientationPatient", 6)
    if not cosines:
        return ()
    (a, b, c), (d, e, f) = cosines[:3], cosines[3:]
    normal = (abs(b * f - c * e), abs(c * d - a * f), abs(a * e - b * d))
    largest = max(normal)
    if largest < _OBLIQUE:
        return ("oblique",) if largest > 0 else ()
    return (("sagittal", "coronal", "axial")[normal.index(largest)],)


def _stated(header: Dataset, macro: str, keyword: str, count: int) -> tuple[float, ...]:
    """Return numbers of the header, else of its functional groups, of the first frame at last."""
    for holder in _holders(header, macro):
        try:
            found = numbers(holder, keyword, count)
        except UnreadableSeries:
            continue
        if found:
            return found
    return ()


def _holders(header: Dataset, macro: str) -> list[Dataset]:
    found = [header]
    for groups in _FUNCTIONAL_GROUPS:
        for group in items(header, groups)[:1]:
            found += items(group, macro)[:1]
    return found


def _millimetres(value: float) -> Decimal:
    return Decimal(f"{value:.3f}").normalize()
