"""Condition: whether groups of tests hold for the values of a study and of one of its series."""

from __future__ import annotations

from gatekeeper.rules.facts import Values
from gatekeeper.rules.fields import Scope
from gatekeeper.rules.rule import Group, Test

_SERIES = Scope.SERIES


def holds(condition: Group, study: Values, series: Values) -> bool:
    """Return whether a condition holds; `series` is empty for a condition about none."""
    enough = condition.any
    for member in condition.members:
        if isinstance(member, Test):
            values = series if member.scope is _SERIES else study
            met = member.holds(values.get(member.field, ()))
        else:
            met = holds(member, study, series)
        # One that is met decides 'any', one that is not met decides 'all'.
        if met is enough:
            return enough is not condition.negate
    return enough is condition.negate
