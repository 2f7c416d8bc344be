"""Results in another language say the same, are objects of their own, and are as valid."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from results.golden_study import assessed_study, unassessed_study
from results.test_predecessors import as_earlier, named
from results.validators import (
    KNOWN_ENTITY_WARNINGS,
    KNOWN_STATE_WARNINGS,
    KNOWN_WARNINGS,
    Validate,
    unknown,
)

from gatekeeper.results.assessment import StudyAssessment
from gatekeeper.results.catalogue import Catalogue, english, read
from gatekeeper.results.common import to_bytes
from gatekeeper.results.kinds import DOCUMENTS, KINDS, STATEMENT
from gatekeeper.results.page import report_html
from gatekeeper.results.sheet import contact_sheet
from gatekeeper.results.tree import code_of, code_parts, descendants, value_of
from gatekeeper.work.compose import compose, in_language
from gatekeeper.work.stages import Stages

Made = list[tuple[str, Dataset]]
"""Kind and object of each result."""
REPORT = ("report",)


def made(study: StudyAssessment, words: Catalogue, kinds: Sequence[str] = tuple(KINDS)) -> Made:
    """Return the results of a study in a language, as a reader gets them, with their kinds."""
    return [
        (kind, dcmread(io.BytesIO(to_bytes(one))))
        for kind, one in compose(in_language(study, words), kinds, "none", Stages())
    ]


def told(report: Dataset) -> list[str]:
    """Return the sentences of a report."""
    return [value_of(item) for item in descendants(report) if item.ValueType == "TEXT"]


@pytest.fixture(scope="module")
def in_english() -> Made:
    """Return the results of the golden study in English."""
    return made(assessed_study(), english())


@pytest.fixture(scope="module")
def in_german() -> Made:
    """Return the results of the same study, in German."""
    return made(assessed_study(), read("de"))


def test_every_result_is_an_object_of_its_own_in_each_language(
    in_english: Made, in_german: Made
) -> None:
    """Another language is other bytes, so other UIDs; a second run makes the same again."""
    uids = [
        {str(one.SOPInstanceUID) for _, one in results}
        | {str(one.SeriesInstanceUID) for _, one in results}
        for results in (in_english, in_german)
    ]

    assert [kind for kind, _ in in_german] == [kind for kind, _ in in_english]
    assert uids[0].isdisjoint(uids[1])
    assert len(uids[0]) == len(uids[1])
    again = made(assessed_study(), read("de"))
    assert [to_bytes(one) for _, one in again] == [to_bytes(one) for _, one in in_german]


def test_a_region_is_tracked_by_one_uid_in_every_language(
    in_english: Made, in_german: Made
) -> None:
    """What is tracked is the region, in report and segmentation."""
    tracked = [
        [
            *(
                value_of(item)
                for item in descendants(found["report"])
                if item.ValueType == "UIDREF"
            ),
            *(str(segment.TrackingUID) for segment in found["segmentation"].SegmentSequence),
        ]
        for found in (dict(in_english), dict(in_german))
    ]

    assert len(tracked[0]) >= 5
    assert tracked[0] == tracked[1]


def test_a_report_says_its_language_and_keeps_its_codes(in_english: Made, in_german: Made) -> None:
    """Programs read the same of both; people do not."""
    english_one, german = dict(in_english)["report"], dict(in_german)["report"]

    languages = [
        code_parts(item.ConceptCodeSequence)
        for item in descendants(german)
        if code_of(item).value == "121049"
    ]
    assert languages == [("de", "RFC5646", "German")]
    assert [(item.ValueType, code_of(item).value) for item in descendants(english_one)] == [
        (item.ValueType, code_of(item).value) for item in descendants(german)
    ]
    for one, other in zip(descendants(english_one), descendants(german), strict=True):
        if one.ValueType in ("NUM", "CODE") and code_of(one).value != "121049":
            assert value_of(one) == value_of(other)
    assert german.SeriesDescription == "Gatekeeper-Bericht: SUSPECT"
    assert any(line.startswith("Forschung: nicht für die Diagnostik.") for line in told(german))


@pytest.mark.parametrize("source", [None, "ISO_IR 100", "ISO_IR 144", "ISO_IR 192"])
def test_umlauts_are_in_a_character_set_that_has_them(source: str | None) -> None:
    """The source's where it has them, else UTF-8."""
    study = recoded(assessed_study(), source, "Doe^Jane")
    report = dict(made(study, read("de"), REPORT))["report"]

    assert report.SpecificCharacterSet == (source if source == "ISO_IR 100" else "ISO_IR 192")
    assert any("stärker" in line for line in told(report))


