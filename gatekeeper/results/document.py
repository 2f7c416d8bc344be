"""What every Structured Report of ours is built from: evidence, observer, text tree, items.

The text tree is PS3.16 TID 2000 'Basic Diagnostic Imaging Report': the verdict, its reason and the
limits of use first, then what was found in each series, then what it rests on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import highdicom as hd
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import UID

from gatekeeper.results import codes, sentences, uids
from gatekeeper.results.assessment import StudyAssessment
from gatekeeper.results.common import MANUFACTURER, MODEL, images, reference_to
from gatekeeper.results.predecessors import set_predecessors


def describe_document(target: Dataset, study: StudyAssessment, kind: str) -> None:
    """Set what every report is: complete, seen by no person, on all images (PS3.3 C.17.2).

    Args:
        target: the report.
        study: the job's answer.
        kind: of the report; it replaces earlier ones of its kind.
    """
    target.Modality = "SR"
    target.ReferencedPerformedProcedureStepSequence = []
    target.PerformedProcedureCodeSequence = []
    target.CompletionFlag = "COMPLETE"
    target.VerificationFlag = "UNVERIFIED"
    target.PreliminaryFlag = "PRELIMINARY"
    target.CurrentRequestedProcedureEvidenceSequence = [evidence(study)]
    set_predecessors(target, study, kind)


def evidence(study: StudyAssessment) -> Dataset:
    """Return every image of the study, by series (PS3.3 C.17.2.3): all that was looked at."""
    found = [
        (str(series.source.series_instance_uid), header)
        for series in study.series
        for header in images(series)
    ]
    return evidence_of(study, sorted(found, key=lambda one: (one[0], str(one[1].SOPInstanceUID))))


def evidence_of(study: StudyAssessment, cited: Iterable[tuple[str, Dataset]]) -> Dataset:
    """Return instances by series, each once, in the order in which they come (PS3.3 C.17.2.3).

    Args:
        study: theirs.
        cited: SeriesInstanceUID and data set of each.
    """
    found: dict[str, dict[str, Dataset]] = {}
    for series_uid, instance in cited:
        found.setdefault(series_uid, {})[str(instance.SOPInstanceUID)] = reference_to(instance)
    item = Dataset()
    item.StudyInstanceUID = UID(study.study_instance_uid)
    item.ReferencedSeriesSequence = []
    for series_uid, references in found.items():
        part = Dataset()
        part.SeriesInstanceUID = UID(series_uid)
        part.ReferencedSOPSequence = list(references.values())
        item.ReferencedSeriesSequence.append(part)
    return item


def text_tree(study: StudyAssessment, more: Sequence[str] = ()) -> Dataset:
    """Return the content tree by TID 2000.

    Args:
        study: the job's answer.
        more: further findings, in sentences.
    """
    root = hd.sr.ContainerContentItem(
        codes.STUDY_FINDINGS, is_content_continuous=False, template_id="2000"
    )
    root.ContentSequence = hd.sr.ContentSequence(
        [
            *language(study),
            *observation_context(study),
            container(
                codes.CONCLUSIONS,
                [
                    text(codes.CONCLUSION, sentences.conclusion(study)),
                    text(codes.CONCLUSION, sentences.limits(study)),
                ],
            ),
            container(
                codes.FINDINGS,
                [
                    code(codes.FINDING, codes.VERDICTS[study.judgement.verdict]),
                    *(
                        text(codes.FINDING, line)
                        for line in (*sentences.series_lines(study), *more)
                    ),
                ],
            ),
            container(
                codes.PROCEDURE_DESCRIPTIONS,
                [text(codes.PROCEDURE_DESCRIPTION, line) for line in sentences.background(study)],
            ),
        ]
    )
    return separate(root)


def language(study: StudyAssessment) -> hd.sr.LanguageOfContentItemAndDescendants:
    """Return which language the document is in (PS3.16 TID 1204)."""
    code = hd.sr.CodedConcept.from_code(codes.language(study.words))
    return hd.sr.LanguageOfContentItemAndDescendants(code)


def observation_context(study: StudyAssessment) -> hd.sr.ObservationContext:
    """Return that a device observed, and which (PS3.16 TID 1001, 1004)."""
    device = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=uids.device(study.model_digest),
        name=study.ae_title,
        manufacturer_name=MANUFACTURER,
        model_name=MODEL,
    )
    observer = hd.sr.ObserverContext(hd.sr.CodedConcept.from_code(codes.DEVICE), device)
    return hd.sr.ObservationContext(observer_device_context=observer)


def container(name: Code, items: Sequence[hd.sr.ContentItem]) -> hd.sr.ContainerContentItem:
    """Return a container of items, itself contained."""
    item = hd.sr.ContainerContentItem(name, relationship_type="CONTAINS")
    item.ContentSequence = hd.sr.ContentSequence(items)
    return item


def code(name: Code, value: Code) -> hd.sr.CodeContentItem:
    """Return a coded value, contained."""
    return hd.sr.CodeContentItem(name, value, "CONTAINS")


def text(name: Code, value: str) -> hd.sr.TextContentItem:
    """Return a sentence, contained."""
    return hd.sr.TextContentItem(name, value, "CONTAINS")


def separate(root: Dataset) -> Dataset:
    """Mark every container SEPARATE, else printers run values together without their names."""
    pending = [root]
    while pending:
        item = pending.pop()
        if item.ValueType == "CONTAINER":
            item.ContinuityOfContent = "SEPARATE"
        pending.extend(item.get("ContentSequence", ()))
    return root
