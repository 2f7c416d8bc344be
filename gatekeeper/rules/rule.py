"""Rule: a condition over the facts of a study, and what is done where it holds.

Rules are data, never code: tests of named fields in groups, and actions from a short list. A rule
that exists is well-formed; whether nodes, channels and bundles that it names exist is for
`gatekeeper.rules.check`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from dataclasses import field as attribute

from gatekeeper.errors import GatekeeperError
from gatekeeper.rules.fields import Kind, Scope, UnknownFieldError, field_of
from gatekeeper.rules.matching import WITHOUT_VALUE, Matcher, Op, matcher, ops_for
from gatekeeper.rules.plan import Phase
from gatekeeper.rules.values import parse

MAXIMUM_DEPTH = 8
"""Groups within groups."""
MAXIMUM_TESTS = 100
"""Tests in one rule, and values in one test."""
MAXIMUM_ACTIONS = 20
MAXIMUM_RULES = 500
MAXIMUM_LENGTH = 256
"""Characters of one value."""
MAXIMUM_HOURS = 24 * 31
MAXIMUM_PRIORS = 20
ROUTINE, URGENT = 0, 100
"""Priorities that have a word; any whole number from -URGENT to URGENT is one."""

NAME = re.compile(r"[^\W_][\w .-]{0,63}")


class RuleError(GatekeeperError):
    """A rule that cannot be.

    Args:
        problem: the rule of ours that it breaks, and what is allowed.
        rule: its name; empty when not known.
        place: where in it, as its document is written: ``when[1].any[0]``.
    """

    def __init__(self, problem: str, rule: str = "", place: str = "") -> None:
        where = ", ".join(part for part in (f"rule '{rule}'" if rule else "", place) if part)
        super().__init__(f"{where}: {problem}" if where else problem)
        self.problem = problem
        self.rule = rule
        self.place = place


@dataclass(frozen=True, slots=True)
class Test:
    """One field compared with values.

    Attributes:
        field: its name; see `gatekeeper.rules.fields`.
        op: how it is compared.
        values: as written; two for `between`, one or more for `one of`, none for `present` and
            `absent`, else one.
        every: whether each value of the field has to meet it; without, one is enough.
        scope: what it is a fact of.
        holds: whether values of the field meet it.

    Raises:
        RuleError: when the field is unknown, is not compared that way, or a value is none of its.
    """

    __test__ = False

    field: str
    op: Op
    values: tuple[str, ...] = ()
    every: bool = False
    scope: Scope = attribute(init=False, compare=False, repr=False)
    holds: Matcher = attribute(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        try:
            asked = field_of(self.field)
        except UnknownFieldError as error:
            raise RuleError(str(error)) from None
        allowed = ops_for(asked)
        if self.op not in allowed:
            raise RuleError(
                f"{self.field} is {_article(asked.kind)}: it cannot be compared by '{self.op}', "
                f"only by {', '.join(allowed)}"
            )
        self._check_count()
        try:
            wanted = [parse(asked, value) for value in self.values]
        except ValueError as error:
            raise RuleError(f"{self.field} {self.op}: {error}") from None
        if self.op is Op.BETWEEN and asked.kind is not Kind.TIME and wanted[1] < wanted[0]:  # type: ignore[operator]
            raise RuleError(f"{self.field} between: the first value is over the second")
        object.__setattr__(self, "scope", asked.scope)
        object.__setattr__(self, "holds", matcher(asked, self.op, wanted, every=self.every))

    def _check_count(self) -> None:
        count = len(self.values)
        if self.op in WITHOUT_VALUE:
            right, needs = count == 0 and not self.every, "no value"
        elif self.op is Op.BETWEEN:
            right, needs = count == 2, "two values"
        elif self.op is Op.ONE_OF:
            right, needs = 1 <= count <= MAXIMUM_TESTS, f"1 to {MAXIMUM_TESTS} values"
        else:
            right, needs = count == 1, "one value"
        if not right:
            raise RuleError(f"'{self.field} {self.op}' needs {needs}")
        if any(len(value) > MAXIMUM_LENGTH for value in self.values):
            raise RuleError(f"{self.field}: a value is over {MAXIMUM_LENGTH} characters")
        if not all(value.isprintable() for value in self.values):
            raise RuleError(f"{self.field}: a value has characters that cannot be printed")


@dataclass(frozen=True, slots=True)
class Group:
    """Tests and groups, of which all or any hold; or, negated, do not.

    Attributes:
        members: without any, `all` holds and `any` does not.
        any: whether one is enough.
        negate: whether the opposite is meant.
    """

    members: tuple[Test | Group, ...] = ()
    any: bool = False
    negate: bool = False


@dataclass(frozen=True, slots=True)
class Analyse:
    """Analyse the matching series with this bundle."""

    bundle: str


@dataclass(frozen=True, slots=True)
class Skip:
    """Do not analyse the matching series; the study, when the condition is about no series."""


@dataclass(frozen=True, slots=True)
class Forward:
    """Forward the study, as received, to this node."""

    node: str


@dataclass(frozen=True, slots=True)
class Hold:
    """Hold the study from a gated node; from every one when `node` is empty.

    Attributes:
        node: AE title, or empty.
        hours: longest hold; None for the site's maximum.
    """

    node: str = ""
    hours: float | None = None


@dataclass(frozen=True, slots=True)
class Notify:
    """Tell this channel."""

    channel: str


@dataclass(frozen=True, slots=True)
class Priority:
    """Analyse before studies of lower priority."""

    level: int


@dataclass(frozen=True, slots=True)
class Priors:
    """Fetch prior studies of the patient; see `gatekeeper.rules.plan.Fetching`."""

    node: str
    count: int = 1
    modality: str = ""


Action = Analyse | Skip | Forward | Hold | Notify | Priority | Priors

ON_RECEIPT = (Analyse, Skip, Priority, Priors)
"""Actions that are over once a study is judged."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes:
        name: unique; letters, digits, spaces, dots, dashes and underscores.
        condition: when it applies; an empty `all` group is every study.
        actions: what is done then.
        enabled: whether it is asked.
        stop: whether no later rule is asked where this one applies.
        description: for people.
        phase: JUDGED when the condition asks about the verdict, else RECEIVED.
        by_series: whether the condition asks about series: it is then asked of each series by
            itself, and holds for those that meet it.

    Raises:
        RuleError: when it goes over a limit, has no action, or acts on receipt by a verdict.
    """

    name: str
    condition: Group
    actions: tuple[Action, ...]
    enabled: bool = True
    stop: bool = False
    description: str = ""
    phase: Phase = attribute(init=False, compare=False)
    by_series: bool = attribute(init=False, compare=False)

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise RuleError(
                "a name has up to 64 letters, digits, spaces, dots, dashes and underscores, and "
                "begins with a letter or digit",
                place="name",
            )
        problem = self._limit()
        if problem:
            raise RuleError(problem, self.name)
        scopes = {test.scope for test in tests(self.condition)}
        judged = Scope.JUDGED in scopes
        object.__setattr__(self, "phase", Phase.JUDGED if judged else Phase.RECEIVED)
        object.__setattr__(self, "by_series", Scope.SERIES in scopes)
        late = [type(one).__name__.lower() for one in self.actions if isinstance(one, ON_RECEIPT)]
        if judged and late:
            raise RuleError(
                f"its condition asks about the verdict, and '{late[0]}' is done on receipt, "
                "before there is one",
                self.name,
                "then",
            )

    def _limit(self) -> str:
        if not self.actions:
            return "it does nothing: 'then' needs an action"
        if len(self.actions) > MAXIMUM_ACTIONS:
            return f"it has {len(self.actions)} actions, and {MAXIMUM_ACTIONS} are allowed"
        if sum(1 for _ in tests(self.condition)) > MAXIMUM_TESTS:
            return f"it has over {MAXIMUM_TESTS} tests"
        if depth(self.condition) > MAXIMUM_DEPTH:
            return f"its groups nest deeper than {MAXIMUM_DEPTH}"
        return "" if len(self.description) <= 1000 else "its description is over 1000 characters"


def tests(condition: Group) -> Iterator[Test]:
    """Yield every test of a condition, in order."""
    waiting: list[Test | Group] = [condition]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Test):
            yield one
        else:
            waiting.extend(reversed(one.members))


def depth(condition: Group) -> int:
    """Return how many groups lie in one another; 1 for a group of tests alone."""
    deepest, level = 0, [condition]
    while level:
        deepest += 1
        level = [one for group in level for one in group.members if isinstance(one, Group)]
    return deepest


def needed(rules: Iterable[Rule]) -> frozenset[str]:
    """Return the names of the fields that enabled rules ask about."""
    return frozenset(test.field for rule in rules if rule.enabled for test in tests(rule.condition))


def _article(kind: Kind) -> str:
    return f"{'an' if kind is Kind.AGE else 'a'} {kind}" if kind not in _PLURAL else str(kind)


_PLURAL = frozenset({Kind.CHOICE, Kind.OPAQUE})
