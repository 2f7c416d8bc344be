"""Documents of rules: what a person may write, and what they are told when it is wrong."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from support.rules import a_rule, a_study

from gatekeeper.rules.document import parse_rule, write_rule
from gatekeeper.rules.evaluate import on_receipt, when_judged
from gatekeeper.rules.facts import Judged
from gatekeeper.rules.fields import VERDICTS
from gatekeeper.rules.matching import Op
from gatekeeper.rules.plan import Phase
from gatekeeper.rules.rule import Group, Hold, Priority, RuleError, Test
from gatekeeper.rules.toml_text import read_rules, write_toml
from gatekeeper.rules.verdict import Verdict
from gatekeeper.rules.wording import parse_test

WRITTEN = """
name = "trauma at night"
when = [
  "StudyDescription contains trauma",
  "time between 22:00-06:00",
  { any = ["source is CT1", "source is one of 'CT 2, 3', CT4"] },
  { none = ["series.kind is localizer", { field = "series.images", op = "<", value = 20 }] },
]
then = [{ forward = "TRAUMA-AI" }, { hold = "*", hours = 4 }, { priority = "urgent" }]
stop = true
"""


def test_a_rule_is_written_as_a_person_would() -> None:
    """Tests as lines, groups as tables with one key, actions as tables."""
    rule = parse_rule(tomllib.loads(WRITTEN))

    first, night, sources, series = rule.condition.members
    assert first == Test("StudyDescription", Op.CONTAINS, ("trauma",))
    assert night == Test("time", Op.BETWEEN, ("22:00", "06:00"))
    assert sources == Group(
        (Test("source", Op.IS, ("CT1",)), Test("source", Op.ONE_OF, ("CT 2, 3", "CT4"))), any=True
    )
    assert isinstance(series, Group)
    assert (series.any, series.negate) == (True, True)
    assert rule.actions[1:] == (Hold("", 4), Priority(100))
    assert rule.stop
    assert rule.by_series


def test_the_verdicts_of_rules_are_those_of_the_gate() -> None:
    """A verdict that is new has to be known to rules."""
    assert set(VERDICTS) == set(Verdict)


def test_a_rule_is_about_the_verdict_when_any_test_of_it_is() -> None:
    """However deep it lies."""
    deep = a_rule("deep", {"any": [{"none": ["verdict is CLEAR"]}]}, then=[{"notify": "ward"}])

    assert deep.phase is Phase.JUDGED
    assert a_rule().phase is Phase.RECEIVED


@pytest.mark.parametrize(
    ("when", "place", "told"),
    [
        (["Modalty is CT"], "when[0]", "meant: Modality"),
        (["(0029,1010) is x"], "when[0]", "neither a DICOM keyword"),
        (["PixelData present"], "when[0]", "up to the pixel data"),
        (["Rows.Columns > 3"], "when[0]", "Rows is no sequence"),
        (["Modality < CT"], "when[0]", "only by is, is not"),
        (["SharedFunctionalGroupsSequence is x"], "when[0]", "only by present, absent"),
        (["Modality"], "when[0]", "after the field comes one of is, is not"),
        (["Modality = CT"], "when[0]", "after the field comes one of"),
        (["Modality is"], "when[0]", "needs a value"),
        ([""], "when[0]", "FIELD OP VALUE"),
        (["Rows one of 1,,2"], "when[0]", "a value is empty"),
        (["Rows between 1"], "when[0]", "two values with 'and'"),
        (["Rows between 5 and 1"], "when[0]", "the first value is over the second"),
        (["Rows > many"], "when[0]", "not a number"),
        (["PatientAge > 18"], "when[0]", "18Y, 6M"),
        (["StudyDate is 31.12.2024"], "when[0]", "YYYY-MM-DD"),
        (["time between 25:00 and 26:00"], "when[0]", "HH:MM"),
        (["weekday is someday"], "when[0]", "monday, tuesday"),
        (["series.kind is volumen"], "when[0]", "localizer"),
        (["verdict is BAD"], "when[0]", "CLEAR, SUSPECT"),
        ([{"any": ["Modality is CT", "Modalty is CT"]}], "when[0].any[1]", "Modality"),
        ([{"any": [{"not all": [7]}]}], "when[0].any[0].not all[0]", "neither a text nor a table"),
        ([{"xor": []}], "when[0]", "all, any, none, not all"),
        ([{"any": [], "all": []}], "when[0]", "all, any, none, not all"),
        ([{"any": "Modality is CT"}], "when[0].any", "not a list"),
        ([{"field": "Rows", "op": "=", "value": 3}], "when[0]", "none of is, is not"),
        ([{"field": "Rows", "op": "is", "vale": 3}], "when[0]", "no key 'vale'"),
        ([{"field": "Rows", "op": "present", "value": 3}], "when[0]", "needs no value"),
        ("Modality is CT", "when", "not a list"),
        (["Modality is " + "x" * 300], "when[0]", "over 256 characters"),
        (["Modality is a\nb"], "when[0]", "cannot be printed"),
    ],
)
def test_a_condition_that_cannot_be_is_refused_with_its_place(
    when: Any, place: str, told: str
) -> None:
    """The error names the rule, the place in it, and what is allowed."""
    with pytest.raises(RuleError) as caught:
        parse_rule({"name": "mine", "when": when, "then": [{"forward": "AI"}]})

    assert caught.value.rule == "mine"
    assert caught.value.place == place
    assert told in caught.value.problem
    assert str(caught.value).startswith(f"rule 'mine', {place}: ")


@pytest.mark.parametrize(
    ("then", "place", "told"),
    [
        ([], "", "needs an action"),
        ([{"delete": "PACS"}], "then[0]", "analyse, skip, forward"),
        ([{"forward": "AI", "hold": "AI"}], "then[0]", "analyse, skip, forward"),
        ([{"forward": "AI", "hours": 3}], "then[0]", "no key 'hours'"),
        ([{"forward": "SEVENTEEN_LETTERS"}], "then[0]", "AE title"),
        ([{"hold": "AI", "hours": 0}], "then[0]", "over 0"),
        ([{"hold": "AI", "hours": float("nan")}], "then[0]", "over 0"),
        ([{"priority": "high"}], "then[0]", "routine (0), urgent (100)"),
        ([{"priority": 101}], "then[0]", "-100 to 100"),
        ([{"priority": True}], "then[0]", "-100 to 100"),
        ([{"priors": "PACS", "count": 21}], "then[0]", "1 to 20"),
        ([{"priors": "PACS", "modality": "M R"}], "then[0]", "DICOM Modality"),
        ([{"skip": False}], "then[0]", "skip = true"),
        ([{"forward": "AI"}] * 21, "", "20 are allowed"),
        ("forward", "then", "not a list"),
    ],
)
def test_an_action_that_cannot_be_is_refused_with_its_place(
    then: Any, place: str, told: str
) -> None:
    """As conditions are."""
    with pytest.raises(RuleError) as caught:
        parse_rule({"name": "mine", "then": then})

    assert (caught.value.rule, caught.value.place) == ("mine", place)
    assert told in caught.value.problem


@pytest.mark.parametrize("action", ["analyse", "skip", "priority", "priors"])
def test_nothing_that_is_done_on_receipt_may_wait_for_a_verdict(action: str) -> None:
    """Such a rule could never do what it says."""
    value = {"skip": True, "priority": "urgent"}.get(action, "PACS")

    with pytest.raises(RuleError, match="done on receipt"):
        a_rule("late", "verdict is SUSPECT", then=[{action: value}])


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({}, "needs a name"),
        ({"name": 7}, "needs a name"),
        ({"name": "../x"}, "letters, digits"),
        ({"name": "x" * 65}, "64 letters"),
        ({"name": "x", "wen": []}, "no key 'wen'"),
        ({"name": "x", "enabled": "yes"}, "true or false"),
        ({"name": "x", "when": [{"any": ["Rows > 1"] * 101}]}, "over 100"),
        ({"name": "x", "when": [{"any": ["Rows > 1"] * 60}] * 2}, "over 100 tests"),
    ],
)
def test_a_document_that_is_no_rule_is_refused(document: dict[str, Any], told: str) -> None:
    """Every key is known, and limits are named."""
    with pytest.raises(RuleError) as caught:
        parse_rule(document | {"then": [{"forward": "AI"}]})

    assert told in str(caught.value)


@pytest.mark.parametrize("levels", [8, 9, 5000])
def test_groups_nest_to_a_limit(levels: int) -> None:
    """A document of any depth is refused, not crashed on."""
    when: list[Any] = ["Rows > 1"]
    for _ in range(levels):
        when = [{"any": when}]

    if levels > 8:
        with pytest.raises(RuleError, match="deeper than 8"):
            a_rule("deep", *when)
    else:
        assert parse_rule(write_rule(a_rule("deep", *when))) == a_rule("deep", *when)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Modality  is   MR ", Test("Modality", Op.IS, ("MR",))),
        ("Modality IS NOT MR", Test("Modality", Op.IS_NOT, ("MR",))),
        ("Modality is 'not MR'", Test("Modality", Op.IS, ("not MR",))),
        ("PatientName is O'Brien", Test("PatientName", Op.IS, ("O'Brien",))),
        ('StudyID is "a ""b"" c"', Test("StudyID", Op.IS, ('a "b" c',))),
        ("every ImageType is X", Test("ImageType", Op.IS, ("X",), every=True)),
        ("Rows<3", None),
        ("Rows <3", Test("Rows", Op.LESS, ("3",))),
        ("Rows >= 3", Test("Rows", Op.AT_LEAST, ("3",))),
        ("Rows is between 1 and 3", Test("Rows", Op.BETWEEN, ("1", "3"))),
    ],
)
def test_a_line_is_read_with_some_leniency(line: str, expected: Test | None) -> None:
    """Spaces and capitals of an op do not matter; the field is its keyword exactly."""
    if expected is None:
        with pytest.raises(RuleError):
            parse_test(line)
    else:
        assert parse_test(line) == expected


def test_a_file_holds_one_rule_or_several(tmp_path: Path) -> None:
    """A single one may take its name from elsewhere; several have different names."""
    path = tmp_path / "rules.toml"
    path.write_text('then = [{ forward = "AI" }]\n', encoding="utf-8")
    assert [rule.name for rule in read_rules(path, "mine")] == ["mine"]

    one = "[[rule]]\n" + write_toml(a_rule("one", "Modality is MR"))
    two = "[[rule]]\n" + write_toml(a_rule("two"))
    path.write_text(one + two, encoding="utf-8")
    assert read_rules(path) == [a_rule("one", "Modality is MR"), a_rule("two")]

    path.write_text(one + one, encoding="utf-8")
    with pytest.raises(RuleError, match="rule 'one': two rules of this name"):
        read_rules(path)
    path.write_text("when = [", encoding="utf-8")
    with pytest.raises(RuleError, match=r"rules\.toml is not TOML"):
        read_rules(path)


def test_long_lists_are_written_on_lines_of_their_own(tmp_path: Path) -> None:
    """So that a person can edit what `rule show` prints."""
    many = [f"SeriesDescription contains something rather long, number {n}" for n in range(5)]
    rule = a_rule("long", {"any": [*many, {"none": many}]}, "Modality is MR")
    path = tmp_path / "long.toml"

    path.write_text(write_toml(rule), encoding="utf-8")

    assert max(len(line) for line in path.read_text(encoding="utf-8").splitlines()) < 100
    assert read_rules(path) == [rule]


def test_the_rules_of_the_administrators_page_do_what_it_says(tmp_path: Path) -> None:
    """Trauma at night goes first, brain series that are no volume are skipped, deviations held."""
    page = Path(__file__).resolve().parents[2] / "docs" / "administrator.md"
    if not page.exists():
        pytest.skip("the documents are not beside these tests")
    [block] = [
        one
        for one in re.findall(r"```toml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        if "[[rule]]" in one
    ]
    path = tmp_path / "rules.toml"
    path.write_text(block, encoding="utf-8")
    rules = read_rules(path)
    night = a_study(modalities=["CT", "SR"], time="23:30", StudyDescription="CT Trauma")
    brain = {"series.body_part": "BRAIN", "series.kind": "volume", "series.images": 160}

    trauma = on_receipt(rules, night)
    skipped = on_receipt(rules, a_study(brain, brain | {"series.kind": "images"}, {"Rows": 512}))
    held = when_judged(rules, a_study(), Judged("SUSPECT", 0.005, device_calibrated=True))

    assert [one.node for one in trauma.forwards] == ["TRAUMA-AI"]
    assert (trauma.priority, trauma.fetches[0].count) == (100, 2)
    assert skipped.skipped == {"1.2": "brain volumes"}
    assert (held.holds[0].node, held.holds[0].hours, held.tells[0].channel) == ("", 4, "ward")
