"""What was measured, as content items: groups for series and regions, and the images they cite.

Every group is a planar region of interest (PS3.16 TID 1410) with its outline: viewers fail on a
group that has none, so the group of a whole series is anchored to the rectangle of the slice
where the map is highest. Outlines are in source pixels, (0, 0) being the top left corner of the
first pixel (PS3.3 C.18.6.1.1).
"""

from __future__ import annotations

from collections.abc import Sequence

import highdicom as hd
import numpy as np
from pydicom.sr.coding import Code

from gatekeeper.results import codes, uids
from gatekeeper.results.assessment import SeriesAssessment, StudyAssessment
from gatekeeper.results.attributes import sanitised
from gatekeeper.results.common import MANUFACTURER, lesions_of, measured
from gatekeeper.results.lesions import lesion_groups
from gatekeeper.results.place import Group, image_name, number, outline, region_of
from gatekeeper.results.sentences import series_title
from gatekeeper.results.text import plain
from gatekeeper.results.texts import Text
from models.finding import Finding, Region


def measurement_groups(study: StudyAssessment) -> list[Group]:
    """Return the groups of every series: the series itself, its regions, then its lesions."""
    groups: list[Group] = []
    for series in measured(study):
        finding = series.finding
        if finding is not None:
            groups.append(_series_group(study, series, finding))
            groups += [_region_group(study, series, finding, region) for region in finding.regions]
        groups += lesion_groups(study, series)
    return groups


def key_slices(series: SeriesAssessment) -> list[int]:
    """Return the slices that an assessed series and its regions cite, in slice order."""
    finding = series.finding
    if finding is None:
        return []
    return sorted({peak_slice(finding), *(region.slice_index for region in finding.regions)})


def _cited(series: SeriesAssessment) -> list[int]:
    """Return the slices that any group of a series cites, in slice order."""
    lesions = {lesion.region.slice_index for lesion in lesions_of(series)}
    return sorted(lesions.union(key_slices(series)))


def peak_slice(finding: Finding) -> int:
    """Return the slice where the map is highest; the middle one where the map is flat."""
    peaks = np.fmax.reduce(finding.map, axis=(1, 2), initial=0.0)
    return int(np.argmax(peaks)) if peaks.max() > 0 else len(peaks) // 2


def image_library(study: StudyAssessment) -> hd.sr.ContainerContentItem:
    """Return the library of the key slices (PS3.16 TID 1600); all slices would bury them."""
    library = _container(codes.IMAGE_LIBRARY)
    for series in measured(study):
        slices = [series.source.slices[index] for index in _cited(series)]
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
        number(codes.SCORE, finding.score),
        number(codes.P_VALUE, finding.p_value),
        number(codes.HOLD_RATE, study.rate_of(series)),
        number(codes.REFERENCES, finding.levels[0].calibration_size, codes.SUBJECTS),
    ]
    for level in finding.levels:
        measurements += [
            number(codes.level_score(level.name), level.score),
            number(codes.level_median(level.name), level.calibration_median),
            number(codes.level_p_value(level.name), level.p_value),
        ]
    measurements.append(number(codes.MAP_THRESHOLD, finding.map_threshold))
    verdict = series.judgement.verdict
    part = series.source.slices[peak_slice(finding)]
    rows, columns = finding.map.shape[1:]
    corners = [(0, 0), (columns, 0), (columns, rows), (0, rows), (0, 0)]
    return Group(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uids.tracking(study, series, 0),
            f"{series_title(series, study.words)}, {study.words.say(Text.WHOLE_SERIES)}",
        ),
        referenced_region=region_of(part, np.array(corners, np.float64)),
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
    name = words.say(Text.REGION, number=region.label)
    names = (series_title(series, words), name, image_name(part, words))
    return Group(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uids.tracking(study, series, region.label), ", ".join(filter(None, names))
        ),
        referenced_region=region_of(part, outline(region, finding.map.shape)),
        finding_type=codes.REGION,
        algorithm_id=_algorithm(finding, study.rate_of(series)),
        measurements=[
            number(codes.VOLUME, region.volume_mm3, codes.CUBIC_MILLIMETRE),
            number(codes.MAP_PEAK, region.peak),
            number(codes.MAP_MEAN, region.mean),
            *(
                number(code, value, codes.MILLIMETRE)
                for code, value in zip(codes.CENTRE, region.centre, strict=True)
            ),
        ],
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


def _container(name: Code, items: Sequence[hd.sr.ContentItem] = ()) -> hd.sr.ContainerContentItem:
    item = hd.sr.ContainerContentItem(
        name, is_content_continuous=False, relationship_type="CONTAINS"
    )
    item.ContentSequence = hd.sr.ContentSequence(items)
    return item
