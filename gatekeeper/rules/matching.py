"""Matching: whether values of a field meet a test. Pure, total, and made once for each test.

A test is true when any of the values meets it, with `every` when each does; `is not` is true when
none is equal. Without a value every test but `absent` is false.
"""

from __future__ import annotations

import enum
import fnmatch
import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

from gatekeeper.rules.fields import Field, Kind
from gatekeeper.rules.values import Value

Matcher = Callable[[Sequence[Value]], bool]


class Op(enum.StrEnum):
    """How a field is compared."""

    IS = "is"
    IS_NOT = "is not"
    CONTAINS = "contains"
    STARTS_WITH = "starts with"
    LIKE = "like"
    """``*`` stands for any characters, ``?`` for one."""
    ONE_OF = "one of"
    LESS = "<"
    AT_MOST = "<="
    MORE = ">"
    AT_LEAST = ">="
    BETWEEN = "between"
    """Both ends included; times of day may go over midnight."""
    PRESENT = "present"
    ABSENT = "absent"


_PRESENCE = (Op.PRESENT, Op.ABSENT)
_EQUALITY = (Op.IS, Op.IS_NOT, Op.ONE_OF)
_TEXT = (Op.CONTAINS, Op.STARTS_WITH, Op.LIKE)
_ORDER = (Op.LESS, Op.AT_MOST, Op.MORE, Op.AT_LEAST, Op.BETWEEN)

WITHOUT_VALUE = frozenset(_PRESENCE)
_COMPARE: dict[Op, Callable[[Any, Any], bool]] = {
    Op.LESS: operator.lt,
    Op.AT_MOST: operator.le,
    Op.MORE: operator.gt,
    Op.AT_LEAST: operator.ge,
}


def ops_for(field: Field) -> tuple[Op, ...]:
    """Return the ways in which a field may be compared."""
    if field.kind is Kind.OPAQUE:
        return _PRESENCE
    if field.kind is Kind.CHOICE:
        return (*_EQUALITY, *_PRESENCE)
    if field.kind in (Kind.TEXT, Kind.NAME):
        return (*_EQUALITY, *_TEXT, *_PRESENCE)
    return (*_EQUALITY, *_ORDER, *_PRESENCE)


def matcher(field: Field, op: Op, wanted: Sequence[Value], *, every: bool = False) -> Matcher:
    """Return the test of `op` against `wanted` (two for `between`, any number for `one of`)."""
    if op is Op.PRESENT:
        return bool
    if op is Op.ABSENT:
        return operator.not_
    if op is Op.IS_NOT:
        equal = _one(field.kind, Op.IS, wanted)
        return lambda values: bool(values) and not any(map(equal, values))
    meets = _one(field.kind, op, wanted)
    if every:
        return lambda values: bool(values) and all(map(meets, values))
    return lambda values: any(map(meets, values))


def _one(kind: Kind, op: Op, wanted: Sequence[Any]) -> Callable[[Any], bool]:
    if op in _TEXT:
        return _text(op, str(wanted[0]).casefold())
    if op is Op.BETWEEN:
        return _between(kind, *wanted)
    if op in _COMPARE:
        compare, bound = _COMPARE[op], wanted[0]
        return lambda value: compare(value, bound)
    if kind is Kind.NAME:
        names = frozenset(name_components(one) for one in wanted)
        return lambda value: not names.isdisjoint(_representations(value))
    if kind in (Kind.TEXT, Kind.CHOICE):
        words = frozenset(str(one).casefold() for one in wanted)
        return lambda value: value.casefold() in words
    return frozenset(wanted).__contains__


def _text(op: Op, words: str) -> Callable[[str], bool]:
    if op is Op.CONTAINS:
        return lambda value: words in value.casefold()
    if op is Op.STARTS_WITH:
        return lambda value: value.casefold().startswith(words)
    # A bracket is a character like any other.
    pattern = re.compile(fnmatch.translate(words.replace("[", "[[]")))
    return lambda value: pattern.match(value.casefold()) is not None


def _between(kind: Kind, low: Any, high: Any) -> Callable[[Any], bool]:
    if kind is Kind.TIME and high < low:
        return lambda value: value >= low or value <= high
    return lambda value: low <= value <= high


def name_components(words: str) -> tuple[str, ...]:
    """Return a person name's components (PS3.5 6.2.1), trailing empty ones left out."""
    found = [part.strip().casefold() for part in words.split("^")]
    while found and not found[-1]:
        found.pop()
    return tuple(found)


def _representations(value: str) -> set[tuple[str, ...]]:
    """Return a name's components as written alphabetically, ideographically, phonetically."""
    return {name_components(group) for group in value.split("=") if group.strip(" ^")}
