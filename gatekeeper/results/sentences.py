"""What the results say in words, for the radiologist who reads no codes.

Every sentence is a text of the study's catalogue; here is only which of them is said, and of what.
"""

from __future__ import annotations

from datetime import UTC, datetime

from gatekeeper import __version__
from gatekeeper.clinical.finding import ClinicalFinding
from gatekeeper.lesions.finding import LesionFinding, Origin, ScoredLesion
from gatekeeper.results.assessment import SeriesAssessment, StudyAssessment
from gatekeeper.results.attributes import sanitised
from gatekeeper.results.catalogue import Catalogue
from gatekeeper.results.common import assessed, first_header, lesions_of
from gatekeeper.results.place import image_name
from gatekeeper.results.text import plain
from gatekeeper.results.texts import Text
from gatekeeper.rules.verdict import Judgement
from models.finding import Finding, Level


def series_name(series: SeriesAssessment, words: Catalogue) -> str:
    """Return what a source series is called where nothing of the source may be told: its number."""
    number = sanitised(first_header(series), "SeriesNumber")
    return (
        words.say(Text.SERIES)
        if number is None
        else words.say(Text.SERIES_NUMBERED, number=int(number))
    )


def series_title(series: SeriesAssessment, words: Catalogue) -> str:
    """Return how the results call a source series: its number and description."""
    header = first_header(series)
    description = sanitised(header, "SeriesDescription") or sanitised(header, "Modality") or ""
    return f"{series_name(series, words)} {description}".strip()


def answer(judgement: Judgement, words: Catalogue) -> str:
    """Return a verdict and its reason."""
    verdict = words.verdict(judgement.verdict)
    return words.say(Text.ANSWER, verdict=verdict, reason=words.told(judgement.reason))


def conclusion(study: StudyAssessment) -> str:
    """Return the study's verdict and its reason."""
    return answer(study.judgement, study.words)


def limits(study: StudyAssessment) -> str:
    """Return what the verdict does not say."""
    return study.words.say(Text.LIMITS)


def series_lines(study: StudyAssessment) -> list[str]:
    """Return the lines of each series: verdict and reason, then what explains beside it."""
    lines: list[str] = []
    for series in study.series:
        said = [answer(series.judgement, study.words), *_of_clinical(series.clinical, study.words)]
        said += _of_lesions(series, series.lesions, study.words)
        lines += [of_series(study, series, line) for line in said]
    return lines + [study.words.told(problem) for problem in study.lesion_problems]


_LESION_NAMES = {
    Origin.DETECTOR: Text.LESION_DETECTOR,
    Origin.SEGMENTATION: Text.LESION_SEGMENTATION,
    Origin.STRUCTURE_SET: Text.LESION_STRUCTURE,
}


def lesion_name(lesion: ScoredLesion, words: Catalogue) -> str:
    """Return what a lesion is called: its number, and who says that it is there."""
    return words.say(_LESION_NAMES[lesion.origin], number=lesion.number, within=lesion.within)


def _of_lesions(
    series: SeriesAssessment, found: LesionFinding | None, words: Catalogue
) -> list[str]:
    """Return how likely each lesion is malignant, after what that rests on, and what was not."""
    if found is None:
        return []
    lines: list[str] = []
    if found.lesions:
        benign, malignant = found.patients
        if found.trial:
            lines.append(words.say(Text.LESIONS_TRIAL, bundle=plain(found.bundle)))
        lines.append(
            words.say(
                Text.LESIONS,
                bundle=plain(found.bundle),
                digest=found.bundle_digest,
                prevalence=words.number(100 * found.prevalence, ".0f"),
                benign=benign,
                malignant=malignant,
                brier=words.number(found.brier, ".3f"),
                error=words.number(found.expected_error, ".3f"),
            )
        )
    for lesion in lesions_of(series):
        part = series.source.slices[lesion.region.slice_index]
        names = (lesion_name(lesion, words), image_name(part, words))
        values = [
            words.number(100 * one, ".1f") for one in (lesion.probability, lesion.low, lesion.high)
        ]
        lines.append(
            words.say(
                Text.LESION if lesion.inside else Text.LESION_BEYOND,
                lesion=", ".join(filter(None, names)),
                probability=values[0],
                low=values[1],
                high=values[2],
            )
        )
    return lines + [words.told(one) for one in found.left_out]


