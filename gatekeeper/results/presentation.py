"""Presentation states: region outlines and their numbers, drawn on the original source images.

One Grayscale Softcopy Presentation State (PS3.3 A.33.1) for each assessed series with a region. It
lists all slices of the volume, so that window and research text stay while a reader scrolls, and
outlines each region on the slice of its largest area. Coordinates are pixels of the source, (0, 0)
being the top left corner of its first pixel (PS3.3 C.10.5).

The grey values are the heatmaps': the same window. A presentation state replaces what the images
say of their values, so it states how stored values become the volume's (PS3.3 C.11.1). Where that
differs between slices it says nothing of it, and gives each slice its window in stored values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID, GrayscaleSoftcopyPresentationStateStorage

from gatekeeper.results import uids
from gatekeeper.results.assessment import SeriesAssessment, SourceSlice, StudyAssessment
from gatekeeper.results.attributes import decimal, numbers, put, sanitised
from gatekeeper.results.capture import Window, display_window, set_common_body_part
from gatekeeper.results.common import (
    complete,
    first_header,
    new_object,
    place_of,
    reference_to,
)
from gatekeeper.results.place import outline
from gatekeeper.results.sentences import series_title
from gatekeeper.results.texts import Text
from models.finding import Finding
from models.volume import Volume

SERIES_OFFSET = 50
"""What is added to the report's SeriesNumber."""

_LAYER = "GATEKEEPER"
_WHITE = 65535
_SANE = 1e12
"""A rescale beyond this is an error of the source's, and no window in stored values follows."""


@dataclass(frozen=True, slots=True)
class _Scale:
    """How a stored value becomes the volume's: times slope, plus intercept."""

    slope: float = 1.0
    intercept: float = 0.0

    def stored(self, window: Window) -> Window:
        """Return a window of the volume's values as one of stored values (PS3.3 C.11.2.1.2)."""
        # LINEAR is centred half a value lower and is one value narrower than its numbers say.
        shift, lost = (0.5, 1.0) if window.function == "LINEAR" else (0.0, 0.0)
        centre = (window.centre - shift - self.intercept) / self.slope + shift
        width = (window.width - lost) / abs(self.slope) + lost
        return Window(centre, width, window.function)


def presentation_states(study: StudyAssessment, series: SeriesAssessment) -> Dataset | None:
    """Return the presentation state of one series, Explicit VR Little Endian.

    Args:
        study: the job's answer, of which `series` is a part.
        series: an assessed series.

    Returns:
        None when it has no finding, or its finding no region.
    """
    volume, finding = series.volume, series.finding
    if volume is None or finding is None or not finding.regions or not series.source.slices:
        return None
    title = series_title(series, study.words)
    target = new_object(
        study,
        first_header(series),
        GrayscaleSoftcopyPresentationStateStorage,
        uids.presentation_series(study),
        study.series_number + SERIES_OFFSET,
        study.words.say(Text.PRESENTATION),
        (title,),
    )
    target.Modality = "PR"
    set_common_body_part(target, study)
    _set_identification(target, study.words.say(Text.PRESENTATION_CONTENT, series=title))
    _set_relationship(target, series)
    _set_displayed_area(target, volume)
    _set_annotations(target, series, finding, study.words.say(Text.RESEARCH))
    _set_grey(target, series, _as_drawn(display_window(series, finding)))
    number = place_of(study, series) + 1
    return complete(target, uids.presentation_instance(study, series), number)


def _as_drawn(window: Window) -> Window:
    """Return a window with the function that the heatmaps are drawn with (PS3.3 C.11.2.1.2)."""
    if window.function == "SIGMOID":
        return window
    exact = window.function == "LINEAR_EXACT" or window.width <= 1
    return Window(window.centre, window.width, "LINEAR_EXACT" if exact else "LINEAR")


def _set_identification(target: Dataset, description: str) -> None:
    """Set the Presentation State Identification module (PS3.3 C.11.10)."""
    target.PresentationCreationDate = target.ContentDate
    target.PresentationCreationTime = target.ContentTime
    # Presentation states have no content date.
    del target.ContentDate, target.ContentTime
    target.ContentLabel = "REGIONS"
    put(target, "ContentDescription", description[:64])
    target.ContentCreatorName = ""


