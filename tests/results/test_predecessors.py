"""A report names the reports of an earlier revision that it replaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from pydicom.dataset import Dataset
from results.golden_study import assessed_study, unassessed_study
from results.validators import (
    KNOWN_WARNINGS,
    Validate,
    errors,
    round_trip,
    unknown,
)

from gatekeeper.results.assessment import StudyAssessment
from gatekeeper.results.common import to_bytes
from gatekeeper.results.earlier import EarlierReport
from gatekeeper.results.kinds import DOCUMENTS, STATEMENT
from gatekeeper.results.tree import descendants, value_of
from gatekeeper.work.compose import compose
from gatekeeper.work.stages import Stages


def documents(study: StudyAssessment) -> dict[str, Dataset]:
    """Return every report of a study by its kind."""
    return dict(compose(study, DOCUMENTS, "none", Stages()))


def as_earlier(reports: dict[str, Dataset], revision: int = 1) -> tuple[EarlierReport, ...]:
    """Return reports as a later revision knows them."""
    return tuple(
        EarlierReport(
            revision, kind, one.SOPClassUID, one.SeriesInstanceUID, one.SOPInstanceUID
        )
        for kind, one in reports.items()
    )  # fmt: skip


def named(report: Dataset) -> list[str]:
    """Return the instances that a report names as its predecessors."""
    return [
        str(reference.ReferencedSOPInstanceUID)
        for study in report.get("PredecessorDocumentsSequence", ())
        for series in study.ReferencedSeriesSequence
        for reference in series.ReferencedSOPSequence
    ]


def said(report: Dataset) -> list[str]:
    """Return the sentences of a report."""
    return [value_of(item) for item in descendants(report) if item.ValueType == "TEXT"]


@pytest.fixture(scope="module")
def first() -> dict[str, Dataset]:
    """Return the reports of a study's first revision."""
    return documents(assessed_study())


@pytest.fixture(scope="module")
def second(first: dict[str, Dataset]) -> dict[str, Dataset]:
    """Return the reports of its second."""
    return documents(replace(assessed_study(), revision=2, earlier=as_earlier(first)))


def test_each_report_names_the_earlier_one_of_its_kind(
    first: dict[str, Dataset], second: dict[str, Dataset]
) -> None:
    """And no other; class, series and study are those of what it names."""
    assert set(second) == set(DOCUMENTS) - {STATEMENT}
    for kind, report in second.items():
        assert named(report) == [first[kind].SOPInstanceUID]
        (study,) = report.PredecessorDocumentsSequence
        (series,) = study.ReferencedSeriesSequence
        (reference,) = series.ReferencedSOPSequence
        assert study.StudyInstanceUID == first[kind].StudyInstanceUID
        assert series.SeriesInstanceUID == first[kind].SeriesInstanceUID
        assert reference.ReferencedSOPClassUID == first[kind].SOPClassUID


def test_a_first_report_replaces_none(first: dict[str, Dataset]) -> None:
    """It has no such sequence, and says no such thing."""
    for report in first.values():
        assert "PredecessorDocumentsSequence" not in report
        assert not any("replaces" in line for line in said(report))


def test_a_report_says_which_one_it_replaces(second: dict[str, Dataset]) -> None:
    """In words, for who reads no sequences; other models on the same content are named."""
    assert "This report replaces the one of revision 1." in said(second["report"])
    again = replace(assessed_study(), model_digest="other", earlier=as_earlier(second, 1))
    assert "This report replaces the one of revision 1, which other models made." in said(
        documents(again)["report"]
    )


@pytest.mark.parametrize("kinds", [("statement",), ("report", "plain-report")])
def test_a_statement_and_a_report_replace_each_other(
    first: dict[str, Dataset], kinds: Sequence[str]
) -> None:
    """A late slice may make a study readable, or no longer so."""
    before = documents(unassessed_study()) | first
    earlier = as_earlier({kind: before[kind] for kind in kinds})
    uids = [one.sop_instance_uid for one in earlier]

    statement = documents(replace(unassessed_study(), revision=2, earlier=earlier))[STATEMENT]
    assert named(statement) == uids
    reports = documents(replace(assessed_study(), revision=2, earlier=earlier))
    assert named(reports["report"]) == uids[:1]
    assert named(reports["report-2d"]) == (uids if kinds == (STATEMENT,) else [])


def test_what_a_report_replaces_is_part_of_its_identity(
    first: dict[str, Dataset], second: dict[str, Dataset]
) -> None:
    """Another predecessor, other bytes, another UID; the same again, the same bytes."""
    study = replace(assessed_study(), revision=2)
    without, again = documents(study), documents(replace(study, earlier=as_earlier(first)))

    for kind, report in second.items():
        assert without[kind].SOPInstanceUID != report.SOPInstanceUID
        assert to_bytes(again[kind]) == to_bytes(report)


def test_validators_find_no_error_in_a_revision(
    second: dict[str, Dataset], dciodvfy: Validate
) -> None:
    """dciodvfy knows the sequence, and misses what is left out of it."""
    assert unknown(dciodvfy(list(second.values())), KNOWN_WARNINGS) == []
    mutant = round_trip(second["report"])
    del mutant.PredecessorDocumentsSequence[0].ReferencedSeriesSequence
    assert errors(dciodvfy([mutant]))
