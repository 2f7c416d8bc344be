"""Parametric map: the anomaly map of one series in numbers, on the source's grid (PS3.3 A.75).

The values are the map's own, float32 and unscaled; the Real World Value Mapping says what they
count. Frames are in slice order: a reader that goes by the order alone still has the map in place.
A map without regions is a map too.
"""

from __future__ import annotations

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import ParametricMapStorage

from gatekeeper.results import codes, uids
from gatekeeper.results.assessment import SeriesAssessment, StudyAssessment
from gatekeeper.results.attributes import decimal
from gatekeeper.results.catalogue import Catalogue
from gatekeeper.results.common import complete, place_of
from gatekeeper.results.inherited import recognizable
from gatekeeper.results.multiframe import (
    Frame,
    frame_anatomy,
    grid_of,
    new_image,
    set_frames,
)
from gatekeeper.results.texts import Text
from models.finding import Finding

SERIES_OFFSET = 300
"""SeriesNumber of the first map, counted from the report's: clear of the heatmaps' and SEGs'."""

_IMAGE_TYPE = ("DERIVED", "PRIMARY", "VOLUME", "QUANTITY")


def parametric_map(study: StudyAssessment, series: SeriesAssessment) -> Dataset | None:
    """Return the map of one series, with file meta information, Explicit VR Little Endian.

    Args:
        study: the job's answer, of which `series` is a part.
        series: one of its series.

    Returns:
        None when it has no map, or its planes have no one frame of reference or share a place.

    Raises:
        ValueError: if slices and map are not of one shape.
    """
    finding, grid = series.finding, grid_of(series)
    if finding is None or grid is None:
        return None
    if len(series.source.slices) != len(finding.map):
        raise ValueError("slices and map are not of one shape")
    series_uid = uids.parametric_map_series(study, series)
    instance = uids.only_instance(series_uid)
    number = study.series_number + SERIES_OFFSET + place_of(study, series)
    texts = (Text.PARAMETRIC_MAP, Text.PARAMETRIC_MAP_CONTENT)
    target = new_image(study, series, grid, ParametricMapStorage, series_uid, number, *texts)
    target.Modality = "OT"
    target.ImageType = list(_IMAGE_TYPE)
    target.ContentLabel = "ANOMALY_MAP"
    target.BurnedInAnnotation = "NO"
    target.RecognizableVisualFeatures = recognizable(series)
    target.PresentationLUTShape = "IDENTITY"
    target.AcquisitionContextSequence = []
    frames = [Frame(plane) for plane in range(len(finding.map))]
    organization = uids.dimension_organization(instance)
    set_frames(target, series, grid, frames, codes.MAP_VALUE, organization)
    target.DimensionOrganizationType = "3D"
    _set_meaning(target, series, finding, study.words)
    target.Rows, target.Columns = finding.map.shape[1:]
    target.BitsAllocated = 32
    target.FloatPixelData = np.ascontiguousarray(finding.map, "<f4").tobytes()
    return complete(target, instance, 1)


def _set_meaning(
    target: Dataset, series: SeriesAssessment, finding: Finding, words: Catalogue
) -> None:
    """Say in the shared functional groups what the values are (PS3.3 C.7.6.16.2, C.8.32.3)."""
    (shared,) = target.SharedFunctionalGroupsSequence
    kind = Dataset()
    kind.FrameType = list(_IMAGE_TYPE)
    shared.ParametricMapFrameTypeSequence = [kind]
    shared.FrameAnatomySequence = [frame_anatomy(series)]
    identity = Dataset()
    identity.RescaleIntercept, identity.RescaleSlope, identity.RescaleType = 0, 1, "US"
    shared.PixelValueTransformationSequence = [identity]
    window = Dataset()
    width = finding.map_maximum if finding.map_maximum > 0 else 1.0
    window.WindowCenter, window.WindowWidth = decimal(width / 2), decimal(width)
    window.VOILUTFunction = "LINEAR_EXACT"
    shared.FrameVOILUTSequence = [window]
    low, high = float(finding.map.min()), float(finding.map.max())
    mapping = hd.pm.RealWorldValueMapping(
        lut_label="ANOMALY_MAP",
        lut_explanation=words.told(finding.map_unit)[:64],
        unit=codes.NO_UNITS,
        value_range=(low, high),
        quantity_definition=codes.MAP_VALUE,
    )
    shared.RealWorldValueMappingSequence = [mapping]
