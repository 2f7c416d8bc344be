"""Wording: a test as a line that a person writes: ``StudyDescription contains trauma``.

``[every] FIELD OP VALUE``. A value is what follows, up to the end; `one of` takes several with
commas between, `between` two with ``and``. A value in quotes, single or double, is taken as it is:
``SeriesDescription one of 'T1, axial', T2``. Within them, the quote is written twice.
"""

from __future__ import annotations

import re

from gatekeeper.rules.fields import Kind, UnknownFieldError, field_of
from gatekeeper.rules.matching import WITHOUT_VALUE, Op
from gatekeeper.rules.rule import RuleError, Test

_SPELLINGS = (
    ("is not", Op.IS_NOT),
    ("is one of", Op.ONE_OF),
    ("one of", Op.ONE_OF),
    ("is between", Op.BETWEEN),
    ("between", Op.BETWEEN),
    ("is present", Op.PRESENT),
    ("present", Op.PRESENT),
    ("is absent", Op.ABSENT),
    ("absent", Op.ABSENT),
    ("starts with", Op.STARTS_WITH),
    ("contains", Op.CONTAINS),
    ("like", Op.LIKE),
    ("<=", Op.AT_MOST),
    (">=", Op.AT_LEAST),
    ("<", Op.LESS),
    (">", Op.MORE),
    ("is", Op.IS),
)
"""Ways to write each op, the longer before those that they begin with."""
_QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"")
_AND = re.compile(r"\s+and\s+", re.IGNORECASE)
_HOURS = re.compile(r"([\d:.]+)\s*-\s*([\d:.]+)")
# A value that is written as it is: nothing in it is read as something else.
_PLAIN = re.compile(r"(?!\s)[^'\",]+(?<!\s)")
_READ_OTHERWISE = re.compile(r"(not|one of|between)\s|(present|absent)$", re.IGNORECASE)


def parse_test(line: str) -> Test:
    """Return the test that a line says.

    Raises:
        RuleError: saying what is allowed.
    """
    rest = line.strip()
    every = re.match(r"every\s+(?=\S+\s)", rest, re.IGNORECASE)
    if every:
        rest = rest[every.end() :]
    name, _, rest = rest.partition(" ")
    rest = rest.strip()
    op, rest = _op(name, rest)
    return Test(name, op, _values(name, op, rest), every=bool(every))


def write_test(test: Test) -> str:
    """Return the line that `parse_test` reads as this test."""
    words = [*(["every"] if test.every else []), test.field, str(test.op)]
    if test.op is Op.ONE_OF:
        words.append(", ".join(_written(value) for value in test.values))
    elif test.op is Op.BETWEEN:
        words.append(" and ".join(_written(value) for value in test.values))
    elif test.values:
        words.append(_written(test.values[0]))
    return " ".join(words)


def _op(name: str, rest: str) -> tuple[Op, str]:
    for spelling, op in _SPELLINGS:
        symbol = spelling in "<=>="
        if not (rest.startswith(spelling) if symbol else _begins(rest, spelling)):
            continue
        after = _without(rest, spelling).lstrip()
        if op in WITHOUT_VALUE and after:
            continue
        return op, after
    if not name:
        raise RuleError("an empty test: it is written FIELD OP VALUE, such as 'Modality is MR'")
    try:
        field_of(name)
    except UnknownFieldError as error:
        raise RuleError(str(error)) from None
    shown = rest.split(" ", 1)[0]
    raise RuleError(f"{name} {shown or '(nothing)'}: after the field comes one of {', '.join(Op)}")


def _begins(rest: str, spelling: str) -> bool:
    words = spelling.split()
    return rest.lower().split()[: len(words)] == words


def _without(rest: str, spelling: str) -> str:
    pattern = r"\s+".join(re.escape(word) for word in spelling.split())
    return re.sub(f"^{pattern}", "", rest, count=1, flags=re.IGNORECASE)


def _values(name: str, op: Op, rest: str) -> tuple[str, ...]:
    if op in WITHOUT_VALUE:
        return ()
    if not rest:
        raise RuleError(f"'{name} {op}' needs a value")
    if op is Op.BETWEEN:
        return _ends(name, rest)
    if op is Op.ONE_OF:
        return tuple(_listed(name, rest))
    quoted = _QUOTED.fullmatch(rest)
    return (_unquoted(rest) if quoted else rest,)


def _ends(name: str, rest: str) -> tuple[str, ...]:
    hours = _HOURS.fullmatch(rest)
    if hours and _kind(name) is Kind.TIME:
        return hours[1], hours[2]
    ends = _AND.split(rest)
    if len(ends) != 2:
        raise RuleError(f"'{name} between' needs two values with 'and' between them")
    return tuple(_unquoted(end) if _QUOTED.fullmatch(end) else end for end in ends)


def _kind(name: str) -> Kind | None:
    try:
        return field_of(name).kind
    except UnknownFieldError:
        return None


def _listed(name: str, rest: str) -> list[str]:
    found: list[str] = []
    position = 0
    while True:
        rest = rest[position:].lstrip()
        quoted = _QUOTED.match(rest)
        if quoted:
            found.append(_unquoted(quoted[0]))
            position = quoted.end()
        else:
            position = rest.find(",") if "," in rest else len(rest)
            found.append(rest[:position].strip())
        after = rest[position:].lstrip()
        if not after:
            break
        if not after.startswith(","):
            raise RuleError(f"'{name} one of': values are written with commas between them")
        rest, position = after[1:], 0
    if not all(found):
        raise RuleError(f"'{name} one of': a value is empty")
    return found


def _written(value: str) -> str:
    if _PLAIN.fullmatch(value) and not _READ_OTHERWISE.match(value) and not _AND.search(value):
        return value
    return "'" + value.replace("'", "''") + "'"


def _unquoted(text: str) -> str:
    quote = text[0]
    return text[1:-1].replace(quote * 2, quote)