def _of_clinical(found: ClinicalFinding | None, words: Catalogue) -> list[str]:
    """Return what image and function together say: score, what it comes from, what is missing."""
    if found is None:
        return []
    nothing = words.say(Text.CLINICAL_NOTHING)
    parts = ", ".join(
        f"{plain(name)} {words.number(found.contributions[name], '+.2f')}" for name in found.largest
    )
    lines = [
        words.say(
            Text.CLINICAL,
            bundle=plain(found.bundle),
            p=words.number(found.p_value, ".3g"),
            size=found.calibration_size,
            score=words.number(found.score, ".4g"),
            baseline=words.number(found.baseline, ".4g"),
        ),
        words.say(
            Text.CLINICAL_PARTS,
            parts=parts or nothing,
            missing=", ".join(map(plain, found.missing)) or nothing,
        ),
    ]
    return [words.say(Text.CLINICAL_SIMULATED), *lines] if found.simulated else lines


def of_series(study: StudyAssessment, series: SeriesAssessment, text: str) -> str:
    """Return a line that says of which series it is."""
    title = series_title(series, study.words)
    return study.words.say(Text.OF_SERIES, series=title, text=text)


def background(study: StudyAssessment) -> list[str]:
    """Return what a reader needs to weigh the verdict: calibration, levels, map, provenance."""
    lines: list[str] = []
    for place, series in enumerate(assessed(study), start=1):
        if series.finding is not None:
            number = study.series_number + place
            found = _of_finding(series.finding, number, study.words)
            lines += [of_series(study, series, line) for line in found]
    moment = datetime.fromtimestamp(study.created_at, UTC)
    lines.append(
        study.words.say(
            Text.PROVENANCE,
            moment=f"{moment:%Y-%m-%d %H:%M:%S}",
            ae_title=plain(study.ae_title),
            version=__version__,
            content=study.content_digest,
            models=plain(study.model_digest),
        )
    )
    if study.revision > 1:
        lines.append(study.words.say(Text.REVISION, number=study.revision))
    return lines + _of_earlier(study)


def calibration(finding: Finding, words: Catalogue) -> str:
    """Return on whom a finding was calibrated, to stand within a sentence."""
    return words.told(finding.calibration_description.rstrip(". "))


def _of_earlier(study: StudyAssessment) -> list[str]:
    """Return which report this one replaces, if any."""
    if not study.earlier:
        return []
    earlier = study.earlier[0].revision
    text = Text.REPLACES_OTHER_MODELS if earlier == study.revision else Text.REPLACES
    return [study.words.say(text, number=earlier)]


def _of_finding(finding: Finding, heatmap_number: int, words: Catalogue) -> list[str]:
    count = len(finding.regions)
    judged = words.say(
        Text.JUDGED,
        detector=plain(finding.detector),
        profile=plain(finding.profile),
        version=plain(finding.bundle_version),
        size=finding.levels[0].calibration_size,
        calibration=calibration(finding, words),
    )
    values: dict[str, str | int] = {
        "number": heatmap_number,
        "threshold": words.number(finding.map_threshold, ".3g"),
        "unit": words.told(finding.map_unit),
    }
    if count > 1:
        heatmaps = words.say(Text.HEATMAPS_REGIONS, count=count, **values)
    else:
        text = Text.HEATMAPS_ONE_REGION if count else Text.HEATMAPS_NO_REGION
        heatmaps = words.say(text, **values)
    return [
        judged,
        *(words.told(line) for line in (*finding.defects, *finding.remarks)),
        *(_of_level(level, words) for level in finding.levels),
        heatmaps,
    ]


def _of_level(level: Level, words: Catalogue) -> str:
    return words.say(
        Text.LEVEL_DECIDES if level.decides else Text.LEVEL_EXPLAINS,
        question=words.told(level.question),
        level=plain(level.name),
        p=words.number(level.p_value, ".3g"),
        score=words.number(level.score, ".4g"),
        median=words.number(level.calibration_median, ".4g"),
        size=level.calibration_size,
    )
