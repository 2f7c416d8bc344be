"""Explain: which tests of a rule decided, in words, for `gatekeeper rule test`.

The words hold the values of the fields that the rule names, so they are for people who may see the
study, and go into no log.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time

from gatekeeper.rules.condition import holds
from gatekeeper.rules.facts import StudyFacts, Values
from gatekeeper.rules.fields import Scope
from gatekeeper.rules.rule import Group, Rule, Test
from gatekeeper.rules.values import Value
from gatekeeper.rules.wording import write_test

MOST_REASONS = 8
"""Reasons given for one rule."""
_MOST_VALUES = 4
_LONGEST = 64


def explain(
    rule: Rule, facts: StudyFacts, study: Values, *, matched: bool, series: Sequence[str]
) -> tuple[str, ...]:
    """Return why a rule applies, or why not.

    Args:
        rule: the rule.
        facts: of the study.
        study: values of the study's fields, the verdict among them once there is one.
        matched: whether it applies.
        series: those that it applies to.
    """
    if not rule.by_series:
        return _distinct(_deciding(rule.condition, study, {}, matched)) or (_nothing(matched),)
    if not facts.series:
        return ("the study has no series",)
    asked = [one for one in facts.series if not matched or one.series_instance_uid in series]
    reasons = _distinct(
        reason for one in asked for reason in _deciding(rule.condition, study, one.values, matched)
    )
    return reasons or (_nothing(matched),)


@dataclass(frozen=True, slots=True)
class Tested:
    """One line of a condition, with what was found.

    Attributes:
        words: of the test, or of the group that begins here.
        found: values of its field, in words; empty for a group.
        holds: whether it holds.
        depth: groups that it lies in.
    """

    words: str
    found: str
    holds: bool
    depth: int


def tested(condition: Group, study: Values, series: Values) -> list[Tested]:
    """Return every test and group of a condition in order, each with what was found.

    Args:
        condition: of a rule.
        study, series: values of the fields of a study, and of one of its series.
    """
    return list(_tested(condition, study, series, 0, outermost=True))


def _tested(
    member: Test | Group, study: Values, series: Values, depth: int, *, outermost: bool = False
) -> Iterator[Tested]:
    if isinstance(member, Test):
        values = (series if member.scope is Scope.SERIES else study).get(member.field, ())
        yield Tested(_words(member), _is(values), member.holds(values), depth)
        return
    # The outermost group of tests that all have to hold needs no line of its own.
    if not outermost or member.any or member.negate:
        words = _GROUPS[member.any, member.negate]
        yield Tested(words, "", holds(member, study, series), depth)
        depth += 1
    for one in member.members:
        yield from _tested(one, study, series, depth)


_GROUPS = {
    (False, False): "all of these",
    (True, False): "any of these",
    (True, True): "none of these",
    (False, True): "not all of these",
}


def _nothing(matched: bool) -> str:
    return "it has no condition" if matched else "a group without tests"


def _deciding(member: Test | Group, study: Values, series: Values, held: bool) -> Iterator[str]:
    """Yield the tests by which a member is `held`, or is not."""
    if isinstance(member, Test):
        values = series if member.scope is Scope.SERIES else study
        found = values.get(member.field, ())
        if member.holds(found) is held:
            yield f"{_words(member)}: {_is(found)}"
        return
    if holds(member, study, series) is not held:
        return
    inner = held is not member.negate
    for one in member.members:
        found = False
        for reason in _deciding(one, study, series, inner):
            found = True
            yield reason
        if found and member.any is inner:
            # One is enough, so the first that decides tells it all.
            return


def _is(values: Sequence[Value]) -> str:
    if not values:
        return "it is absent"
    shown = [_shown(value) for value in values[:_MOST_VALUES]]
    more = len(values) - len(shown)
    return f"it is {', '.join(shown)}" + (f" and {more} more" if more else "")


def _shown(value: Value) -> str:
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    text = "".join(letter if letter.isprintable() else "?" for letter in str(value))
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _distinct(reasons: Iterator[str]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for reason in reasons:
        found[reason] = None
        if len(found) > MOST_REASONS:
            return (*list(found)[:MOST_REASONS], "and more")
    return tuple(found)


@functools.lru_cache(maxsize=4096)
def _words(test: Test) -> str:
    return write_test(test)