def _set_relationship(target: Dataset, series: SeriesAssessment) -> None:
    """Set the Presentation State Relationship module (PS3.3 C.11.11): every slice."""
    item = Dataset()
    item.SeriesInstanceUID = UID(series.source.series_instance_uid)
    item.ReferencedImageSequence = _references(series.source.slices)
    target.ReferencedSeriesSequence = [item]


def _references(slices: Sequence[SourceSlice]) -> list[Dataset]:
    """Return one reference for each instance, with the frames where it has frames."""
    found: dict[str, Dataset] = {}
    frames: dict[str, list[int]] = {}
    for part in slices:
        uid = str(part.header.SOPInstanceUID)
        if uid not in found:
            found[uid] = reference_to(part.header)
        if part.frame is not None:
            frames.setdefault(uid, []).append(part.frame)
    for uid, numbered in frames.items():
        ordered = sorted(numbered)
        found[uid].ReferencedFrameNumber = ordered if len(ordered) > 1 else ordered[0]
    return list(found.values())


def _set_displayed_area(target: Dataset, volume: Volume) -> None:
    """Set the Displayed Area module (PS3.3 C.10.4): the whole of every image."""
    rows, columns = volume.array.shape[1:]
    area = Dataset()
    area.DisplayedAreaTopLeftHandCorner = [1, 1]
    area.DisplayedAreaBottomRightHandCorner = [columns, rows]
    area.PresentationSizeMode = "SCALE TO FIT"
    area.PresentationPixelSpacing = [decimal(value) for value in volume.spacing[1:]]
    target.DisplayedAreaSelectionSequence = [area]


def _set_annotations(
    target: Dataset, series: SeriesAssessment, finding: Finding, research: str
) -> None:
    """Set the Graphic Annotation and Graphic Layer modules (PS3.3 C.10.5 and C.10.7)."""
    layer = Dataset()
    layer.GraphicLayer = _LAYER
    layer.GraphicLayerOrder = 1
    layer.GraphicLayerRecommendedDisplayGrayscaleValue = _WHITE
    layer.GraphicLayerDescription = research[:64]
    target.GraphicLayerSequence = [layer]
    annotations = [_banner(research)]
    for region in finding.regions:
        points = outline(region, finding.map.shape)
        annotation = Dataset()
        annotation.ReferencedImageSequence = _references([series.source.slices[region.slice_index]])
        annotation.GraphicLayer = _LAYER
        annotation.TextObjectSequence = [_label(str(region.label), points, finding.map.shape)]
        annotation.GraphicObjectSequence = [_polyline(points)]
        annotations.append(annotation)
    target.GraphicAnnotationSequence = annotations


def _banner(research: str) -> Dataset:
    """Return the research text, at the bottom of every image that is listed."""
    text = Dataset()
    text.BoundingBoxAnnotationUnits = "DISPLAY"
    text.BoundingBoxTopLeftHandCorner = [0.05, 0.94]
    text.BoundingBoxBottomRightHandCorner = [0.95, 0.99]
    text.BoundingBoxTextHorizontalJustification = "CENTER"
    text.UnformattedTextValue = research[:1024]
    annotation = Dataset()
    annotation.GraphicLayer = _LAYER
    annotation.TextObjectSequence = [text]
    return annotation


def _label(number: str, points: NDArray[np.float64], shape: tuple[int, ...]) -> Dataset:
    """Return a region's number, to the right of its outline and within the image."""
    rows, columns = shape[1:]
    # A box of a sixteenth of the image holds a number at any usual size of text.
    height, width = rows / 16, columns / 16
    left = min(float(points[:, 0].max()) + 1, columns - width)
    top = min(max(float(points[:, 1].min()) - height / 2, 0.0), rows - height)
    text = Dataset()
    text.BoundingBoxAnnotationUnits = "PIXEL"
    text.BoundingBoxTopLeftHandCorner = [left, top]
    text.BoundingBoxBottomRightHandCorner = [left + width, top + height]
    text.BoundingBoxTextHorizontalJustification = "LEFT"
    text.UnformattedTextValue = number
    return text


