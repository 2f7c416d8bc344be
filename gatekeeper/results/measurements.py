"""What was measured, as content items: groups for series and regions, and the images they cite.

Every group is a planar region of interest (PS3.16 TID 1410) with its outline: viewers fail on a
group that has none, so the group of a whole series is anchored to the rectangle of the slice
where the map is highest. Outlines are in source pixels, (0, 0) being the top left corner of the
first pixel (PS3.3 C.18.6.1.1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.sr.coding import Code

from gatekeeper.results import codes, uids
from gatekeeper.results.assessment import SeriesAssessment, SourceSlice, StudyAssessment
from gatekeeper.results.attributes import sanitised
from gatekeeper.results.catalogue import Catalogue
from gatekeeper.results.common import MANUFACTURER, assessed
from gatekeeper.results.sentences import series_title
from gatekeeper.results.text import plain
from gatekeeper.results.texts import Text
from models.finding import Finding, Region

Group = hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations

# An Explicit VR element of VR FL holds at most 65534 bytes: 8191 points of two 4-byte values.
_MAXIMUM_POINTS = 8000


def measurement_groups(study: StudyAssessment) -> list[Group]:
    """Return the groups of every assessed series: the series itself, then its regions."""
    groups: list[Group] = []
    for series in assessed(study):
        finding = series.finding
        if finding is None:
            continue
        groups.append(_series_group(study, series, finding))
        groups += [_region_group(study, series, finding, region) for region in finding.regions]
    return groups


def key_slices(series: SeriesAssessment) -> list[int]:
    """Return the slices that the groups of an assessed series cite, in slice order."""
    finding = series.finding
    if finding is None:
        return []
    return sorted({peak_slice(finding), *(region.slice_index for region in finding.regions)})


def peak_slice(finding: Finding) -> int:
    """Return the slice where the map is highest; the middle one where the map is flat."""
    peaks = np.fmax.reduce(finding.map, axis=(1, 2), initial=0.0)
    return int(np.argmax(peaks)) if peaks.max() > 0 else len(peaks) // 2


def image_library(study: StudyAssessment) -> hd.sr.ContainerContentItem:
    """Return the library of the key slices (PS3.16 TID 1600); all slices would bury them."""
    library = _container(codes.IMAGE_LIBRARY)
    for series in assessed(study):
        slices = [series.source.slices[index] for index in key_slices(series)]
        group = _container(codes.IMAGE_LIBRARY_GROUP)
        modality = codes.MODALITIES.get(str(sanitised(slices[0].header, "Modality")))
        if modality is not None:
            group.ContentSequence.append(
                hd.sr.CodeContentItem(codes.MODALITY, modality, "HAS ACQ CONTEXT")
            )
        for part in slices:
            group.ContentSequence.append(
                hd.sr.ImageContentItem(
                    codes.SOURCE,
                    str(part.header.SOPClassUID),
                    str(part.header.SOPInstanceUID),
                    referenced_frame_numbers=None if part.frame is None else [part.frame],
                    relationship_type="CONTAINS",
                )
            )
        library.ContentSequence.append(group)
    return library


def _series_group(study: StudyAssessment, series: SeriesAssessment, finding: Finding) -> Group:
    """Return the group of a whole series: what the verdict rests on."""
    measurements = [
        _number(codes.SCORE, finding.score),
        _number(codes.P_VALUE, finding.p_value),
        _number(codes.HOLD_RATE, study.rate_of(series)),
        _number(codes.REFERENCES, finding.levels[0].calibration_size, codes.SUBJECTS),
    ]
    for level in finding.levels:
        measurements += [
            _number(codes.level_score(level.name), level.score),
            _number(codes.level_median(level.name), level.calibration_median),
            _number(codes.level_p_value(level.name), level.p_value),
        ]
    measurements.append(_number(codes.MAP_THRESHOLD, finding.map_threshold))
    verdict = series.judgement.verdict
    part = series.source.slices[peak_slice(finding)]
    rows, columns = finding.map.shape[1:]
    corners = [(0, 0), (columns, 0), (columns, rows), (0, rows), (0, 0)]
    return Group(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uids.tracking(study, series, 0),
            f"{series_title(series, study.words)}, {study.words.say(Text.WHOLE_SERIES)}",
        ),
        referenced_region=_region_of(part, np.array(corners, np.float64)),
        finding_type=codes.WHOLE_SERIES,
        algorithm_id=_algorithm(finding, study.rate_of(series)),
        measurements=measurements,
        qualitative_evaluations=[
            hd.sr.QualitativeEvaluation(codes.GATE_VERDICT, codes.VERDICTS[verdict]),
            hd.sr.QualitativeEvaluation(codes.AGAINST_REFERENCE, codes.NORMALITY[verdict]),
        ],
    )


def _region_group(
    study: StudyAssessment, series: SeriesAssessment, finding: Finding, region: Region
) -> Group:
    """Return the group of one region, outlined on the slice of its largest area."""
    part = series.source.slices[region.slice_index]
    words = study.words
    number = words.say(Text.REGION, number=region.label)
    names = (series_title(series, words), number, image_name(part, words))
    return Group(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uids.tracking(study, series, region.label), ", ".join(filter(None, names))
        ),
        referenced_region=_region_of(part, outline(region, finding.map.shape)),
        finding_type=codes.REGION,
        algorithm_id=_algorithm(finding, study.rate_of(series)),
        measurements=[
            _number(codes.VOLUME, region.volume_mm3, codes.CUBIC_MILLIMETRE),
            _number(codes.MAP_PEAK, region.peak),
            _number(codes.MAP_MEAN, region.mean),
            *(
                _number(code, value, codes.MILLIMETRE)
                for code, value in zip(codes.CENTRE, region.centre, strict=True)
            ),
        ],
    )


def image_name(part: SourceSlice, words: Catalogue) -> str:
    """Return where to scroll to, as viewers number images; empty when it is not numbered."""
    if part.frame is not None:
        return words.say(Text.FRAME, number=part.frame)
    number = sanitised(part.header, "InstanceNumber")
    return "" if number is None else words.say(Text.IMAGE, number=int(number))


def outline(region: Region, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return a region's outline as SCOORD graphic data (PS3.3 C.18.6.1).

    Args:
        region: with points counted from the centre of the first pixel.
        shape: (slices, rows, columns) of the map.

    Returns:
        (points, 2) of (column, row), closed, within the image, counted from its corner.
    """
    points = np.asarray(region.outline, np.float64).reshape(-1, 2)
    if len(points) < 3:
        points = _box(region)
    step = math.ceil(len(points) / _MAXIMUM_POINTS)
    points = np.clip(points[::step] + 0.5, 0.0, [float(shape[2]), float(shape[1])])
    if not np.array_equal(points[0], points[-1]):
        points = np.vstack([points, points[:1]])
    return points


