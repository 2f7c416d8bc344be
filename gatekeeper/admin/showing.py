"""How values are shown to people: times, lengths, sizes, numbers, and text from elsewhere."""

from __future__ import annotations

import datetime
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

from markupsafe import Markup

_NOTHING = Markup('<span class="text-body-secondary">–</span>')
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_MARKS = 3


def shown(text: object, longest: int = 96) -> str:
    """Return text from elsewhere as it may stand on a page, in one line.

    Escaping is the template's. Here goes what escaping leaves: letters that turn the direction of
    what follows or cannot be seen become U+FFFD, marks that pile up on one letter are cut, and so
    is what is longer than `longest` letters.
    """
    kept: list[str] = []
    marks = 0
    for letter in str(text):
        marks = marks + 1 if unicodedata.combining(letter) else 0
        if marks > _MARKS:
            continue
        hidden = unicodedata.category(letter) in _HIDDEN
        kept.append("\N{REPLACEMENT CHARACTER}" if hidden else letter)
        if len(kept) > longest:
            return "".join(kept[:longest]) + "…"
    return "".join(kept)


def moment(seconds: float | None) -> Markup:
    """Return a time of the database as an element with the server's local time."""
    if seconds is None:
        return _NOTHING
    local = datetime.datetime.fromtimestamp(seconds, datetime.UTC).astimezone()
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        local.isoformat(timespec="seconds"),
        local.isoformat(" ", "seconds"),
        local.strftime("%Y-%m-%d %H:%M:%S"),
    )


def ago(seconds: float | None, now: float) -> str:
    """Return how long before `now` a time was, in words."""
    return "never" if seconds is None else f"{duration(max(0.0, now - seconds))} ago"


def duration(seconds: float | None) -> str:
    """Return a length of time in its largest unit, or two."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min"
    if whole < 172800:
        return f"{whole // 3600} h"
    return f"{whole // 86400} d"


def size(number_of_bytes: float | None, decimals: int = 1) -> str:
    """Return a number of bytes for people, in powers of 1024."""
    if number_of_bytes is None:
        return "–"
    value = float(number_of_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.{decimals}f} {unit}"
        value /= 1024
    return f"{value:.{decimals}f} TiB"


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with so many significant digits."""
    return "–" if value is None else f"{value:.{digits}g}"


FILTERS: Mapping[str, Callable[..., Any]] = {
    "shown": shown,
    "moment": moment,
    "ago": ago,
    "duration": duration,
    "size": size,
    "number": number,
}
