"""Properties of rules that hold whatever the rules and the headers are."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gatekeeper.rules.condition import holds
from gatekeeper.rules.document import parse_rule, write_rule
from gatekeeper.rules.evaluate import on_receipt, when_judged
from gatekeeper.rules.facts import Judged, SeriesFacts, StudyFacts
from gatekeeper.rules.fields import VERDICTS, Kind, Scope, field_of
from gatekeeper.rules.matching import WITHOUT_VALUE, Op, ops_for
from gatekeeper.rules.plan import Phase
from gatekeeper.rules.rule import (
    Action,
    Analyse,
    Forward,
    Group,
    Hold,
    Notify,
    Priority,
    Priors,
    Rule,
    Skip,
    Test,
)
from gatekeeper.rules.toml_text import read_rules, write_toml
from gatekeeper.rules.wording import parse_test, write_test

# Enough to find what a change breaks; more of them take too long for every run.
few = settings(max_examples=40)

NAMES = (
    "Modality",
    "ImageType",
    "StudyDescription",
    "PatientName",
    "SliceThickness",
    "PatientAge",
    "StudyDate",
    "StudyTime",
    "AcquisitionDateTime",
    "SharedFunctionalGroupsSequence",
    "SharedFunctionalGroupsSequence.PixelMeasuresSequence.SliceThickness",
    "source",
    "weekday",
    "time",
    "instances",
    "series.kind",
    "series.images",
)
JUDGED_NAMES = ("verdict", "p_value", "detector", "device_calibrated")

ODD = "aZ09 '\",[]*?^=\\äßİ漢-&"
"""Letters that quoting, globs, names, lists and case folding are sensitive to."""
phrases = ("is", "not a", "and", "x and y", "present", "one of a, b", "between 1", "every x")
words = st.text(ODD, min_size=1, max_size=8).filter(lambda text: bool(text.strip()))
words |= st.sampled_from(phrases)
numbers = st.decimals(-1000, 1000, places=2).map(str)
times = st.times().map(lambda one: one.strftime("%H:%M:%S"))
_WORDS: dict[Kind, st.SearchStrategy[str]] = {
    Kind.TEXT: words,
    Kind.NAME: words,
    Kind.OPAQUE: words,
    Kind.NUMBER: numbers,
    Kind.AGE: st.tuples(st.integers(0, 999), st.sampled_from("DWMY")).map(
        lambda p: f"{p[0]}{p[1]}"
    ),
    Kind.DATE: st.dates().map(date.isoformat),
    Kind.TIME: times,
    Kind.DATETIME: st.datetimes().map(lambda one: one.replace(microsecond=0).isoformat()),
}
_VALUES: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.TEXT: st.text(ODD, max_size=6),
    Kind.NAME: st.text(ODD, max_size=6),
    Kind.CHOICE: st.text(ODD, max_size=6),
    Kind.OPAQUE: st.just("(there)"),
    Kind.NUMBER: st.decimals(allow_nan=False, allow_infinity=False),
    Kind.AGE: st.decimals(0, 400_000),
    Kind.DATE: st.dates(),
    Kind.TIME: st.times(),
    Kind.DATETIME: st.datetimes(),
}


@st.composite
def some_tests(draw: st.DrawFn, names: tuple[str, ...] = NAMES) -> Test:
    """Draw a test of any field by any op that fits it."""
    field = field_of(draw(st.sampled_from(names)))
    op = draw(st.sampled_from(ops_for(field)))
    if op in WITHOUT_VALUE:
        return Test(field.name, op)
    word = st.sampled_from(field.choices) if field.choices else _WORDS[field.kind]
    count = {Op.BETWEEN: 2, Op.ONE_OF: draw(st.integers(1, 3))}.get(op, 1)
    values = tuple(draw(word) for _ in range(count))
    if op is Op.BETWEEN:
        values = (values[0], values[0])
    return Test(field.name, op, values, every=draw(st.booleans()))


def groups(tests: st.SearchStrategy[Test]) -> st.SearchStrategy[Group]:
    """Return groups of groups of tests."""

    def group(members: st.SearchStrategy[Any]) -> st.SearchStrategy[Group]:
        several = st.lists(members, max_size=3).map(tuple)
        return st.builds(Group, several, st.booleans(), st.booleans())

    return st.recursive(group(tests), lambda inner: group(tests | inner), max_leaves=5)


conditions = groups(some_tests())

nodes = st.sampled_from(("AI", "PACS", "NODE 3"))
actions: st.SearchStrategy[Action] = st.one_of(
    st.builds(Analyse, words),
    st.just(Skip()),
    st.builds(Forward, nodes),
    st.builds(Hold, nodes | st.just(""), st.none() | st.floats(0.5, 100) | st.integers(1, 100)),
    st.builds(Notify, words),
    st.builds(Priority, st.integers(-100, 100)),
    st.builds(Priors, nodes, st.integers(1, 20), st.sampled_from(("", "MR", "CT"))),
)
rules = st.builds(
    Rule,
    st.text("abcXYZ09 .-_", max_size=20).map("r".__add__),
    conditions,
    st.lists(actions, min_size=1, max_size=4).map(tuple),
    st.booleans(),
    st.booleans(),
    st.text(ODD + "\n\x7f", max_size=8),
)


@st.composite
def values_of(draw: st.DrawFn, scope: Scope) -> dict[str, Any]:
    """Draw values of some of the fields of a study, or of a series."""
    fields = [field for field in map(field_of, NAMES) if field.scope is scope]
    found: dict[str, Any] = {}
    for field in draw(st.lists(st.sampled_from(fields), unique=True)):
        found[field.name] = tuple(draw(st.lists(_VALUES[field.kind], max_size=3)))
    return found


@st.composite
def studies(draw: st.DrawFn) -> StudyFacts:
    """Draw the facts of a study."""
    series = draw(st.lists(values_of(Scope.SERIES), max_size=3))
    found = tuple(SeriesFacts(f"1.{number}", one) for number, one in enumerate(series))
    return StudyFacts("1", draw(values_of(Scope.STUDY)), found)


def asked(condition: Group, facts: StudyFacts) -> list[bool]:
    """Return whether a condition holds for the study with each series, and with none."""
    series = [one.values for one in facts.series]
    return [holds(condition, facts.values, one) for one in [*series, {}]]


@few
@given(conditions, studies())
def test_a_negated_group_is_the_opposite(condition: Group, facts: StudyFacts) -> None:
    """For every study, whatever is missing from it."""
    opposite = replace(condition, negate=not condition.negate)

    assert asked(opposite, facts) == [not one for one in asked(condition, facts)]


@few
@given(st.lists(conditions, max_size=3), studies())
def test_groups_obey_de_morgan(members: list[Group], facts: StudyFacts) -> None:
    """Not all of them is any of their opposites."""
    opposites = tuple(replace(one, negate=not one.negate) for one in members)

    not_all = Group(tuple(members), any=False, negate=True)
    any_not = Group(opposites, any=True)

    assert asked(not_all, facts) == asked(any_not, facts)


@few
@given(conditions, studies(), st.randoms())
def test_the_order_within_a_group_does_not_matter(
    condition: Group, facts: StudyFacts, random: Any
) -> None:
    """A condition is a set of tests."""
    members = list(condition.members)
    random.shuffle(members)

    assert asked(replace(condition, members=tuple(members)), facts) == asked(condition, facts)


@few
@given(some_tests())
def test_a_missing_attribute_meets_absent_alone(test: Test) -> None:
    """Every other test is false, and its negation by a group is true."""
    facts = StudyFacts("1")

    assert asked(Group((test,)), facts) == [test.op is Op.ABSENT]
    assert asked(Group((test,), negate=True), facts) == [test.op is not Op.ABSENT]


@few
@given(some_tests(), st.data())
def test_several_values_meet_a_test_as_they_do_one_by_one(test: Test, data: st.DataObject) -> None:
    """By any of them, by each with `every`, by none but unequal ones for `is not`."""
    values = data.draw(st.lists(_VALUES[field_of(test.field).kind], min_size=1, max_size=4))
    alone = [test.holds((value,)) for value in values]

    together = all(alone) if test.every or test.op is Op.IS_NOT else any(alone)
    assert test.holds(tuple(values)) is together


@few
@given(some_tests())
def test_a_test_is_read_as_it_is_written(test: Test) -> None:
    """Whatever is in its values: quotes, commas, words that mean something else."""
    assert parse_test(write_test(test)) == test


@few
@given(rules)
def test_a_rule_is_read_as_it_is_written(rule: Rule) -> None:
    """As a document and as a document of TOML alike."""
    assert parse_rule(write_rule(rule)) == rule


def test_a_rule_is_read_from_toml_as_it_is_written(tmp_path: Any) -> None:
    """The text that `rule show` prints is the rule."""
    path = tmp_path / "rule.toml"

    @few
    @given(rules)
    def check(rule: Rule) -> None:
        path.write_text(write_toml(rule), encoding="utf-8")
        assert read_rules(path) == [rule]

    check()


@few
@given(st.lists(rules, max_size=4), studies())
def test_a_plan_is_what_its_rules_say_in_order(asked_rules: list[Rule], facts: StudyFacts) -> None:
    """The trace changes nothing, nobody is named twice, and later rules only add."""
    plan = on_receipt(asked_rules, facts)
    traced = on_receipt(asked_rules, facts, trace=True)

    assert replace(traced, matches=()) == plan
    enabled = [rule for rule in asked_rules if rule.enabled and rule.phase is Phase.RECEIVED]
    assert [match.rule for match in traced.matches] == [rule.name for rule in enabled]
    targets = [one.node for one in plan.forwards]
    assert len(targets) == len(set(targets))
    assert not set(plan.models) & set(plan.skipped)
    for count in range(len(asked_rules)):
        before = on_receipt(asked_rules[:count], facts)
        assert before.forwards == plan.forwards[: len(before.forwards)]
        assert before.skipped.items() <= plan.skipped.items()
        assert before.models.items() <= plan.models.items()


@few
@given(
    groups(some_tests(JUDGED_NAMES + NAMES)),
    studies(),
    st.sampled_from((*VERDICTS, "", "SOMETHING ELSE")),
    st.none() | st.floats(),
    st.none() | st.booleans(),
)
def test_no_study_and_no_verdict_makes_evaluation_raise(
    condition: Group, facts: StudyFacts, verdict: str, p_value: float | None, calibrated: Any
) -> None:
    """Traced or not; both agree."""
    late = [Rule("late", condition, (Forward("AI"), Hold("")))]
    judged = Judged(verdict, p_value, ("bundle",), calibrated)

    plan = when_judged(late, facts, judged)
    traced = when_judged(late, facts, judged, trace=True)

    assert bool(plan.holds) is traced.matches[0].matched
    assert traced.matches[0].because