def test_what_states_no_character_set_is_told_in_ascii() -> None:
    """A source's bytes stay as they are, and no text of ours asks for a set that is not stated."""
    study = recoded(assessed_study(), None, "Müller^Jörg")
    results = made(study, read("de"))

    for _, one in results:
        assert "SpecificCharacterSet" not in one
        assert b"M\xfcller" in to_bytes(one)
    report = dict(results)["report"]
    assert any("staerker" in line for line in told(report))
    assert all(line.isascii() for line in told(report))


def recoded(study: StudyAssessment, character_set: str | None, name: str) -> StudyAssessment:
    """Return the study with its images' text in another character set."""
    (series,) = study.series
    for header in series.source.headers:
        header.PatientName = name
        if character_set is None:
            del header.SpecificCharacterSet
        else:
            header.SpecificCharacterSet = character_set
    return replace(study, institution="")


def test_captions_are_in_the_language_and_in_ascii_letters(
    in_english: Made, in_german: Made
) -> None:
    """Legend and overview differ; the part that shows the scan does not."""
    one, other = dict(in_english), dict(in_german)
    assert not np.array_equal(one["montage"].pixel_array, other["montage"].pixel_array)
    first, second = (
        next(made_one for kind, made_one in results if kind == "heatmap").pixel_array
        for results in (in_english, in_german)
    )
    assert np.array_equal(first[:32], second[:32])
    assert not np.array_equal(first[32:], second[32:])
    assert other["montage"].SeriesDescription == "Gatekeeper-Übersicht: auffälligste Schichten"


def test_a_statement_says_why_in_the_language() -> None:
    """A study that was not assessed has a report for every reader."""
    words = read("de")
    study = in_language(unassessed_study(), words)
    ((kind, statement),) = compose(study, (STATEMENT,), "none", Stages())

    assert kind == STATEMENT
    assert any(
        line.startswith("UNCALIBRATED (nicht beurteilt). Nicht beurteilt: ")
        for line in told(statement)
    )


def test_a_report_replaces_the_one_of_its_language(in_english: Made, in_german: Made) -> None:
    """A node that takes another language since is told of the one it had."""
    both = [
        *as_earlier({kind: one for kind, one in in_english if kind in DOCUMENTS}),
        *(
            replace(one, language="de")
            for one in as_earlier({kind: one for kind, one in in_german if kind in DOCUMENTS})
        ),
    ]
    second = replace(assessed_study(), revision=2)
    expected = dict(in_german)["report"].SOPInstanceUID

    named_of_both = dict(made(replace(second, earlier=tuple(both)), read("de"), REPORT))["report"]
    only_english = tuple(one for one in both if one.language == "en")
    named_of_english = dict(made(replace(second, earlier=only_english), read("de"), REPORT))[
        "report"
    ]

    assert named(named_of_both) == [expected]
    assert named(named_of_english) == [dict(in_english)["report"].SOPInstanceUID]
    assert "Dieser Bericht ersetzt den Bericht zu Revision 1." in told(named_of_both)


def test_a_page_is_in_the_language_and_a_catalogue_is_no_markup(in_german: Made) -> None:
    """Whatever a hospital writes into a text shows as text."""
    words = read("de")
    heatmaps = [one for kind, one in in_german if kind == "heatmap"]
    page = report_html(dict(in_german)["report"], contact_sheet(heatmaps, words), words)
    hostile = replace(
        words, texts={key: f'<script x="{text}">&' for key, text in words.texts.items()}
    )
    report = dict(made(assessed_study(), hostile, REPORT))["report"]

    assert '<html lang="de">' in page
    assert "Worauf das Urteil beruht" in page
    assert "<dt>Konformer p-Wert</dt>" in page
    assert "<script" not in report_html(report, contact_sheet(heatmaps, hostile), hostile)


def test_validators_find_no_error_in_any_language(
    in_german: Made, dciodvfy: Validate, dcentvfy: Validate, dcmpschk: Any
) -> None:
    """Every kind of result in German is as valid as in English."""
    results = [one for _, one in in_german]

    known = (*KNOWN_WARNINGS, "Unrecognized defined term <QUANTITY>")
    assert unknown(dciodvfy(results), known) == []
    assert unknown(dcentvfy(results), KNOWN_ENTITY_WARNINGS) == []
    # The toolkit (3.6.7) takes no name in UTF-8 for valid, in whatever language.
    state = dict(
        made(recoded(assessed_study(), "ISO_IR 100", "Doe^Jane"), read("de"), ("presentation",))
    )
    assert unknown(dcmpschk([state["presentation"]]), KNOWN_STATE_WARNINGS) == []
