"""What a report says of lesions: a measurement group and a sentence for each that was scored.

The probability is `Probability of cancer` (111047, DCM) in percent, which PS3.16 has for computer
aided detection (TID 4006). The ends of its interval are codes of our own: PixelMed's validator
takes none of the uncertainties of TID 310 in a group of TID 1410. Whose calibration it rests on
stands in the group's algorithm and in a sentence.
"""

from __future__ import annotations

import highdicom as hd

from gatekeeper.lesions.finding import LesionFinding, ScoredLesion
from gatekeeper.results import codes, uids
from gatekeeper.results.assessment import SeriesAssessment, StudyAssessment
from gatekeeper.results.common import LESION_CALIBRATION, MANUFACTURER, lesions_of
from gatekeeper.results.place import Group, image_name, number, outline, region_of
from gatekeeper.results.sentences import lesion_name, series_title
from gatekeeper.results.text import plain

_DIGITS = 2
"""Of a percentage in a report, so that a rerun on another processor says the same."""


def lesion_groups(study: StudyAssessment, series: SeriesAssessment) -> list[Group]:
    """Return a group (PS3.16 TID 1410) for each scored lesion of a series."""
    found = series.lesions
    if found is None:
        return []
    return [_group(study, series, found, lesion) for lesion in lesions_of(series)]


def _group(
    study: StudyAssessment, series: SeriesAssessment, found: LesionFinding, lesion: ScoredLesion
) -> Group:
    region = lesion.region
    part = series.source.slices[region.slice_index]
    words = study.words
    names = (series_title(series, words), lesion_name(lesion, words), image_name(part, words))
    shape = series.volume.array.shape if series.volume is not None else ()
    return Group(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uids.lesion_tracking(study, series, lesion.number), ", ".join(filter(None, names))
        ),
        referenced_region=region_of(part, outline(region, shape)),
        finding_type=codes.LESION,
        algorithm_id=_algorithm(found, lesion),
        measurements=[
            *(
                number(code, _percent(value), codes.PERCENT)
                for code, value in (
                    (codes.PROBABILITY_OF_CANCER, lesion.probability),
                    (codes.PROBABILITY_LOW, lesion.low),
                    (codes.PROBABILITY_HIGH, lesion.high),
                )
            ),
            number(codes.PREVALENCE, _percent(found.prevalence), codes.PERCENT),
            number(codes.VOLUME, region.volume_mm3, codes.CUBIC_MILLIMETRE),
            *(
                number(code, value, codes.MILLIMETRE)
                for code, value in zip(codes.CENTRE, region.centre, strict=True)
            ),
        ],
    )


def _algorithm(found: LesionFinding, lesion: ScoredLesion) -> hd.sr.AlgorithmIdentification:
    """Return PS3.16 TID 4019: which bundle, and what its probabilities rest on."""
    benign, malignant = found.patients
    parameters = {
        "bundle_sha256": found.bundle_digest,
        "calibration": LESION_CALIBRATION,
        "benign_patients": str(benign),
        "malignant_patients": str(malignant),
        "prevalence": f"{found.prevalence:.4g}",
        "brier": f"{found.brier:.4g}",
        "expected_calibration_error": f"{found.expected_error:.4g}",
        "interval": "0.95",
        "inside_calibration": "yes" if lesion.inside else "no",
        "origin": str(lesion.origin),
        "origin_instance": lesion.reference or "none",
        "release": "TRIAL" if found.trial else "released",
    }
    return hd.sr.AlgorithmIdentification(
        name=plain(f"lesions {found.bundle}"),
        version=found.bundle_digest[:12],
        parameters=[f"{name}={plain(value)}" for name, value in parameters.items()],
        family=codes.ARTIFICIAL_INTELLIGENCE,
        manufacturer=MANUFACTURER,
    )


def _percent(part: float) -> float:
    return round(100 * part, _DIGITS)
