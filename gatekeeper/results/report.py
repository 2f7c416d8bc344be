"""The report: a Structured Report that says the verdict, what it rests on, and where to look.

A study with an assessed series gets a Comprehensive 3D SR by TID 1500 'Measurement Report'. A
study with none has nothing measured, and viewers break on a measurement report without
measurements: it gets a Basic Text SR by TID 2000 'Basic Diagnostic Imaging Report' that says why.
A study that holds no readable image gets no report: there is no patient to file it under.

Verdict and limits stand as plain sentences first; numbers and outlines follow. Every report is
COMPLETE, UNVERIFIED and PRELIMINARY: no person has looked at it.
"""

from __future__ import annotations

from collections.abc import Sequence

import highdicom as hd
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import UID, BasicTextSRStorage, Comprehensive3DSRStorage

from gatekeeper.results import codes, sentences, uids
from gatekeeper.results.assessment import SeriesAssessment, StudyAssessment
from gatekeeper.results.attributes import sanitised
from gatekeeper.results.common import (
    MANUFACTURER,
    MODEL,
    assessed,
    complete,
    first_header,
    images,
    new_object,
)
from gatekeeper.results.measurements import image_library, measurement_groups


def report(study: StudyAssessment) -> Dataset | None:
    """Return the report on a study, with its file meta information, Explicit VR Little Endian.

    Returns:
        None when the study holds no image.
    """
    sources = [header for series in study.series for header in images(series)]
    if not sources:
        return None
    measured = assessed(study)
    source = first_header(measured[0]) if measured else sources[0]
    foreign = [sentences.series_title(series) for series in study.series]
    foreign += [procedure.meaning for procedure in _procedures(measured)]
    target = new_object(
        study,
        source,
        Comprehensive3DSRStorage if measured else BasicTextSRStorage,
        uids.report_series(study),
        study.series_number,
        f"Gatekeeper report: {study.judgement.verdict}",
        foreign,
    )
    target.Modality = "SR"
    target.ReferencedPerformedProcedureStepSequence = []
    target.PerformedProcedureCodeSequence = []
    target.CompletionFlag = "COMPLETE"
    target.VerificationFlag = "UNVERIFIED"
    target.PreliminaryFlag = "PRELIMINARY"
    target.CurrentRequestedProcedureEvidenceSequence = [evidence(study)]
    target.update(_measurement_report(study) if measured else _text_report(study))
    return complete(target, uids.report_instance(study), 1)


def evidence(study: StudyAssessment) -> Dataset:
    """Return every image of the study, by series (PS3.3 C.17.2.3): all that was looked at."""
    found: dict[str, dict[str, Dataset]] = {}
    for series in study.series:
        for header in images(series):
            instance = Dataset()
            instance.ReferencedSOPClassUID = UID(str(header.SOPClassUID))
            instance.ReferencedSOPInstanceUID = UID(str(header.SOPInstanceUID))
            known = found.setdefault(series.source.series_instance_uid, {})
            known[str(header.SOPInstanceUID)] = instance
    item = Dataset()
    item.StudyInstanceUID = UID(study.study_instance_uid)
    item.ReferencedSeriesSequence = []
    for series_uid in sorted(found):
        part = Dataset()
        part.SeriesInstanceUID = UID(series_uid)
        part.ReferencedSOPSequence = [found[series_uid][uid] for uid in sorted(found[series_uid])]
        item.ReferencedSeriesSequence.append(part)
    return item


def _measurement_report(study: StudyAssessment) -> Dataset:
    """Return the content tree by TID 1500."""
    measured = assessed(study)
    root = hd.sr.MeasurementReport(
        observation_context=_observation_context(study),
        procedure_reported=_procedures(measured),
        imaging_measurements=measurement_groups(study),
        title=codes.IMAGING_MEASUREMENT_REPORT,
        language_of_content_item_and_descendants=_language(),
    )[0]
    content = root.ContentSequence
    # The library and the measurements follow the words.
    measurements = content.pop()
    content.extend(_words(study))
    content.append(image_library(study))
    content.append(measurements)
    verdict = study.judgement.verdict
    content.append(
        _container(
            codes.QUALITATIVE_EVALUATIONS,
            [
                _code(codes.GATE_VERDICT, codes.VERDICTS[verdict]),
                _code(codes.AGAINST_REFERENCE, codes.NORMALITY[verdict]),
                *(_text(codes.COMMENT, line) for line in sentences.background(study)),
            ],
        )
    )
    return _separate(root)


