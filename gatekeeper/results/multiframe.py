"""What the multi-frame results share: the grid they lie on, their frames and their sources.

A multi-frame result has the source's grid: its frames are planes of the source, in slice order,
each with the source's position and the image (and frame) that it was derived from (PS3.3 C.7.6.16,
C.7.6.17). Where the planes have no one frame of reference, or two lie in one place, there is no
such grid and no such result.

The macros are highdicom's. Its constructors of whole objects are not used: they copy a source's
errors, order frames against the normal, draw a random DimensionOrganizationUID, and take no series
of several multi-frame images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.tag import Tag
from pydicom.uid import UID

from gatekeeper.identifiers import Uid
from gatekeeper.results import codes
from gatekeeper.results.assessment import SeriesAssessment, SourceSlice, StudyAssessment
from gatekeeper.results.attributes import decimal, numbers, put, sanitised
from gatekeeper.results.common import first_header, new_object, reference_to
from gatekeeper.results.inherited import pixel_spacing, plane_of, set_lossy, slice_distance
from gatekeeper.results.sentences import series_title
from gatekeeper.results.texts import Text
from models.volume import Volume

_SAME_PLACE_MM = 1e-2


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Where the planes of a series lie in the patient (PS3.3 C.7.6.2).

    Attributes:
        frame_of_reference: its UID.
        positions: float64, (slices, 3): centre of each plane's first pixel, LPS mm.
        orientation: unit vector along a row, then down a column.
        pixel_spacing: mm between rows, then between columns.
        spacing: mm between neighbouring planes, along their normal.
        thickness: mm of a plane.
    """

    frame_of_reference: str
    positions: NDArray[np.float64]
    orientation: tuple[float, ...]
    pixel_spacing: tuple[float, float]
    spacing: float
    thickness: float


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a result: the plane it lies on and the segment it shows, if any."""

    plane: int
    segment: int | None = None


def grid_of(series: SeriesAssessment) -> Grid | None:
    """Return the grid of an assessed series; None when its planes make none."""
    volume, slices = series.volume, series.source.slices
    if volume is None or not slices:
        return None
    frames = {sanitised(part.header, "FrameOfReferenceUID") for part in slices}
    frame_of_reference = frames.pop()
    if frames or frame_of_reference is None:
        return None
    planes = [plane_of(part, volume, index) for index, part in enumerate(slices)]
    positions = np.array([plane.position for plane in planes], np.float64)
    if _repeats(positions, volume) or _stated_twice(slices):
        return None
    first = slices[0]
    step = slice_distance(volume)
    thickness = numbers(first.header, "SliceThickness", 1)
    return Grid(
        frame_of_reference=str(frame_of_reference),
        positions=positions,
        orientation=(*planes[0].across, *planes[0].down),
        pixel_spacing=pixel_spacing(first.header, volume),
        spacing=step,
        thickness=thickness[0] if thickness and thickness[0] > 0 else step,
    )


def new_image(
    study: StudyAssessment,
    series: SeriesAssessment,
    grid: Grid,
    sop_class: str,
    series_uid: Uid,
    number: int,
    description: Text,
    content: Text,
) -> Dataset:
    """Return a multi-frame image without frames, pixels and its own modality's modules.

    Args:
        study: the job's answer, of which `series` is a part.
        series: an assessed series.
        grid: where its planes lie.
        sop_class: SOP Class UID.
        series_uid: SeriesInstanceUID.
        number: SeriesNumber.
        description: of the series, by the source's title.
        content: what it shows.
    """
    source = first_header(series)
    title = series_title(series, study.words)
    said = study.words.say(description, series=title)
    target = new_object(study, source, sop_class, series_uid, number, said, (title,))
    # Type 1 in Enhanced General Equipment (PS3.3 C.7.5.2): a set of models is a device of its own.
    target.DeviceSerialNumber = study.model_digest[:64]
    put(
        target,
        "ContentDescription",
        study.words.say(content, research=study.words.say(Text.RESEARCH))[:64],
    )
    target.ContentCreatorName = ""
    target.FrameOfReferenceUID = UID(grid.frame_of_reference)
    indicator = sanitised(source, "PositionReferenceIndicator") or ""
    put(target, "PositionReferenceIndicator", indicator)
    body_part = _body_part(series)
    if body_part:
        put(target, "BodyPartExamined", body_part)
    set_lossy(target, series)
    target.SamplesPerPixel = 1
    target.PhotometricInterpretation = "MONOCHROME2"
    target.ReferencedSeriesSequence = [_referenced_series(series)]
    return target


def set_frames(
    target: Dataset,
    series: SeriesAssessment,
    grid: Grid,
    frames: Sequence[Frame],
    derivation: Code,
    organization: Uid,
) -> None:
    """Set the Multi-frame Functional Groups and Dimension modules (PS3.3 C.7.6.16, C.7.6.17).

    Args:
        target: the image.
        series: its source.
        grid: where the planes lie.
        frames: in the order of the pixels.
        derivation: how a frame comes from its source image.
        organization: DimensionOrganizationUID.
    """
    shared = Dataset()
    shared.PixelMeasuresSequence = hd.PixelMeasuresSequence(
        pixel_spacing=grid.pixel_spacing,
        slice_thickness=grid.thickness,
        spacing_between_slices=grid.spacing,
    )
    shared.PlaneOrientationSequence = hd.PlaneOrientationSequence("PATIENT", grid.orientation)
    target.SharedFunctionalGroupsSequence = [shared]
    ranks = {plane: rank for rank, plane in enumerate(sorted({f.plane for f in frames}), start=1)}
    groups: list[Dataset] = []
    for frame in frames:
        group = Dataset()
        content = Dataset()
        content.DimensionIndexValues = [ranks[frame.plane]]
        if frame.segment is not None:
            content.DimensionIndexValues = [frame.segment, ranks[frame.plane]]
            identification = Dataset()
            identification.ReferencedSegmentNumber = frame.segment
            group.SegmentIdentificationSequence = [identification]
        group.FrameContentSequence = [content]
        position = Dataset()
        position.ImagePositionPatient = [decimal(x) for x in grid.positions[frame.plane]]
        group.PlanePositionSequence = [position]
        derived = Dataset()
        derived.DerivationCodeSequence = [codes.code_item(derivation)]
        derived.SourceImageSequence = [_source_image(series.source.slices[frame.plane])]
        group.DerivationImageSequence = [derived]
        groups.append(group)
    target.PerFrameFunctionalGroupsSequence = groups
    target.NumberOfFrames = len(groups)
    dimensions = [("ImagePositionPatient", "PlanePositionSequence", "Image position")]
    if frames[0].segment is not None:
        segment = ("ReferencedSegmentNumber", "SegmentIdentificationSequence", "Segment")
        dimensions.insert(0, segment)
    item = Dataset()
    item.DimensionOrganizationUID = UID(organization)
    target.DimensionOrganizationSequence = [item]
    target.DimensionIndexSequence = [_dimension(organization, *names) for names in dimensions]


def frame_anatomy(series: SeriesAssessment) -> Dataset:
    """Return the item of the Frame Anatomy macro (C.7.6.16.2.8), without which a reader fails."""
    fallback = series.volume.body_part if series.volume is not None else ""
    region = codes.ANATOMY.get(_body_part(series)) or codes.ANATOMY.get(fallback)
    item = Dataset()
    item.FrameLaterality = sanitised(first_header(series), "Laterality") or "U"
    item.AnatomicRegionSequence = [codes.code_item(region or codes.ENTIRE_BODY)]
    return item


def _body_part(series: SeriesAssessment) -> str:
    """Return the source's body part, else the one that the volume was read as."""
    stated = sanitised(first_header(series), "BodyPartExamined")
    return str(stated or (series.volume.body_part if series.volume is not None else ""))