def _box(region: Region) -> NDArray[np.float64]:
    """Return the rectangle around a region on its slice, for an outline that is none."""
    depth, row, column = region.mask_offset
    rows, columns = np.nonzero(region.mask[region.slice_index - depth])
    top, left = row + rows.min() - 0.5, column + columns.min() - 0.5
    bottom, right = row + rows.max() + 0.5, column + columns.max() + 0.5
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float64)


def _region_of(part: SourceSlice, points: NDArray[np.float64]) -> hd.sr.ImageRegion:
    return hd.sr.ImageRegion(
        hd.sr.GraphicTypeValues.POLYLINE,
        points,
        hd.sr.SourceImageForRegion(
            str(part.header.SOPClassUID),
            str(part.header.SOPInstanceUID),
            referenced_frame_numbers=None if part.frame is None else [part.frame],
        ),
    )


def _algorithm(finding: Finding, false_hold_rate: float) -> hd.sr.AlgorithmIdentification:
    """Return PS3.16 TID 4019: all it takes to name the judge and how it was set."""
    parameters = algorithm_parameters(finding, false_hold_rate)
    return hd.sr.AlgorithmIdentification(
        name=plain(f"{finding.detector} {finding.profile}"),
        version=plain(finding.bundle_version),
        parameters=[f"{name}={value}" for name, value in parameters.items()],
        family=codes.ARTIFICIAL_INTELLIGENCE,
        manufacturer=MANUFACTURER,
    )


def algorithm_parameters(finding: Finding, false_hold_rate: float) -> dict[str, str]:
    """Return how the judge was set, as every result that names it says."""
    parameters = {
        "bundle_sha256": finding.model_digest,
        "calibration_sha256": finding.calibration_digest,
        "false_hold_rate": f"{false_hold_rate:.6g}",
        "map_threshold": f"{finding.map_threshold:.6g}",
        "map_unit": finding.map_unit,
        "calibration": finding.calibration_description,
    }
    return {name: plain(value) for name, value in parameters.items()}


def _number(name: Code, value: float, unit: Code = codes.NO_UNITS) -> hd.sr.Measurement:
    return hd.sr.Measurement(name, value=float(value), unit=unit)


def _container(name: Code, items: Sequence[hd.sr.ContentItem] = ()) -> hd.sr.ContainerContentItem:
    item = hd.sr.ContainerContentItem(
        name, is_content_continuous=False, relationship_type="CONTAINS"
    )
    item.ContentSequence = hd.sr.ContentSequence(items)
    return item
