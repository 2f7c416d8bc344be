"""Predecessors: the reports of an earlier revision that a report replaces (PS3.3 C.17.2).

A late instance or other models bring a new report on a study. It names the reports of ours that it
replaces, so that a viewer or an archive can tell which is the newest. What was made before is a
stored fact, given as data; nothing is looked up here.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset
from pydicom.uid import UID

from gatekeeper.results.assessment import StudyAssessment
from gatekeeper.results.earlier import EarlierReport
from gatekeeper.results.kinds import STATEMENT


def replaced(study: StudyAssessment, kind: str) -> Sequence[EarlierReport]:
    """Return the earlier reports that this one replaces: those of its kind and language.

    Where there was none in its language, because a node takes another one since, those in others.
    Every destination takes a statement, that no series was assessed. So a statement replaces
    whatever reports there were, and a report replaces a statement where there was nothing else.
    """
    same = [one for one in study.earlier if one.kind == kind]
    others = study.earlier if kind == STATEMENT else [
        one for one in study.earlier if one.kind == STATEMENT
    ]  # fmt: skip
    found = same or others
    return [one for one in found if one.language == study.words.language] or found


def set_predecessors(target: Dataset, study: StudyAssessment, kind: str) -> None:
    """Set PredecessorDocumentsSequence where there is a predecessor (PS3.3 C.17.2, type 1C)."""
    series: dict[str, Dataset] = {}
    for one in replaced(study, kind):
        part = series.setdefault(one.series_instance_uid, Dataset())
        part.SeriesInstanceUID = UID(one.series_instance_uid)
        reference = Dataset()
        reference.ReferencedSOPClassUID = UID(one.sop_class_uid)
        reference.ReferencedSOPInstanceUID = UID(one.sop_instance_uid)
        part.ReferencedSOPSequence = [*part.get("ReferencedSOPSequence", ()), reference]
    if series:
        item = Dataset()
        item.StudyInstanceUID = UID(study.study_instance_uid)
        item.ReferencedSeriesSequence = list(series.values())
        target.PredecessorDocumentsSequence = [item]
