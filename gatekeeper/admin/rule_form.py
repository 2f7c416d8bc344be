"""The form of a rule: rows of tests and actions, or its text, and the rule that they make."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import FormData

from gatekeeper.admin.forms import word, words
from gatekeeper.rules.document import parse_rule, write_action
from gatekeeper.rules.matching import Op
from gatekeeper.rules.rule import Action, Group, Rule, RuleError, Test
from gatekeeper.rules.toml_text import LARGEST_FILE, write_toml
from gatekeeper.rules.wording import write_test

GROUPS: Mapping[str, str] = {
    "all": "all of these hold",
    "any": "any of these holds",
    "none": "none of these holds",
    "not all": "not all of these hold",
}
ACTIONS: Mapping[str, str] = {
    "analyse": "analyse with bundle",
    "skip": "do not analyse",
    "forward": "forward to node",
    "hold": "hold from node (* for every gated one)",
    "notify": "tell channel",
    "priority": "priority (routine, urgent, number)",
    "priors": "fetch priors from archive",
}
_BLANK = 3
_TESTS = re.compile(r"when(?:\[0\]\.(?:any|none|not all|all))?\[(\d+)\]")
_ACTION = re.compile(r"then\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class TestRow:
    """One test as typed."""

    __test__ = False

    field: str = ""
    op: str = Op.IS.value
    value: str = ""
    every: bool = False


@dataclass(frozen=True, slots=True)
class ActionRow:
    """One action as typed."""

    kind: str = ""
    target: str = ""
    hours: str = ""
    count: str = ""
    modality: str = ""


@dataclass(frozen=True)
class RuleForm:
    """What stands in the form.

    Attributes:
        name, description: as typed.
        enabled, stop: what is ticked.
        group: how the tests go together, a key of `GROUPS`.
        tests, actions: rows; blank ones are passed over.
        text: TOML of the whole rule; not empty where the rule is edited as text, as one with groups
            in groups must be.
    """

    name: str = ""
    description: str = ""
    enabled: bool = True
    stop: bool = False
    group: str = "all"
    tests: Sequence[TestRow] = ()
    actions: Sequence[ActionRow] = ()
    text: str = ""

    @classmethod
    def of(cls, rule: Rule, *, as_text: bool = False) -> RuleForm:
        """Return a rule as it would be typed."""
        flat = all(isinstance(one, Test) for one in rule.condition.members)
        return cls(
            rule.name,
            rule.description,
            rule.enabled,
            rule.stop,
            _group(rule.condition),
            [_test_row(one) for one in rule.condition.members if isinstance(one, Test)],
            [_action_row(one) for one in rule.actions],
            "" if flat and not as_text else write_toml(rule),
        )

    @classmethod
    def typed(cls, form: FormData, name: str = "") -> RuleForm:
        """Return what was posted; `name` is that of a rule that is edited."""
        every = set(words(form, "every"))
        columns = zip(words(form, "field"), words(form, "op"), words(form, "value"), strict=False)
        tests = [
            TestRow(field, op, value, str(number) in every)
            for number, (field, op, value) in enumerate(columns)
        ]
        parts = [words(form, one) for one in ("kind", "target", "hours", "count", "modality")]
        actions = [ActionRow(*row) for row in zip(*parts, strict=False)]
        text = form.get("text", "")
        return cls(
            name or word(form, "name"),
            word(form, "description"),
            bool(word(form, "enabled")),
            bool(word(form, "stop")),
            word(form, "group") or "all",
            [row for row in tests if row.field or row.value],
            [row for row in actions if row.kind],
            text if isinstance(text, str) else "",
        )

    @property
    def test_rows(self) -> list[TestRow]:
        """Rows of the form, blank ones at the end."""
        return [*self.tests, *[TestRow()] * _BLANK]

    @property
    def action_rows(self) -> list[ActionRow]:
        """Rows of the form, blank ones at the end."""
        return [*self.actions, *[ActionRow()] * (1 if self.actions else 2)]

    def rule(self) -> Rule:
        """Return the rule.

        Raises:
            RuleError: naming the place and what is allowed.
        """
        if self.text:
            return self._of_text()
        tests: list[Any] = [_test(row) for row in self.tests]
        if self.group not in GROUPS:
            raise RuleError(f"no group {self.group!r}; there are: {', '.join(GROUPS)}", self.name)
        when = tests if self.group == "all" else [{self.group: tests}]
        then = [_action(row, number) for number, row in enumerate(self.actions)]
        document = {"name": self.name, "description": self.description, "when": when, "then": then}
        return parse_rule(document | {"enabled": self.enabled, "stop": self.stop})

    def _of_text(self) -> Rule:
        if len(self.text) > LARGEST_FILE:
            raise RuleError(f"its text is over {LARGEST_FILE >> 20} MiB", self.name)
        try:
            document = tomllib.loads(self.text.replace("\r\n", "\n"))
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise RuleError(f"the text is not TOML: {error}", self.name) from None
        rule = parse_rule(document, self.name)
        if self.name and rule.name != self.name:
            raise RuleError(f"the text is of rule '{rule.name}'", self.name, "name")
        return rule


def wrong_row(error: RuleError) -> tuple[str, int]:
    """Return which row of the form an error is about: ``tests`` or ``actions``, and its number."""
    for rows, pattern in (("tests", _TESTS), ("actions", _ACTION)):
        found = pattern.match(error.place)
        if found:
            return rows, int(found[1])
    return "", -1


def _group(condition: Group) -> str:
    names = {(False, False): "all", (True, False): "any", (True, True): "none"}
    return names.get((condition.any, condition.negate), "not all")


def _test_row(test: Test) -> TestRow:
    if test.op in (Op.ONE_OF, Op.BETWEEN):
        value = write_test(test).partition(f" {test.op} ")[2]
    else:
        value = test.values[0] if test.values else ""
    return TestRow(test.field, test.op.value, value, test.every)


def _test(row: TestRow) -> Any:
    if row.op in (Op.ONE_OF, Op.BETWEEN):
        return f"{'every ' if row.every else ''}{row.field} {row.op} {row.value}"
    document: dict[str, Any] = {"field": row.field, "op": row.op, "every": row.every}
    return document | ({"value": row.value} if row.value else {})


def _action_row(action: Action) -> ActionRow:
    document = write_action(action)
    [kind, *_] = document
    given = {key: str(value) for key, value in document.items()}
    target = "" if kind == "skip" else given[kind]
    others = (given.get(key, "") for key in ("hours", "count", "modality"))
    return ActionRow(kind, target, *others)


def _action(row: ActionRow, number: int) -> dict[str, Any]:
    place = f"then[{number}]"
    if row.kind == "skip":
        return {"skip": True}
    target: Any = row.target
    if row.kind == "priority" and target.lstrip("-").isdecimal():
        target = int(target)
    document: dict[str, Any] = {row.kind: target}
    if row.kind == "hold":
        document[row.kind] = target or "*"
        if row.hours:
            document["hours"] = _number(row.hours, place, "hours", whole=False)
    if row.kind == "priors":
        if row.count:
            document["count"] = _number(row.count, place, "count", whole=True)
        document |= {"modality": row.modality} if row.modality else {}
    return document


def _number(text: str, place: str, what: str, *, whole: bool) -> float:
    try:
        return int(text) if whole else float(text)
    except ValueError:
        kind = "whole number" if whole else "number"
        raise RuleError(f"{what} is a {kind}, not {text!r}", place=place) from None
