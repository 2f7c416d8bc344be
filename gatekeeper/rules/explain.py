"""Explain: which tests of a rule decided, in words, for `gatekeeper rule test`.

The words hold the values of the fields that the rule names, so they are for people who may see the
study, and go into no log.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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


def _nothing(matched: bool) -> str:
    return "it has no condition" if matched else "a group without tests"


def _deciding(member: Test | Group, study: Values, series: Values, held: bool) -> Iterator[str]:
    """Yield the tests by which a member is `held`, or is not."""
    if isinstance(member, Test):
        values = series if member.scope is Scope.SERIES else study
        found = values.get(member.field, ())
        if member.holds(found) is held:
            yield f"{write_test(member)}: {_is(found)}"
        return
    if holds(member, study, series) is not held:
        return
    inner = held is not member.negate
    reasons = [list(_deciding(one, study, series, inner)) for one in member.members]
    if member.any is inner:
        # One is enough, so the first that decides tells it all.
        yield from next((one for one in reasons if one), [])
    else:
        for one in reasons:
            yield from one


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
    found = list(dict.fromkeys(reasons))
    more = len(found) - MOST_REASONS
    return (*found[:MOST_REASONS], f"and {more} more") if more > 0 else tuple(found)
