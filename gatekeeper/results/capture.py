"""Heatmaps: one Secondary Capture for each source slice, or flagged one, in place in the patient.

Each object is single-frame RGB, in the study and frame of reference of its source, with the plane
of its source slice, so that a viewer scrolls both together. It names its source, says how it was
derived and carries the research banner (PS3.3 A.8.1, with the Frame of Reference, Image Plane and
General Reference modules that the IOD allows).

Modality is OT: a hanging protocol or another program must not take a heatmap for the scan.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID, SecondaryCaptureImageStorage

from gatekeeper.identifiers import Uid
from gatekeeper.results import codes, uids
from gatekeeper.results.assessment import SeriesAssessment, SourceSlice, StudyAssessment
from gatekeeper.results.attributes import decimal, numbers, put, sanitised
from gatekeeper.results.catalogue import Catalogue
from gatekeeper.results.common import (
    assessed,
    complete,
    first_header,
    new_object,
    place_of,
    reference_to,
)
from gatekeeper.results.inherited import (
    HEADS,
    pixel_spacing,
    plane_of,
    recognizable,
    set_lossy,
    slice_distance,
)
from gatekeeper.results.measurements import key_slices
from gatekeeper.results.picture import Layout, Legend, Patch, blank, paint, windowed
from gatekeeper.results.sentences import calibration, series_title
from gatekeeper.results.text import plain
from gatekeeper.results.texts import Text
from gatekeeper.rules.verdict import Verdict
from models.finding import Finding
from models.volume import Volume

_UNPAIRED = HEADS | {"ABDOMEN", "CHEST", "HEART", "LIVER", "NECK", "PELVIS", "PROSTATE", "SPINE"}


@dataclass(frozen=True, slots=True)
class Window:
    """How source intensities are shown: one window for all slices, so that none flickers."""

    centre: float
    width: float
    function: str = "LINEAR"


def heatmap_slices(study: StudyAssessment, series: SeriesAssessment) -> list[int]:
    """Return the slices of a series that get a heatmap, in slice order.

    Where only flagged slices do, these are, of a held series, those that a region touches and the
    one where the map is highest, with the margin to each side of them. Of a series that is not held
    none is flagged, even if the map has a region.
    """
    volume, finding = series.volume, series.finding
    if volume is None or finding is None or not series.source.slices:
        return []
    slices, margin = len(series.source.slices), study.heatmap_margin
    if margin is None:
        return list(range(slices))
    if series.judgement.verdict is not Verdict.SUSPECT:
        return []
    flagged = set(key_slices(series))
    for region in finding.regions:
        first = region.mask_offset[0]
        flagged.update(first + int(inside) for inside in np.flatnonzero(region.mask.any((1, 2))))
    near = {other for one in flagged for other in range(one - margin, one + margin + 1)}
    return sorted(near & set(range(slices)))


def heatmap_series(study: StudyAssessment, series: SeriesAssessment) -> list[Dataset]:
    """Return the heatmaps of one series in slice order; none when it has no finding."""
    return list(iterate_heatmaps(study, series))


def iterate_heatmaps(study: StudyAssessment, series: SeriesAssessment) -> Iterator[Dataset]:
    """Yield the heatmaps of `heatmap_slices`, one at a time, so that memory stays flat.

    Args:
        study: the job's answer, of which `series` is a part.
        series: an assessed series.

    Yields:
        Secondary Capture data sets with their file meta information, Explicit VR Little Endian.

    Raises:
        ValueError: if slices, volume and map are not of one shape.
    """
    volume, finding, shown = series.volume, series.finding, heatmap_slices(study, series)
    if volume is None or finding is None or not shown:
        return
    if (
        not len(series.source.slices) == len(volume.array)
        or volume.array.shape != finding.map.shape
    ):
        raise ValueError("slices, volume and map are not of one shape")
    heatmaps = uids.heatmap_series(study, series)
    template = _template(study, series, volume, heatmaps)
    spacing = pixel_spacing(series.source.slices[0].header, volume)
    layout = Layout.of(volume.array.shape[1], volume.array.shape[2], spacing)
    legend = legend_of(series, finding, study.words.in_ascii)
    canvas = blank(layout, legend)
    window = display_window(series, finding)
    inverted = sanitised(first_header(series), "PhotometricInterpretation") == "MONOCHROME1"
    instance_numbers = _instance_numbers(series)
    put(template, "DerivationDescription", _derivation(finding, window, study.words))
    for index in shown:
        source = series.source.slices[index]
        grey = windowed(volume.array[index], window.centre, window.width, window.function)
        grey = 255 - grey if inverted else grey
        patches = patches_of(finding, index)
        pixels = paint(canvas, layout, legend, grey, finding.map[index], patches)
        instance = Dataset()
        instance.update(template)
        set_pixels(instance, pixels)
        _set_plane(instance, source, volume, index, layout)
        set_sources(instance, series, [source], preserved=True)
        peak = float(np.fmax.reduce(finding.map[index], axis=None, initial=0.0))
        put(instance, "ImageComments", _comment(peak, finding.map_threshold, patches, study.words))
        uid = uids.heatmap_instance(heatmaps, str(source.header.SOPInstanceUID), source.frame)
        yield complete(instance, uid, instance_numbers[index])


def display_window(series: SeriesAssessment, finding: Finding) -> Window:
    """Return the window of the source (the median of its slices'), else the detector's."""
    pairs: list[tuple[float, float]] = []
    for part in series.source.slices:
        centre = _first_number(part.header, "WindowCenter")
        width = _first_number(part.header, "WindowWidth")
        if centre is not None and width is not None and width > 0:
            pairs.append((centre, width))
    if not pairs:
        centre, width = finding.display_window
        return Window(centre, width if width > 0 else 1.0)
    middle = np.median(np.array(pairs), axis=0)
    function = sanitised(first_header(series), "VOILUTFunction") or "LINEAR"
    return Window(float(middle[0]), float(middle[1]), str(function))


def _template(
    study: StudyAssessment, series: SeriesAssessment, volume: Volume, heatmaps: Uid
) -> Dataset:
    """Return what all heatmaps of one series share."""
    source = first_header(series)
    title = series_title(series, study.words)
    target = new_object(
        study,
        source,
        SecondaryCaptureImageStorage,
        heatmaps,
        study.series_number + 1 + place_of(study, series),
        study.words.say(Text.HEATMAP, series=title),
        (title,),
    )
    describe_capture(target, series)
    set_body_part(target, source, volume)
    for keyword in ("AcquisitionDate", "AcquisitionTime", "AcquisitionNumber"):
        value = sanitised(source, keyword)
        if value is not None:
            put(target, keyword, value)
    frame_of_reference = sanitised(source, "FrameOfReferenceUID")
    if frame_of_reference:
        target.FrameOfReferenceUID = frame_of_reference
        put(
            target,
            "PositionReferenceIndicator",
            sanitised(source, "PositionReferenceIndicator") or "",
        )
    return target


def describe_capture(target: Dataset, series: SeriesAssessment) -> None:
    """Set what every picture is: synthetic, derived, of one series, 8-bit RGB (PS3.3 A.8.1)."""
    target.Modality = "OT"
    target.ConversionType = "SYN"
    target.SecondaryCaptureDeviceManufacturer = target.Manufacturer
    target.SecondaryCaptureDeviceManufacturerModelName = target.ManufacturerModelName
    target.SecondaryCaptureDeviceSoftwareVersions = target.SoftwareVersions
    target.ImageType = ["DERIVED", "SECONDARY", "OTHER", "ANOMALY_MAP"]
    target.DerivationCodeSequence = [codes.code_item(codes.ANOMALY_MAP)]
    target.BurnedInAnnotation = "NO"
    target.RecognizableVisualFeatures = recognizable(series)
    set_lossy(target, series)
    target.SamplesPerPixel = 3
    target.PhotometricInterpretation = "RGB"
    target.PlanarConfiguration = 0
    target.BitsAllocated = 8
    target.BitsStored = 8
    target.HighBit = 7
    target.PixelRepresentation = 0


def legend_of(series: SeriesAssessment, finding: Finding, words: Catalogue) -> Legend:
    """Return what stands below the pictures of a series, in words of ASCII: no font has more."""
    return Legend(
        threshold=finding.map_threshold,
        maximum=finding.map_maximum,
        unit=words.told(finding.map_unit),
        banner=words.say(Text.RESEARCH),
        model=words.say(
            Text.LEGEND,
            verdict=words.verdict(series.judgement.verdict),
            p=words.number(finding.p_value, ".3g"),
            profile=plain(finding.profile),
            version=plain(finding.bundle_version),
        ),
    )


def _derivation(finding: Finding, window: Window, words: Catalogue) -> str:
    """Return in words how the picture came about, at most 1024 characters (VR ST)."""
    return words.say(
        Text.HEATMAP_DERIVATION,
        calibration=calibration(finding, words),
        **derived_from(finding, window, words),
    )[:1024]


def derived_from(finding: Finding, window: Window, words: Catalogue) -> dict[str, str]:
    """Return what a picture was made with, to fill the text that says how it came about."""
    return {
        "centre": words.number(window.centre, ".6g"),
        "width": words.number(window.width, ".6g"),
        "detector": plain(finding.detector),
        "profile": plain(finding.profile),
        "version": plain(finding.bundle_version),
        "unit": words.told(finding.map_unit),
        "threshold": words.number(finding.map_threshold, ".4g"),
        "maximum": words.number(finding.map_maximum, ".4g"),
        "research": words.say(Text.RESEARCH),
    }


def _comment(peak: float, threshold: float, patches: list[Patch], words: Catalogue) -> str:
    values = {"peak": words.number(peak, ".3f"), "threshold": words.number(threshold, ".3g")}
    if not patches:
        return words.say(Text.COMMENT_NO_REGION, **values)
    regions = ", ".join(str(patch.label) for patch in patches)
    text = Text.COMMENT_REGIONS if len(patches) > 1 else Text.COMMENT_ONE_REGION
    return words.say(text, regions=regions, **values)


def patches_of(finding: Finding, index: int) -> list[Patch]:
    """Return the share that each region has of a slice."""
    patches: list[Patch] = []
    for region in finding.regions:
        depth, row, column = region.mask_offset
        inside = index - depth
        if 0 <= inside < region.mask.shape[0] and region.mask[inside].any():
            patches.append(Patch(region.label, row, column, region.mask[inside]))
    return patches


def _instance_numbers(series: SeriesAssessment) -> list[int]:
    """Return the source's own numbers when they tell its slices apart, else 1, 2, 3, ..."""
    slices = series.source.slices
    found = [sanitised(part.header, "InstanceNumber") for part in slices]
    if None not in found and len(set(found)) == len(slices):
        return [int(number) for number in found]
    return list(range(1, len(slices) + 1))


def set_pixels(target: Dataset, pixels: NDArray[np.uint8]) -> None:
    """Set an RGB picture, (rows, columns, 3), padded to even length."""
    target.Rows, target.Columns = pixels.shape[:2]
    data = pixels.tobytes()
    target.PixelData = data + b"\0" * (len(data) % 2)
    target["PixelData"].VR = "OB"


def _set_plane(
    target: Dataset, source: SourceSlice, volume: Volume, index: int, layout: Layout
) -> None:
    """Set the Image Plane module (PS3.3 C.7.6.2), moved to the centre of the first drawn pixel."""
    plane = plane_of(source, volume, index)
    across, down = np.array(plane.across), np.array(plane.down)
    dy, dx = pixel_spacing(source.header, volume)
    target.PixelSpacing = [
        decimal(dy / layout.row_factor),
        decimal(dx / layout.column_factor),
    ]
    target.PatientOrientation = [toward(across), toward(down)]
    if "FrameOfReferenceUID" not in target:
        # Without a frame of reference a position means nothing.
        return
    corner = plane.position + across * dx * (1 / layout.column_factor - 1) / 2
    corner = corner + down * dy * (1 / layout.row_factor - 1) / 2
    target.ImagePositionPatient = [decimal(value) for value in corner]
    target.ImageOrientationPatient = [decimal(value) for value in (*across, *down)]
    step = slice_distance(volume)
    stated = numbers(source.header, "SpacingBetweenSlices", 1)
    spacing = stated[0] if stated and abs(stated[0] - step) < 0.01 * step else step
    thickness = numbers(source.header, "SliceThickness", 1)
    target.SliceThickness = decimal(thickness[0] if thickness and thickness[0] > 0 else step)
    target.SpacingBetweenSlices = decimal(spacing)


def set_sources(
    target: Dataset, series: SeriesAssessment, sources: Sequence[SourceSlice], preserved: bool
) -> None:
    """Name the sources (PS3.3 C.12.4 and C.12.2).

    Args:
        target: the picture.
        series: of which the sources are slices.
        sources: at least one.
        preserved: whether the picture's pixels lie where the source's do.
    """
    references: list[Dataset] = []
    listed: dict[str, Dataset] = {}
    for source in sources:
        reference = reference_to(source.header)
        listed[str(source.header.SOPInstanceUID)] = reference_to(source.header)
        if source.frame is not None:
            reference.ReferencedFrameNumber = source.frame
        reference.PurposeOfReferenceCodeSequence = [codes.code_item(codes.SOURCE_IMAGE)]
        reference.SpatialLocationsPreserved = "YES" if preserved else "NO"
        references.append(reference)
    target.SourceImageSequence = references
    item = Dataset()
    item.SeriesInstanceUID = UID(series.source.series_instance_uid)
    item.ReferencedInstanceSequence = list(listed.values())
    target.ReferencedSeriesSequence = [item]


def toward(direction: NDArray[np.float64]) -> str:
    """Return the letters of a direction in the patient, the nearest axis first (C.7.6.1.1.1)."""
    letters = ("LR", "PA", "HF")
    axes = np.argsort(-np.abs(direction), kind="stable")
    # An axis less than 15 degrees off the image's is not worth a letter.
    named = [axis for axis in axes if abs(direction[axis]) > 0.26]
    return "".join(letters[axis][0 if direction[axis] > 0 else 1] for axis in named)


def set_body_part(target: Dataset, source: Dataset, volume: Volume) -> None:
    """Set the body part, and the side where there are two or the part is not known."""
    body_part = sanitised(source, "BodyPartExamined") or volume.body_part
    if body_part:
        put(target, "BodyPartExamined", body_part)
    side = sanitised(source, "Laterality")
    if side or body_part not in _UNPAIRED:
        put(target, "Laterality", side or "")


def set_common_body_part(target: Dataset, study: StudyAssessment) -> None:
    """Set the body part of a series on several source series: theirs, if it is one."""
    parts = [
        (sanitised(first_header(series), "BodyPartExamined") or series.volume.body_part, series)
        for series in assessed(study)
        if series.volume is not None
    ]
    volume = parts[0][1].volume if len({part for part, _ in parts}) == 1 else None
    if volume is None:
        target.Laterality = ""
    else:
        set_body_part(target, first_header(parts[0][1]), volume)


def _first_number(header: Dataset, keyword: str) -> float | None:
    value = sanitised(header, keyword)
    if value is None:
        return None
    return float(cast(list[str], value)[0] if isinstance(value, list) else value)
