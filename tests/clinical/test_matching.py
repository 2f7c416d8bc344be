"""Matching: a study's own values first, then the patient's nearest within the window."""

from __future__ import annotations

from gatekeeper.clinical.matching import chosen
from storage.records import ClinicalValue

DAY = 86400.0
STUDY = "1.2.3"


def value(number: int, days: float, *, study: str = "", name: str = "dlco") -> ClinicalValue:
    """Return a value observed so many days after day 1,000; its size is its number."""
    at = (1000 + days) * DAY
    whose = "" if study else "p"
    return ClinicalValue(study, whose, at, name, number, "%", number, "%", "csv", "", number)


def picked(*values: ClinicalValue, window: float = 90.0, moment: float = 1000 * DAY) -> list[int]:
    """Return the numbers of the values chosen."""
    return [one.id for one in chosen(values, STUDY, moment, window).values()]


def test_the_nearest_within_the_window_is_used() -> None:
    """Before or after the study, distance counts; of two as near, the later one."""
    assert picked(value(1, -80), value(2, 10), value(3, -12)) == [2]
    assert picked(value(1, -10), value(2, 10)) == [2]
    assert picked(value(1, -91)) == []
    assert picked(value(1, -90)) == [1]


def test_what_is_said_of_the_study_goes_before_the_patient() -> None:
    """A value of the study counts whenever it was observed."""
    assert picked(value(1, 0), value(2, -400, study=STUDY)) == [2]


def test_a_value_of_another_study_is_never_used() -> None:
    """Not even of the same patient: whoever said so meant that study."""
    assert picked(value(1, 0, study="1.2.4")) == []


def test_without_the_time_of_the_study_no_value_of_the_patient_is_used() -> None:
    """A window around nothing holds nothing."""
    assert picked(value(1, 0), value(2, 0, study=STUDY), moment=0.0) == [2]


def test_each_quantity_is_chosen_by_itself() -> None:
    """One value a name."""
    found = chosen([value(1, 0), value(2, 1, name="fev1")], STUDY, 1000 * DAY, 90)
    assert list(found) == ["dlco", "fev1"]