def _text_report(study: StudyAssessment) -> Dataset:
    """Return the content tree by TID 2000."""
    root = hd.sr.ContainerContentItem(
        codes.STUDY_FINDINGS, is_content_continuous=False, template_id="2000"
    )
    root.ContentSequence = hd.sr.ContentSequence(
        [
            *_language(),
            *_observation_context(study),
            _container(
                codes.CONCLUSIONS,
                [
                    _text(codes.CONCLUSION, sentences.conclusion(study)),
                    _text(codes.CONCLUSION, sentences.LIMITS),
                ],
            ),
            _container(
                codes.FINDINGS,
                [
                    _code(codes.FINDING, codes.VERDICTS[study.judgement.verdict]),
                    *(_text(codes.FINDING, line) for line in sentences.series_lines(study)),
                ],
            ),
            _container(
                codes.PROCEDURE_DESCRIPTIONS,
                [_text(codes.PROCEDURE_DESCRIPTION, line) for line in sentences.background(study)],
            ),
        ]
    )
    return _separate(root)


def _words(study: StudyAssessment) -> list[hd.sr.ContentItem]:
    """Return the verdict, the limits and each series' answer in plain sentences."""
    return [
        _text(codes.CONCLUSION, sentences.conclusion(study)),
        *(
            _text(codes.COMMENT, line)
            for line in (sentences.LIMITS, *sentences.series_lines(study))
        ),
    ]


def _language() -> hd.sr.LanguageOfContentItemAndDescendants:
    return hd.sr.LanguageOfContentItemAndDescendants(hd.sr.CodedConcept.from_code(codes.ENGLISH))


def _observation_context(study: StudyAssessment) -> hd.sr.ObservationContext:
    """Return that a device observed, and which (PS3.16 TID 1001, 1004)."""
    device = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=uids.device(study.model_digest),
        name=study.ae_title,
        manufacturer_name=MANUFACTURER,
        model_name=MODEL,
    )
    observer = hd.sr.ObserverContext(hd.sr.CodedConcept.from_code(codes.DEVICE), device)
    return hd.sr.ObservationContext(observer_device_context=observer)


def _procedures(measured: Sequence[SeriesAssessment]) -> list[Code]:
    """Return the procedures that the sources name, or that there was imaging."""
    found: dict[str, Code] = {}
    for series in measured:
        for item in sanitised(first_header(series), "ProcedureCodeSequence") or []:
            parts = [
                sanitised(item, keyword)
                for keyword in ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
            ]
            if None not in parts:
                found[str(parts[0])] = Code(*map(str, parts))
    return list(found.values()) or [codes.IMAGING_PROCEDURE]


def _container(name: Code, items: Sequence[hd.sr.ContentItem]) -> hd.sr.ContainerContentItem:
    item = hd.sr.ContainerContentItem(name, relationship_type="CONTAINS")
    item.ContentSequence = hd.sr.ContentSequence(items)
    return item


def _code(name: Code, value: Code) -> hd.sr.CodeContentItem:
    return hd.sr.CodeContentItem(name, value, "CONTAINS")


def _text(name: Code, value: str) -> hd.sr.TextContentItem:
    return hd.sr.TextContentItem(name, value, "CONTAINS")


def _separate(root: Dataset) -> Dataset:
    """Mark every container SEPARATE, else printers run values together without their names."""
    pending = [root]
    while pending:
        item = pending.pop()
        if item.ValueType == "CONTAINER":
            item.ContinuityOfContent = "SEPARATE"
        pending.extend(item.get("ContentSequence", ()))
    return root
