"""Matching: which of the known values belong to a study."""

from __future__ import annotations

from collections.abc import Iterable

from storage.records import ClinicalValue

_DAY = 86400.0


def chosen(
    values: Iterable[ClinicalValue], study_uid: str, moment: float, window_days: float
) -> dict[str, ClinicalValue]:
    """Return one value a quantity for a study.

    What was said of the study itself comes first, the latest observed. Else, of the patient's
    values within the window, the one observed nearest to the study; of two as near, the later.

    Args:
        values: known of the study and of its patient.
        study_uid: the Study Instance UID.
        moment: of the study, seconds since 1970-01-01 UTC; 0 where it is not known, and then no
            value of the patient is taken.
        window_days: before and after.
    """
    found: dict[str, tuple[tuple[bool, float, float, int], ClinicalValue]] = {}
    for one in values:
        own = one.study_instance_uid == study_uid
        if not own and (one.study_instance_uid or not moment or not one.observed_at):
            continue
        distance = 0.0 if own else abs(one.observed_at - moment)
        if distance > window_days * _DAY:
            continue
        rank = (own, -distance, one.observed_at, one.id)
        if one.name not in found or rank > found[one.name][0]:
            found[one.name] = (rank, one)
    return {name: one for name, (_, one) in sorted(found.items())}
