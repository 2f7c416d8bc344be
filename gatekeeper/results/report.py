"""The report: a Structured Report that says the verdict, what it rests on, and where to look.

A study with an assessed series or a scored lesion gets a Comprehensive 3D SR by TID 1500
'Measurement Report'. A study with neither has nothing measured, and viewers break on a measurement
report without measurements: it gets a Basic Text SR by TID 2000 'Basic Diagnostic Imaging Report'
that says why.
A study that holds no readable image gets no report: there is no patient to file it under.

For a node that refuses Comprehensive 3D SR the same tree goes into an older class. Its outlines
are 2-D coordinates (SCOORD) and nothing in it is related by reference, so Comprehensive SR
(PS3.3 A.35.3) and Enhanced SR (PS3.3 A.35.2) permit all of it.

Verdict and limits stand as plain sentences first; numbers and outlines follow. Every report is
COMPLETE, UNVERIFIED and PRELIMINARY: no person has looked at it.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import highdicom as hd
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import (
    UID,
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
)

from gatekeeper.results import codes, sentences, uids
from gatekeeper.results.assessment import SeriesAssessment, StudyAssessment
from gatekeeper.results.attributes import sanitised
from gatekeeper.results.common import complete, first_header, images, measured, new_object
from gatekeeper.results.document import (
    code,
    container,
    describe_document,
    language,
    observation_context,
    separate,
    text,
    text_tree,
)
from gatekeeper.results.kinds import STATEMENT
from gatekeeper.results.measurements import image_library, measurement_groups
from gatekeeper.results.texts import Text


class Form(StrEnum):
    """The SR class that carries the measurements, the newest first."""

    COMPREHENSIVE_3D = "comprehensive-3d"
    COMPREHENSIVE = "comprehensive"
    ENHANCED = "enhanced"


FORMS: dict[str, Form] = {
    "report": Form.COMPREHENSIVE_3D,
    "report-2d": Form.COMPREHENSIVE,
    "report-enhanced": Form.ENHANCED,
}
"""Kind of result -> its form."""
_KINDS = {form: kind for kind, form in FORMS.items()}
_CLASSES: dict[Form, UID] = {
    Form.COMPREHENSIVE_3D: Comprehensive3DSRStorage,
    Form.COMPREHENSIVE: ComprehensiveSRStorage,
    Form.ENHANCED: EnhancedSRStorage,
}


def report(study: StudyAssessment, form: Form | str = Form.COMPREHENSIVE_3D) -> Dataset | None:
    """Return the report on a study, with its file meta information, Explicit VR Little Endian.

    Args:
        study: the job's answer.
        form: the class of a report with measurements; one without is always a Basic Text SR.

    Returns:
        None when the study holds no image.

    Raises:
        ValueError: if there is no such form.
    """
    form = Form(form)
    sources = [header for series in study.series for header in images(series)]
    if not sources:
        return None
    numbered = measured(study)
    source = first_header(numbered[0]) if numbered else sources[0]
    foreign = [sentences.series_title(series, study.words) for series in study.series]
    foreign += [procedure.meaning for procedure in _procedures(numbered)]
    target = new_object(
        study,
        source,
        _CLASSES[form] if numbered else BasicTextSRStorage,
        uids.report_series(study),
        study.series_number,
        study.words.say(Text.REPORT, verdict=study.judgement.verdict),
        foreign,
    )
    describe_document(target, study, _KINDS[form] if numbered else STATEMENT)
    target.update(_measurement_report(study) if numbered else text_tree(study))
    usual = form is Form.COMPREHENSIVE_3D or not numbered
    uid = uids.report_instance(study) if usual else uids.report_instance_as(study, form)
    # All forms are in one series: the number is the form's place, whichever others are made.
    return complete(target, uid, 1 if usual else list(Form).index(form) + 1)


def _measurement_report(study: StudyAssessment) -> Dataset:
    """Return the content tree by TID 1500."""
    root = hd.sr.MeasurementReport(
        observation_context=observation_context(study),
        procedure_reported=_procedures(measured(study)),
        imaging_measurements=measurement_groups(study),
        title=codes.IMAGING_MEASUREMENT_REPORT,
        language_of_content_item_and_descendants=language(study),
    )[0]
    content = root.ContentSequence
    # The library and the measurements follow the words.
    measurements = content.pop()
    content.extend(_words(study))
    content.append(image_library(study))
    content.append(measurements)
    verdict = study.judgement.verdict
    content.append(
        container(
            codes.QUALITATIVE_EVALUATIONS,
            [
                code(codes.GATE_VERDICT, codes.VERDICTS[verdict]),
                code(codes.AGAINST_REFERENCE, codes.NORMALITY[verdict]),
                *(text(codes.COMMENT, line) for line in sentences.background(study)),
            ],
        )
    )
    return separate(root)


def _words(study: StudyAssessment) -> list[hd.sr.ContentItem]:
    """Return the verdict, the limits and each series' answer in plain sentences."""
    return [
        text(codes.CONCLUSION, sentences.conclusion(study)),
        *(
            text(codes.COMMENT, line)
            for line in (sentences.limits(study), *sentences.series_lines(study))
        ),
    ]


def _procedures(numbered: Sequence[SeriesAssessment]) -> list[Code]:
    """Return the procedures that the sources name, or that there was imaging."""
    found: dict[str, Code] = {}
    for series in numbered:
        for item in sanitised(first_header(series), "ProcedureCodeSequence") or []:
            parts = [
                sanitised(item, keyword)
                for keyword in ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
            ]
            if None not in parts:
                found[str(parts[0])] = Code(*map(str, parts))
    return list(found.values()) or [codes.IMAGING_PROCEDURE]
