"""Which studies are priors: the same patient's, earlier, newest first, of the modality asked."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.assemble.priors import StudyFacts, choose, earlier, why_none

CURRENT = StudyFacts("1.1", "P1", "HOSPITAL", "20240601", "120000", ("MR", "SR"))


def other(uid: str, date: str, time: str = "", *modalities: str) -> StudyFacts:
    return StudyFacts(uid, "P1", "", date, time, modalities or ("MR",))


def test_the_newest_earlier_studies_are_chosen() -> None:
    """As many as asked for, never the study itself nor a later one."""
    found = [
        other("1.2", "20200101"),
        other("1.3", "20230101"),
        other("1.4", "20240602"),
        other("1.1", "20240101"),
        other("1.5", "20210101"),
    ]
    assert choose(CURRENT, found, 2) == ["1.3", "1.5"]


@pytest.mark.parametrize(
    ("date", "time", "is_prior"),
    [
        ("20240601", "115959", True),
        ("20240601", "120000", False),
        ("20240601", "120001.5", False),
        ("20240601", "", False),
        ("20240531", "", True),
        ("", "", False),
    ],
)
def test_on_the_same_day_the_time_decides(date: str, time: str, is_prior: bool) -> None:
    """And what says no date, or on that day no time, is not taken for earlier."""
    assert bool(earlier(CURRENT, [other("1.2", date, time)])) is is_prior


@pytest.mark.parametrize(
    ("patient", "issuer", "is_prior"),
    [
        ("P1", "HOSPITAL", True),
        ("P1", "", True),
        ("P1", "CLINIC", False),
        ("P2", "HOSPITAL", False),
        ("P1*", "", False),
        ("", "", False),
    ],
)
def test_a_prior_is_of_the_same_patient(patient: str, issuer: str, is_prior: bool) -> None:
    """By Patient ID and, where both state it, its issuer; whatever an archive answers."""
    one = dataclasses.replace(other("1.2", "20200101"), patient_id=patient, issuer=issuer)
    assert bool(earlier(CURRENT, [one])) is is_prior


def test_without_patient_id_nobody_has_priors() -> None:
    """Two studies without one are of two patients."""
    nobody = dataclasses.replace(CURRENT, patient_id="")
    blank = dataclasses.replace(other("1.2", "20200101"), patient_id="")
    assert choose(nobody, [blank], 1) == []
    assert why_none(nobody, [blank]) == "the study has no Patient ID"


def test_the_modality_is_that_of_the_study_unless_another_is_asked_for() -> None:
    """A study of several modalities has each of them."""
    found = [other("1.2", "20230101", "", "CT", "SR"), other("1.3", "20220101")]
    assert choose(CURRENT, found, 5) == ["1.3"]
    assert choose(CURRENT, found, 5, "CT") == ["1.2"]
    assert choose(CURRENT, found, 5, "US") == []
    assert why_none(CURRENT, found, "US") == "none of 2 earlier studies has modality US"


@given(
    st.lists(
        st.builds(
            other,
            st.sampled_from([f"1.{number}" for number in range(6)]),
            st.sampled_from(["", "20200101", "20240601", "20250101"]),
            st.sampled_from(["", "080000", "130000"]),
        )
    ),
    st.integers(0, 4),
)
def test_the_choice_depends_on_no_order_and_keeps_to_its_count(
    found: list[StudyFacts], count: int
) -> None:
    """The same set, however it came, gives the same priors, each once."""
    unique = list({one.study_instance_uid: one for one in found}.values())
    chosen = choose(CURRENT, unique, count)
    assert chosen == choose(CURRENT, unique[::-1], count)
    assert len(chosen) <= count
    assert len(set(chosen)) == len(chosen)
    assert "1.1" not in chosen
