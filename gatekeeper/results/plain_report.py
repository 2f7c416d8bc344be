"""The report in plain sentences, for a PACS that shows nothing else of a report.

A Basic Text SR by PS3.16 TID 2000 with what the measurement report says in words, and one line
for each region. It says where the numbers, outlines and codes are. A study of which no series was
assessed has such a report already, and gets no second one.
"""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.uid import BasicTextSRStorage

from gatekeeper.results import sentences, uids
from gatekeeper.results.assessment import SeriesAssessment, StudyAssessment
from gatekeeper.results.catalogue import Catalogue
from gatekeeper.results.common import complete, first_header, measured, new_object
from gatekeeper.results.document import describe_document, text_tree
from gatekeeper.results.place import image_name
from gatekeeper.results.texts import Text
from models.finding import Region

SERIES_OFFSET = 30
"""What is added to the report's SeriesNumber: past the heatmaps of any usual study."""


def plain_report(study: StudyAssessment) -> Dataset | None:
    """Return the report in sentences, with its file meta information, Explicit VR Little Endian.

    Returns:
        None when no series was assessed and no lesion scored.
    """
    numbered = measured(study)
    if not numbered:
        return None
    target = new_object(
        study,
        first_header(numbered[0]),
        BasicTextSRStorage,
        uids.plain_report_series(study),
        study.series_number + SERIES_OFFSET,
        study.words.say(Text.REPORT_IN_WORDS, verdict=study.judgement.verdict),
        [sentences.series_title(series, study.words) for series in study.series],
    )
    describe_document(target, study, "plain-report")
    lines = [line for series in numbered for line in _region_lines(study, series)]
    lines.append(study.words.say(Text.NUMBERS_ELSEWHERE, number=study.series_number))
    target.update(text_tree(study, lines))
    return complete(target, uids.plain_report_instance(study), 1)


def _region_lines(study: StudyAssessment, series: SeriesAssessment) -> list[str]:
    """Return one sentence for each region of an assessed series."""
    finding = series.finding
    if finding is None:
        return []
    lines: list[str] = []
    for region in finding.regions:
        image = image_name(series.source.slices[region.slice_index], study.words)
        line = _of_region(region, image, study.words)
        lines.append(sentences.of_series(study, series, line))
    return lines


def _of_region(region: Region, image: str, words: Catalogue) -> str:
    values: dict[str, str | int] = {
        "number": region.label,
        "volume": words.number(region.volume_mm3 / 1000, ".2f"),
        "peak": words.number(region.peak, ".3g"),
        "mean": words.number(region.mean, ".3g"),
    }
    if image:
        return words.say(Text.REGION_LINE_ON_IMAGE, image=image, **values)
    return words.say(Text.REGION_LINE, **values)