def _polyline(points: NDArray[np.float64]) -> Dataset:
    graphic = Dataset()
    graphic.GraphicAnnotationUnits = "PIXEL"
    graphic.GraphicDimensions = 2
    graphic.NumberOfGraphicPoints = len(points)
    graphic.GraphicData = [float(value) for value in points.ravel()]
    graphic.GraphicType = "POLYLINE"
    graphic.GraphicFilled = "N"
    return graphic


def _set_grey(target: Dataset, series: SeriesAssessment, window: Window) -> None:
    """Set the Modality LUT, Softcopy VOI LUT and Presentation LUT modules (PS3.3 C.11)."""
    slices = series.source.slices
    originals = {str(header.SOPInstanceUID): header for header in series.source.headers}
    scales = [
        _scale_of(part, originals.get(str(part.header.SOPInstanceUID), part.header))
        for part in slices
    ]
    inverse = sanitised(first_header(series), "PhotometricInterpretation") == "MONOCHROME1"
    if len(set(scales)) == 1:
        _set_rescale(target, series, scales[0])
        target.SoftcopyVOILUTSequence = [_window_item(window)]
    else:
        inverse ^= scales[0].slope < 0
        target.SoftcopyVOILUTSequence = [
            _window_item(
                scale.stored(window),
                [part for part, other in zip(slices, scales, strict=True) if other == scale],
            )
            for scale in dict.fromkeys(scales)
        ]
    target.PresentationLUTShape = "INVERSE" if inverse else "IDENTITY"


def _set_rescale(target: Dataset, series: SeriesAssessment, scale: _Scale) -> None:
    if scale == _Scale():
        return
    target.RescaleSlope = decimal(scale.slope)
    target.RescaleIntercept = decimal(scale.intercept)
    is_ct = sanitised(first_header(series), "Modality") == "CT"
    target.RescaleType = "HU" if is_ct else "US"


def _window_item(window: Window, slices: Sequence[SourceSlice] = ()) -> Dataset:
    item = Dataset()
    if slices:
        item.ReferencedImageSequence = _references(slices)
    item.WindowCenter = decimal(window.centre)
    item.WindowWidth = decimal(window.width)
    if window.function != "LINEAR":
        item.VOILUTFunction = window.function
    return item


def _scale_of(part: SourceSlice, original: Dataset) -> _Scale:
    """Return how the stored values of a slice became the volume's.

    Args:
        part: the slice, with the header that goes with the volume's values.
        original: the header as received.
    """
    holders = _holders(original, part.frame)
    slope = _first(holders, "RescaleSlope", 1.0)
    intercept = _first(holders, "RescaleIntercept", 0.0)
    if not (1 / _SANE < abs(slope) < _SANE and abs(intercept) < _SANE):
        return _Scale()
    received, shown = (
        sanitised(header, "PhotometricInterpretation") for header in (original, part.header)
    )
    if received == "MONOCHROME1" and shown != received:
        # Decoding took the complement within the stored range.
        bits = numbers(original, "BitsStored", 1)
        signed = numbers(original, "PixelRepresentation", 1) == (1.0,)
        top = -1.0 if signed else 2.0 ** (bits[0] if bits else 16.0) - 1
        return _Scale(-slope, intercept + slope * top)
    return _Scale(slope, intercept)


def _holders(header: Dataset, frame: int | None) -> list[Dataset]:
    """Return the data sets that may state a slice's rescale, the most specific first."""
    groups: list[Dataset] = []
    if frame is not None:
        groups += list(header.get("PerFrameFunctionalGroupsSequence") or ())[frame - 1 : frame]
        groups += list(header.get("SharedFunctionalGroupsSequence") or ())[:1]
    found: list[Dataset] = []
    for group in groups:
        found += list(group.get("PixelValueTransformationSequence") or ())[:1]
    return [*found, header]


def _first(holders: Sequence[Dataset], keyword: str, default: float) -> float:
    for holder in holders:
        value = numbers(holder, keyword, 1)
        if value:
            return value[0]
    return default
