"""What the results say in words, for the radiologist who reads no codes."""

from __future__ import annotations

from datetime import UTC, datetime

from gatekeeper import __version__
from gatekeeper.results.assessment import SeriesAssessment, StudyAssessment
from gatekeeper.results.attributes import sanitised
from gatekeeper.results.common import assessed, first_header
from gatekeeper.results.text import plain
from models.finding import Finding, Level

LIMITS = (
    "Research: not for diagnostic use. The gate compares a scan with reference scans and looks "
    "for no disease. CLEAR does not exclude disease and SUSPECT does not show it: artefacts, "
    "unusual anatomy, and scanners or protocols unlike the reference's are held too. No person "
    "has checked this report."
)


def series_title(series: SeriesAssessment) -> str:
    """Return how the results call a source series: its number and description."""
    header = first_header(series)
    number = sanitised(header, "SeriesNumber")
    description = sanitised(header, "SeriesDescription") or sanitised(header, "Modality") or ""
    title = "Series" if number is None else f"Series {number}"
    return f"{title} {description}".strip()


def conclusion(study: StudyAssessment) -> str:
    """Return the verdict and its reason."""
    return plain(f"{study.judgement.verdict}. {study.judgement.reason}")


def series_lines(study: StudyAssessment) -> list[str]:
    """Return one line for each series: its verdict and reason."""
    return [
        f"{series_title(series)}: "
        + plain(f"{series.judgement.verdict}. {series.judgement.reason}")
        for series in study.series
    ]


def background(study: StudyAssessment) -> list[str]:
    """Return what a reader needs to weigh the verdict: calibration, levels, map, provenance."""
    lines: list[str] = []
    for place, series in enumerate(assessed(study), start=1):
        if series.finding is not None:
            lines += _of_finding(series_title(series), series.finding, study.series_number + place)
    moment = datetime.fromtimestamp(study.created_at, UTC)
    lines.append(
        plain(
            f"Analysed {moment:%Y-%m-%d %H:%M:%S} UTC by {study.ae_title}, Gatekeeper "
            f"{__version__}. Content {study.content_digest}; models {study.model_digest}."
        )
    )
    if study.revision > 1:
        lines.append(
            f"Revision {study.revision}: the study's content changed after it was first complete."
        )
    lines += _of_earlier(study)
    return lines


def _of_earlier(study: StudyAssessment) -> list[str]:
    """Return which report this one replaces, if any."""
    if not study.earlier:
        return []
    earlier = study.earlier[0].revision
    why = ", which other models made" if earlier == study.revision else ""
    return [f"This report replaces the one of revision {earlier}{why}."]


def _of_finding(title: str, finding: Finding, heatmap_number: int) -> list[str]:
    count = len(finding.regions)
    regions = (
        "no region was" if not count else "1 region was" if count == 1 else f"{count} regions were"
    )
    size = finding.levels[0].calibration_size
    return [
        f"{title}: "
        + plain(
            f"judged by {finding.detector} {finding.profile} {finding.bundle_version} against "
            f"{size} reference subjects ({finding.calibration_description.rstrip('. ')})."
        ),
        *(f"{title}: {plain(line)}" for line in (*finding.defects, *finding.remarks)),
        *(f"{title}: {_of_level(level)}" for level in finding.levels),
        f"{title}: "
        + plain(
            f"heatmaps in series {heatmap_number}, one for each slice; colour starts at "
            f"{finding.map_threshold:.3g} (unit: {finding.map_unit}); {regions} found."
        ),
    ]


def _of_level(level: Level) -> str:
    role = "" if level.decides else ", which explains and does not decide"
    return plain(
        f"{level.question} Level '{level.name}'{role}: p = {level.p_value:.3g}, score "
        f"{level.score:.4g} against a median of {level.calibration_median:.4g} in "
        f"{level.calibration_size} reference subjects."
    )
