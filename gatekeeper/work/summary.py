"""What is kept of an assessment in the database: plain JSON, no pixels, no patient data."""

from __future__ import annotations

from typing import Any

from gatekeeper.clinical.finding import ClinicalFinding
from gatekeeper.lesions.finding import LesionFinding
from gatekeeper.results.assessment import SeriesAssessment, StudyAssessment
from gatekeeper.results.place import image_number
from gatekeeper.rules.verdict import most_extreme
from gatekeeper.work.protocol import device_name, protocol, protocol_name
from models.evaluation.coverage import coverage
from models.finding import Finding, Level, Region


def deciding_finding(assessment: StudyAssessment) -> Finding | None:
    """Return the finding of the series whose judgement the study took, else of the worst series."""
    scored = [item for item in assessment.series if item.finding is not None]
    for item in scored:
        if item.judgement == assessment.judgement:
            return item.finding
    return min(
        (item.finding for item in scored if item.finding is not None),
        key=lambda finding: finding.p_value,
        default=None,
    )


def evidence(assessment: StudyAssessment) -> dict[str, Any]:
    """Return what the verdict rests on, series by series."""
    found: dict[str, Any] = {
        "false_hold_rate": assessment.false_hold_rate,
        "reference_stands_in": assessment.reference_stands_in,
        "series": [_series(item, assessment.false_hold_rate) for item in assessment.series],
    }
    if assessment.clinical_problem:
        found["clinical_problem"] = assessment.clinical_problem
    if assessment.lesion_problems:
        found["lesion_problems"] = list(assessment.lesion_problems)
    if assessment.left_out:
        found["left_out"] = list(assessment.left_out)
    return found


def _series(item: SeriesAssessment, false_hold_rate: float) -> dict[str, Any]:
    found: dict[str, Any] = {
        "series_instance_uid": str(item.source.series_instance_uid),
        "instances": len(item.source.headers),
        "protocol": str(protocol(item.source.headers[0])) if item.source.headers else "",
        "origin": _origin(item),
        "verdict": item.judgement.verdict.value,
        "reason": item.judgement.reason,
        "lossy": item.source.lossy,
    }
    if item.volume is not None:
        found["grid"] = {
            "shape": list(item.volume.array.shape),
            "spacing_mm": [round(value, 4) for value in item.volume.spacing],
        }
    if item.false_hold_rate is not None:
        found["false_hold_rate"] = item.false_hold_rate
    if item.clinical is not None:
        found["clinical"] = _clinical(item.clinical)
    if item.lesions is not None:
        found["lesions"] = _lesions(item, item.lesions)
    if item.finding is not None:
        found |= _finding(item.finding) | _promised(
            item.finding, false_hold_rate if item.false_hold_rate is None else item.false_hold_rate
        )
    return found


def _origin(item: SeriesAssessment) -> dict[str, str]:
    """Return scanner and protocol as calibrations name them, so that rates are counted by them.

    For the database alone: neither name goes into a log or a result.
    """
    if item.volume is not None:
        return {"device": item.volume.device, "protocol": item.volume.protocol}
    if not item.source.headers:
        return {"device": "", "protocol": ""}
    header = item.source.headers[0]
    return {"device": device_name(header), "protocol": protocol_name(header)}


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "score": finding.score,
        "p_value": finding.p_value,
        "levels": [_level(level) for level in finding.levels],
        "regions": [_region(region) for region in finding.regions],
        "map": {
            "unit": finding.map_unit,
            "threshold": finding.map_threshold,
            "maximum": finding.map_maximum,
        },
        "detector": finding.detector,
        "profile": finding.profile,
        "bundle_version": finding.bundle_version,
        "bundle_digest": finding.model_digest,
        "calibration_digest": finding.calibration_digest,
        "calibration": finding.calibration_description,
        "site_calibrated": finding.site_calibrated,
        "defects": list(finding.defects),
        "milliseconds": {name: round(value, 3) for name, value in finding.milliseconds.items()},
    }


def _clinical(found: ClinicalFinding) -> dict[str, Any]:
    """Return score and contributions; the values themselves stay in their table."""
    return {
        "bundle": found.bundle,
        "bundle_digest": found.bundle_digest,
        "simulated": found.simulated,
        "score": found.score,
        "p_value": found.p_value,
        "calibration_size": found.calibration_size,
        "atypical": found.atypical,
        "baseline": found.baseline,
        "contributions": dict(found.contributions),
        "sources": dict(found.sources),
        "missing": list(found.missing),
    }


def _lesions(item: SeriesAssessment, found: LesionFinding) -> dict[str, Any]:
    return {
        "bundle": found.bundle,
        "bundle_digest": found.bundle_digest,
        "trial": found.trial,
        "not_tested_on": list(found.limits),
        "calibration": {
            "method": "Platt's scaling",
            "prevalence": found.prevalence,
            "benign_patients": found.patients[0],
            "malignant_patients": found.patients[1],
            "brier": found.brier,
            "expected_calibration_error": found.expected_error,
        },
        "lesions": [
            {
                "number": one.number,
                "origin": one.origin.name.lower(),
                "within": one.within,
                "reference": one.reference,
                "probability": one.probability,
                "interval_95": [one.low, one.high],
                "inside_calibration": one.inside,
                "patches": one.patches,
                "centre_lps_mm": [round(value, 2) for value in one.region.centre],
                "volume_mm3": round(one.region.volume_mm3, 3),
                "slice": one.region.slice_index,
                **_extent(item, one.region),
            }
            for one in found.lesions
        ],
        "left_out": list(found.left_out),
    }


def _extent(item: SeriesAssessment, region: Region) -> dict[str, Any]:
    """Return where a region begins and ends and how large it is, in the order of the array."""
    if item.volume is None:
        return {}
    first, count = region.mask_offset[0], region.mask.shape[0]
    found: dict[str, Any] = {
        "slices": [first, first + count - 1],
        "size_mm": [
            round(voxels * step, 2)
            for voxels, step in zip(region.mask.shape, item.volume.spacing, strict=True)
        ],
    }
    images = [image_number(item.source.slices[end]) for end in found["slices"]]
    return found | ({} if None in images else {"images": images})


def _promised(finding: Finding, false_hold_rate: float) -> dict[str, Any]:
    """Return what so many calibration studies make of the stated rate, its central 95 %."""
    size = most_extreme(finding.levels).calibration_size
    known = coverage(size, false_hold_rate)
    return {"calibration_size": size, "realised_rate": [round(known.low, 4), round(known.high, 4)]}


def _level(level: Level) -> dict[str, Any]:
    return {
        "name": level.name,
        "question": level.question,
        "score": level.score,
        "p_value": level.p_value,
        "calibration_size": level.calibration_size,
        "calibration_median": level.calibration_median,
        "decides": level.decides,
    }


def _region(region: Region) -> dict[str, Any]:
    return {
        "label": region.label,
        "volume_mm3": round(region.volume_mm3, 3),
        "centre_lps_mm": [round(value, 2) for value in region.centre],
        "peak": region.peak,
        "mean": region.mean,
        "slice": region.slice_index,
    }
