"""Documents: a rule as plain data, the same in TOML, in JSON and in the database.

```toml
name = "trauma at night"
when = [
  "StudyDescription contains trauma",
  { any = ["source is CT1", "source is CT2"] },
  { none = ["series.kind is localizer", "series.images < 20"] },
]
then = [{ forward = "TRAUMA-AI" }, { hold = "*", hours = 4 }, { priority = "urgent" }]
stop = true
```

The members of `when` have all to hold. A group is a table with one key: `all`, `any`, `none`
(not any) or `not all`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from gatekeeper.errors import IdentifierError
from gatekeeper.identifiers import AeTitle
from gatekeeper.rules.matching import WITHOUT_VALUE, Op
from gatekeeper.rules.rule import (
    MAXIMUM_DEPTH,
    MAXIMUM_HOURS,
    MAXIMUM_LENGTH,
    MAXIMUM_PRIORS,
    MAXIMUM_TESTS,
    ROUTINE,
    URGENT,
    Action,
    Analyse,
    Forward,
    Group,
    Hold,
    Notify,
    Priority,
    Priors,
    Rule,
    RuleError,
    Skip,
    Test,
)
from gatekeeper.rules.wording import parse_test, write_test

Document = dict[str, Any]

EVERY_GATED = "*"
"""Written for every gated node."""

_KEYS = ("name", "description", "enabled", "when", "then", "stop")
_GROUPS = {
    "all": (False, False),
    "any": (True, False),
    "none": (True, True),
    "not all": (False, True),
}
"""Key of a group -> `Group.any`, `Group.negate`."""
_GROUP_KEYS = {flags: key for key, flags in _GROUPS.items()}
_WORDS = {"routine": ROUTINE, "urgent": URGENT}


def parse_rule(document: Mapping[str, Any], name: str = "") -> Rule:
    """Return the rule of a document.

    Args:
        document: as TOML or JSON gives it.
        name: of the rule when the document has none.

    Raises:
        RuleError: naming the rule, the place and what is allowed.
    """
    named: Any = document.get("name", name)
    if not isinstance(named, str) or not named:
        raise RuleError("a rule needs a name", place="name")
    try:
        _only(document, _KEYS)
        return Rule(
            name=named,
            condition=_condition(document.get("when", [])),
            actions=_actions(document.get("then", [])),
            enabled=_boolean(document, "enabled", default=True),
            stop=_boolean(document, "stop", default=False),
            description=_string(document.get("description", ""), "description", empty=True),
        )
    except RuleError as error:
        raise RuleError(error.problem, named, error.place) from None


def write_rule(rule: Rule) -> Document:
    """Return the document that `parse_rule` reads as this rule; what is usual is left out."""
    found: Document = {"name": rule.name}
    if rule.description:
        found["description"] = rule.description
    if not rule.enabled:
        found["enabled"] = False
    found["when"] = _written(rule.condition)
    found["then"] = [write_action(action) for action in rule.actions]
    if rule.stop:
        found["stop"] = True
    return found


def write_action(action: Action) -> Document:
    """Return the document of one action."""
    found: Document
    match action:
        case Analyse(bundle):
            found = {"analyse": bundle}
        case Skip():
            found = {"skip": True}
        case Forward(node):
            found = {"forward": node}
        case Hold(node, hours):
            found = {"hold": node or EVERY_GATED} | _given(hours=hours)
        case Notify(channel):
            found = {"notify": channel}
        case Priority(level):
            words = {number: word for word, number in _WORDS.items()}
            found = {"priority": words.get(level, level)}
        case Priors(node, count, modality):
            others = _given(count=None if count == 1 else count, modality=modality or None)
            found = {"priors": node} | others
    return found


def _given(**values: Any) -> Document:
    return {key: value for key, value in values.items() if value is not None}


def _condition(when: Any) -> Group:
    """Return the condition; a list of nothing but one group is that group."""
    members = _members(when, "when", 1)
    if len(members) == 1 and isinstance(members[0], Group):
        return members[0]
    return Group(members)


def _written(condition: Group) -> list[Any]:
    members = [_member(member) for member in condition.members]
    alone = len(condition.members) == 1 and isinstance(condition.members[0], Group)
    if not condition.any and not condition.negate and not alone:
        return members
    return [_member(condition)]


def _member(member: Test | Group) -> str | Document:
    if isinstance(member, Test):
        return write_test(member)
    key = _GROUP_KEYS[member.any, member.negate]
    return {key: [_member(one) for one in member.members]}


def _members(value: Any, place: str, level: int) -> tuple[Test | Group, ...]:
    if level > MAXIMUM_DEPTH + 1:
        raise RuleError(f"groups nest deeper than {MAXIMUM_DEPTH}", place="when")
    members = _list(value, place)
    if len(members) > MAXIMUM_TESTS:
        raise RuleError(f"it has over {MAXIMUM_TESTS} members", place=place)
    return tuple(
        _one_member(member, f"{place}[{index}]", level) for index, member in enumerate(members)
    )


def _one_member(member: Any, place: str, level: int) -> Test | Group:
    if isinstance(member, str):
        return _at(place, parse_test, member)
    table = _table(member, place)
    if "field" in table:
        return _at(place, _test_of_table, table)
    keys = list(table)
    if len(keys) != 1 or keys[0] not in _GROUPS:
        raise RuleError(
            "it is neither a test, such as 'Modality is MR', nor a group: a table with one of the "
            f"keys {', '.join(_GROUPS)}",
            place=place,
        )
    any_of, negate = _GROUPS[keys[0]]
    return Group(_members(table[keys[0]], f"{place}.{keys[0]}", level + 1), any_of, negate)


def _test_of_table(table: Mapping[str, Any]) -> Test:
    _only(table, ("field", "op", "value", "values", "every"))
    name = _string(table["field"], "field")
    words = _string(table.get("op", ""), "op")
    if words not in set(Op):
        raise RuleError(f"op {words!r} is none of {', '.join(Op)}")
    op = Op(words)
    values: Any = table.get("values", [table["value"]] if "value" in table else [])
    if op in WITHOUT_VALUE and values:
        raise RuleError(f"'{name} {op}' needs no value")
    texts = tuple(_string(_plain(value), "value") for value in _list(values, "values"))
    return Test(name, op, texts, every=_boolean(table, "every", default=False))


def _plain(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return str(value)


def _actions(then: Any) -> tuple[Action, ...]:
    return tuple(
        _action(_table(one, f"then[{index}]"), f"then[{index}]")
        for index, one in enumerate(_list(then, "then"))
    )


def _action(table: Mapping[str, Any], place: str) -> Action:
    kinds = [key for key in table if key in _ACTIONS]
    if len(kinds) != 1:
        raise RuleError(
            f"an action is a table with one of the keys {', '.join(_ACTIONS)}", "", place
        )
    [kind] = kinds
    others, make = _ACTIONS[kind]
    return _at(place, lambda value: _made(value, kind, others, make), table)


def _made(
    table: Mapping[str, Any],
    kind: str,
    others: Sequence[str],
    make: Callable[[Mapping[str, Any]], Action],
) -> Action:
    _only(table, (kind, *others))
    return make(table)


def _skip(table: Mapping[str, Any]) -> Action:
    if table["skip"] is not True:
        raise RuleError("skip is written `skip = true`")
    return Skip()


def _hold(table: Mapping[str, Any]) -> Action:
    hours: Any = table.get("hours")
    if hours is not None and (
        isinstance(hours, bool)
        or not isinstance(hours, int | float)
        or not math.isfinite(hours)
        or not 0 < hours <= MAXIMUM_HOURS
    ):
        raise RuleError(f"hours is a number over 0, at most {MAXIMUM_HOURS}")
    node = "" if table["hold"] == EVERY_GATED else _node(table["hold"], "hold")
    return Hold(node, hours)


def _priority(table: Mapping[str, Any]) -> Action:
    level: Any = table["priority"]
    if isinstance(level, str):
        level = _WORDS.get(level, level)
    if isinstance(level, bool) or not isinstance(level, int) or not -URGENT <= level <= URGENT:
        raise RuleError(
            f"priority is routine ({ROUTINE}), urgent ({URGENT}) or a whole number from "
            f"{-URGENT} to {URGENT}"
        )
    return Priority(level)


def _priors(table: Mapping[str, Any]) -> Action:
    count: Any = table.get("count", 1)
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MAXIMUM_PRIORS:
        raise RuleError(f"count is a whole number from 1 to {MAXIMUM_PRIORS}")
    modality = _string(table.get("modality", ""), "modality", empty=True)
    if modality and not (modality.isascii() and modality.isalnum() and len(modality) <= 16):
        raise RuleError("modality is a DICOM Modality, such as MR")
    return Priors(_node(table["priors"], "priors"), count, modality.upper())


_ACTIONS: dict[str, tuple[Sequence[str], Callable[[Mapping[str, Any]], Action]]] = {
    "analyse": ((), lambda table: Analyse(_string(table["analyse"], "analyse"))),
    "skip": ((), _skip),
    "forward": ((), lambda table: Forward(_node(table["forward"], "forward"))),
    "hold": (("hours",), _hold),
    "notify": ((), lambda table: Notify(_string(table["notify"], "notify"))),
    "priority": ((), _priority),
    "priors": (("count", "modality"), _priors),
}
"""Key of an action -> further keys it takes, and what makes it."""


def _node(value: Any, key: str) -> str:
    try:
        return str(AeTitle.parse(_string(value, key)))
    except IdentifierError as error:
        raise RuleError(f"{key}: {error}") from None


def _at(place: str, make: Callable[[Any], Any], value: Any) -> Any:
    try:
        return make(value)
    except RuleError as error:
        raise RuleError(error.problem, place=place) from None


def _only(table: Mapping[str, Any], allowed: Sequence[str]) -> None:
    strange = [key for key in table if key not in allowed]
    if strange:
        raise RuleError(f"no key {strange[0]!r}; there are {', '.join(allowed)}")


def _list(value: Any, place: str) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise RuleError("it is not a list", place=place)
    return list(cast("Sequence[Any]", value))


def _table(value: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise RuleError("it is neither a text nor a table", place=place)
    return cast("Mapping[str, Any]", value)


def _string(value: Any, key: str, *, empty: bool = False) -> str:
    if not isinstance(value, str) or not (value or empty):
        raise RuleError(f"{key} is not a text")
    if len(value) > 4 * MAXIMUM_LENGTH:
        raise RuleError(f"{key} is over {4 * MAXIMUM_LENGTH} characters")
    return value


def _boolean(table: Mapping[str, Any], key: str, *, default: bool) -> bool:
    value: Any = table.get(key, default)
    if not isinstance(value, bool):
        raise RuleError(f"{key} is true or false")
    return value
