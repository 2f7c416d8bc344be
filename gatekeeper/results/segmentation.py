"""Segmentation: the regions of one series as a SEG, one segment for each (PS3.3 A.51, C.8.20).

The segments lie on the source's grid; only planes that a region touches have frames. A segment has
the tracking UID of its group in the report, so that outline, numbers and voxels are known for the
same region. A region is a place unlike the reference subjects, neither a tissue nor an illness, and
is coded as a place.
"""

from __future__ import annotations

from collections.abc import Sequence

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pack_bits
from pydicom.uid import SegmentationStorage

from gatekeeper.results import codes, uids
from gatekeeper.results.assessment import SeriesAssessment, StudyAssessment
from gatekeeper.results.attributes import put
from gatekeeper.results.common import MANUFACTURER, complete, place_of
from gatekeeper.results.measurements import algorithm_parameters
from gatekeeper.results.multiframe import Frame, grid_of, new_image, set_frames
from gatekeeper.results.sentences import series_title
from gatekeeper.results.text import plain
from gatekeeper.results.texts import Text
from models.finding import Finding, Region

_COLOURS = (
    (86, 180, 233),
    (230, 159, 0),
    (0, 158, 115),
    (240, 228, 66),
    (204, 121, 167),
    (213, 94, 0),
)
"""RGB, told apart by colour-blind people too (Okabe and Ito, Color universal design, 2008)."""
SERIES_OFFSET = 200
"""SeriesNumber of the first SEG, counted from the report's: clear of the heatmaps' numbers."""


def segmentation(study: StudyAssessment, series: SeriesAssessment) -> Dataset | None:
    """Return the regions of one series, with file meta information, Explicit VR Little Endian.

    Args:
        study: the job's answer, of which `series` is a part.
        series: one of its series.

    Returns:
        None when it has no region, or its planes have no one frame of reference or share a place.

    Raises:
        ValueError: if slices and map are not of one shape.
    """
    finding, grid = series.finding, grid_of(series)
    if finding is None or grid is None:
        return None
    regions = [region for region in finding.regions if region.mask.any()]
    if not regions:
        return None
    if len(series.source.slices) != len(finding.map):
        raise ValueError("slices and map are not of one shape")
    series_uid = uids.segmentation_series(study, series)
    instance = uids.only_instance(series_uid)
    number = study.series_number + SERIES_OFFSET + place_of(study, series)
    texts = (Text.SEGMENTATION, Text.SEGMENTATION_CONTENT)
    target = new_image(study, series, grid, SegmentationStorage, series_uid, number, *texts)
    target.Modality = "SEG"
    target.ImageType = ["DERIVED", "PRIMARY"]
    target.ContentLabel = "REGIONS"
    target.SegmentationType = "BINARY"
    target.SegmentSequence = [
        _segment(study, series, finding, place, region)
        for place, region in enumerate(regions, start=1)
    ]
    frames = [
        Frame(region.mask_offset[0] + inside, place)
        for place, region in enumerate(regions, start=1)
        for inside in np.flatnonzero(region.mask.any(axis=(1, 2))).tolist()
    ]
    organization = uids.dimension_organization(instance)
    set_frames(target, series, grid, frames, codes.SEGMENTATION, organization)
    _set_pixels(target, regions, frames, finding.map.shape)
    return complete(target, instance, 1)


def _segment(
    study: StudyAssessment,
    series: SeriesAssessment,
    finding: Finding,
    number: int,
    region: Region,
) -> Dataset:
    """Return one item of the Segment Sequence (PS3.3 C.8.20.2)."""
    words = study.words
    item = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=words.say(Text.SEGMENT_LABEL, number=region.label),
        segmented_property_category=codes.SPATIAL_CONCEPT,
        segmented_property_type=codes.REGION,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=_algorithm(finding, study.rate_of(series)),
        tracking_uid=uids.tracking(study, series, region.label),
        tracking_id=f"{series_title(series, words)}, {words.say(Text.REGION, number=region.label)}",
    )
    item.SegmentAlgorithmName = item.SegmentAlgorithmName[:64]
    description = words.say(
        Text.SEGMENT,
        volume=words.number(region.volume_mm3, ".0f"),
        peak=words.number(region.peak, ".4g"),
        mean=words.number(region.mean, ".4g"),
        threshold=words.number(finding.map_threshold, ".4g"),
        unit=words.told(finding.map_unit),
    )
    put(item, "SegmentDescription", description[:1024])
    colour = hd.color.CIELabColor.from_rgb(*_COLOURS[(region.label - 1) % len(_COLOURS)])
    item.RecommendedDisplayCIELabValue = list(colour.value)
    return item


def _algorithm(finding: Finding, false_hold_rate: float) -> hd.AlgorithmIdentificationSequence:
    """Return the Algorithm Identification macro (PS3.3 10.16), as the report has it."""
    return hd.AlgorithmIdentificationSequence(
        name=plain(f"{finding.detector} {finding.profile}")[:64],
        family=codes.ARTIFICIAL_INTELLIGENCE,
        version=plain(finding.bundle_version)[:64],
        source=MANUFACTURER,
        parameters=algorithm_parameters(finding, false_hold_rate),
    )


def _set_pixels(
    target: Dataset, regions: Sequence[Region], frames: Sequence[Frame], shape: tuple[int, ...]
) -> None:
    """Set the Image Pixel module: one bit a pixel, frames without padding (PS3.5 8.1.1)."""
    target.Rows, target.Columns = shape[1:]
    target.BitsAllocated = target.BitsStored = 1
    target.HighBit = target.PixelRepresentation = 0
    pixels: NDArray[np.uint8] = np.zeros((len(frames), *shape[1:]), np.uint8)
    for canvas, frame in zip(pixels, frames, strict=True):
        region = regions[(frame.segment or 1) - 1]
        depth, row, column = region.mask_offset
        mask = region.mask[frame.plane - depth]
        rows, columns = mask.shape
        canvas[row : row + rows, column : column + columns] = mask
    target.PixelData = pack_bits(pixels, pad=True)
    target["PixelData"].VR = "OB"