def _repeats(positions: NDArray[np.float64], volume: Volume) -> bool:
    """Tell whether two planes lie in one place along the slice normal."""
    normal = np.cross(volume.affine[:3, 2], volume.affine[:3, 1])
    distances = np.sort(positions @ (normal / np.linalg.norm(normal)))
    return bool((np.diff(distances) < _SAME_PLACE_MM).any())


def _stated_twice(slices: Sequence[SourceSlice]) -> bool:
    """Tell whether two single-frame sources state one position, whatever the volume says."""
    stated = [
        numbers(part.header, "ImagePositionPatient", 3) for part in slices if part.frame is None
    ]
    found = [position for position in stated if position is not None]
    return len(set(found)) < len(found)


def _source_image(part: SourceSlice) -> Dataset:
    """Return the reference of one frame to the image it was derived from (C.7.6.16.2.6)."""
    item = reference_to(part.header)
    if part.frame is not None:
        item.ReferencedFrameNumber = part.frame
    item.PurposeOfReferenceCodeSequence = [codes.code_item(codes.SOURCE_IMAGE)]
    item.SpatialLocationsPreserved = "YES"
    return item


def _referenced_series(series: SeriesAssessment) -> Dataset:
    """Return the source series with its images, each once (PS3.3 C.12.2)."""
    headers = {str(part.header.SOPInstanceUID): part.header for part in series.source.slices}
    item = Dataset()
    item.SeriesInstanceUID = UID(series.source.series_instance_uid)
    item.ReferencedInstanceSequence = [reference_to(header) for header in headers.values()]
    return item


def _dimension(organization: Uid, keyword: str, group: str, label: str) -> Dataset:
    item = Dataset()
    item.DimensionOrganizationUID = UID(organization)
    item.DimensionIndexPointer = Tag(keyword)
    item.FunctionalGroupPointer = Tag(group)
    item.DimensionDescriptionLabel = label
    return item
