"""Values of fields, typed: from the words of a rule, and from what a header has.

Times of day, dates and ages are compared as such, numbers as decimals, so that ``1.50`` is ``1.5``.
A rule's words are refused when they are no value; a header's are then no value at all.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation

from gatekeeper.rules.fields import Field, Kind

Value = str | Decimal | date | time | datetime

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?")
_DATE = re.compile(r"(\d{4})([-.]?)(\d\d)\2(\d\d)")
_TIME = re.compile(r"(\d\d)(?::?(\d\d)(?::?(\d\d)(?:\.(\d{1,6}))?)?)?")
_DATETIME = re.compile(
    r"(\d{4})(?:-?(\d\d)(?:-?(\d\d)(?:[T ]?(\d\d(?::?\d\d(?::?\d\d(?:\.\d{1,6})?)?)?))?)?)?"
    r"(?:[+-]\d{4})?"
)
_AGE = re.compile(r"(\d{1,3})([DWMY])")
# Mean lengths of the Gregorian calendar, in days.
_DAYS = {"D": Decimal(1), "W": Decimal(7), "M": Decimal("30.436875"), "Y": Decimal("365.2425")}

_ALLOWED = {
    Kind.NUMBER: "a number",
    Kind.AGE: "an age such as 18Y, 6M, 2W or 10D (PS3.5 6.2, AS)",
    Kind.DATE: "a date, YYYY-MM-DD",
    Kind.TIME: "a time of day, HH:MM or HH:MM:SS",
    Kind.DATETIME: "a date and time, YYYY-MM-DDTHH:MM",
}


def parse(field: Field, words: str) -> Value:
    """Return what a rule says as a value of `field`.

    Raises:
        ValueError: saying what is allowed.
    """
    if field.kind is Kind.CHOICE:
        found = {choice.casefold(): choice for choice in field.choices}.get(words.casefold())
        if found is None and field.name == "weekday":
            found = {choice[:3]: choice for choice in field.choices}.get(words.casefold())
        if found is None:
            raise ValueError(f"{words!r} is none of {', '.join(field.choices)}")
        return found
    found = of_text(field.kind, words)
    if found is None:
        raise ValueError(f"{words!r} is not {_ALLOWED.get(field.kind, 'a text')}")
    return found


def of_text(kind: Kind, words: str) -> Value | None:
    """Return text as a value, None when it is none; padding does not count (PS3.5 6.2)."""
    words = words.strip(" \0")
    if not words:
        return None
    reader = _READERS.get(kind)
    return words if reader is None else reader(words)


def _number(words: str) -> Decimal | None:
    if not _NUMBER.fullmatch(words):
        return None
    try:
        return Decimal(words)
    except InvalidOperation:
        return None


def _date(words: str) -> date | None:
    found = _DATE.fullmatch(words)
    if found is None:
        return None
    try:
        return date(int(found[1]), int(found[3]), int(found[4]))
    except ValueError:
        return None


def _time(words: str) -> time | None:
    found = _TIME.fullmatch(words)
    if found is None:
        return None
    hours, minutes, seconds = (int(found[part] or 0) for part in (1, 2, 3))
    try:
        # A leap second (PS3.5 6.2, TM) is the second before it.
        return time(hours, minutes, min(seconds, 59), int((found[4] or "0").ljust(6, "0")))
    except ValueError:
        return None


def _datetime(words: str) -> datetime | None:
    """Return a DT without its offset from UTC: local time at the place that wrote it."""
    found = _DATETIME.fullmatch(words)
    if found is None:
        return None
    clock = _time(found[4] or "00")
    try:
        day = date(int(found[1]), int(found[2] or 1), int(found[3] or 1))
    except ValueError:
        return None
    return None if clock is None else datetime.combine(day, clock)


def _age(words: str) -> Decimal | None:
    """Return an AS in days."""
    found = _AGE.fullmatch(words.upper())
    return None if found is None else int(found[1]) * _DAYS[found[2]]


_READERS: dict[Kind, Callable[[str], Value | None]] = {
    Kind.NUMBER: _number,
    Kind.DATE: _date,
    Kind.TIME: _time,
    Kind.DATETIME: _datetime,
    Kind.AGE: _age,
}
