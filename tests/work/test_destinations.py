"""Who takes which results, and in which language."""

from __future__ import annotations

from gatekeeper.results.kinds import STATEMENT, USUAL
from gatekeeper.work.destinations import taken_of, wanted
from storage.records import Node, Result

PACS = Node("PACS", "a", 104, receives_results=True)
KLINIK = Node(
    "KLINIK", "b", 104, receives_results=True, objects=("plain-report",), language="de"
)  # fmt: skip
OFF = Node("OFF", "c", 104, receives_results=True, enabled=False, language="de")
SCANNER = Node("SCANNER", "d", 0, may_send=True)


def result(language: str) -> Result:
    """Return a report in a language."""
    return Result("1.2", "1.3", "1.4", "1.5", "report", "a" * 64, 1, language)


def test_each_kind_is_made_in_the_languages_of_those_who_take_it() -> None:
    """A reader of plain reports in German costs no pictures in German."""
    assert wanted([PACS, KLINIK, OFF, SCANNER], "") == {
        "en": (*USUAL, STATEMENT),
        "de": ("plain-report", STATEMENT),
    }


def test_results_are_made_though_nobody_takes_them_yet() -> None:
    """A job without a destination leaves the usual ones, to be sent by hand."""
    assert wanted([SCANNER, OFF], "") == {"en": USUAL}


def test_a_language_that_lost_its_catalogue_gives_way_to_english() -> None:
    """A study without a report would be worse."""
    lost = Node("LOST", "e", 104, receives_results=True, language="tlh")

    assert wanted([lost], "") == {"en": (*USUAL, STATEMENT)}


def test_each_node_gets_its_own_language_or_what_was_made() -> None:
    """A node entered or changed while the job was under way gets results all the same."""
    assert taken_of([PACS, KLINIK, OFF], [result("en"), result("de")]) == (
        ["PACS", "KLINIK"],
        {"PACS": (*USUAL, STATEMENT), "KLINIK": ("plain-report", STATEMENT)},
        {"PACS": "en", "KLINIK": "de"},
    )
    assert taken_of([KLINIK], [result("en"), result("fr")])[2] == {"KLINIK": "en"}
    assert taken_of([PACS], [result("fr"), result("de")])[2] == {"PACS": "de"}
    assert taken_of([PACS], [])[2] == {"PACS": "en"}
