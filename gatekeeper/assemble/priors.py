"""Which of an archive's studies are priors of a study: the same patient's, earlier, newest first.

An archive may match more than was asked (PS3.4 C.2.2.2), so nothing of its answer is believed that
is not compared here. A Patient ID is one patient's only together with its issuer: two that name
different issuers are two patients.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StudyFacts:
    """What tells whether one study is a prior of another.

    Attributes:
        study_instance_uid: Study Instance UID.
        patient_id: Patient ID, without padding.
        issuer: Issuer of Patient ID, empty when it is not stated.
        date: Study Date as YYYYMMDD, empty when it is not stated.
        time: Study Time as HHMMSS and maybe more, empty when it is not stated.
        modalities: of its series; empty when they are not known.
    """

    study_instance_uid: str
    patient_id: str
    issuer: str = ""
    date: str = ""
    time: str = ""
    modalities: tuple[str, ...] = ()


def earlier(current: StudyFacts, found: Iterable[StudyFacts]) -> list[StudyFacts]:
    """Return the same patient's earlier studies, the newest first, each once.

    Of the day of the study itself are those that say the time and were before it.
    """
    same = {
        one.study_instance_uid: one
        for one in found
        if one.study_instance_uid != current.study_instance_uid
        and _is_patient(current, one)
        and _is_before(one, current)
    }
    # By UID where date and time are the same, so that the choice is always the same.
    by_uid = sorted(same.values(), key=lambda one: one.study_instance_uid)
    return sorted(by_uid, key=lambda one: (one.date, one.time), reverse=True)


def choose(
    current: StudyFacts, found: Iterable[StudyFacts], count: int, modality: str = ""
) -> list[str]:
    """Return the Study Instance UIDs of at most `count` priors, the newest first.

    Args:
        current: the study; its first modality is its own.
        found: what the archive says it has.
        count: studies at most.
        modality: that a prior has to have; empty for that of the study.
    """
    wanted = modality or next(iter(current.modalities), "")
    fitting = [one for one in earlier(current, found) if not wanted or wanted in one.modalities]
    return [one.study_instance_uid for one in fitting[:count]]


def why_none(current: StudyFacts, found: Sequence[StudyFacts], modality: str = "") -> str:
    """Return in one sentence, without patient data, why nothing was chosen."""
    if not current.patient_id:
        return "the study has no Patient ID"
    if not current.date:
        return "the study has no Study Date"
    before = len(earlier(current, found))
    wanted = modality or next(iter(current.modalities), "")
    if not before:
        return f"the archive has no earlier study of the patient ({len(found)} in all)"
    return f"none of {before} earlier studies has modality {wanted}"


def _is_patient(current: StudyFacts, other: StudyFacts) -> bool:
    if not current.patient_id or current.patient_id != other.patient_id:
        return False
    return not (current.issuer and other.issuer) or current.issuer == other.issuer


def _is_before(one: StudyFacts, current: StudyFacts) -> bool:
    if not one.date or not current.date:
        return False
    if one.date == current.date:
        return bool(one.time and current.time) and one.time < current.time
    return one.date < current.date
