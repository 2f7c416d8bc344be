"""Paging by key: a page says where it ends, and the next one begins after it.

What comes or goes meanwhile neither repeats nor leaves out what was there all the time. The place
is opaque to callers: base64url (RFC 4648) of a JSON list.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from pydantic import Field

from gatekeeper.api.fields import LARGEST_NUMBER, Answer
from gatekeeper.errors import GatekeeperError

T = TypeVar("T")


class NotAPlace(GatekeeperError):
    """A place that no page of ours ended at."""


class Page(Answer, Generic[T]):
    """A part of a list."""

    items: list[T]
    next: str | None = Field(
        description="Where the next page begins, for `after`; null when there is nothing more."
    )


def place(*key: str | float) -> str:
    """Return where a page ends, given the key of its last item."""
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


def place_after(found: Sequence[Any], limit: int, *key: str | float) -> str | None:
    """Return where the next page begins, or None if a page of so many was not full."""
    return place(*key) if len(found) == limit else None


def number_of(after: str) -> int | None:
    """Return the number that a page ended at; None for the first page.

    Raises:
        NotAPlace: if it is none.
    """
    if not after:
        return None
    key = _key(after)
    if len(key) != 1 or type(key[0]) is not int or not 0 < key[0] <= LARGEST_NUMBER:
        raise NotAPlace("'after' is not the 'next' of a page")
    return key[0]


def moment_and_text_of(after: str) -> tuple[float, str] | None:
    """Return the time and the text that a page ended at; None for the first page.

    Raises:
        NotAPlace: if it is none.
    """
    if not after:
        return None
    key = _key(after)
    if len(key) == 2 and isinstance(key[0], int | float) and isinstance(key[1], str):
        moment, text = float(key[0]), key[1]
        if math.isfinite(moment) and text.isascii() and text.isprintable():
            return moment, text
    raise NotAPlace("'after' is not the 'next' of a page")


def _key(after: str) -> list[Any]:
    try:
        padded = after + "=" * (-len(after) % 4)
        key = json.loads(base64.b64decode(padded.encode("ascii"), b"-_", validate=True))
    except (ValueError, RecursionError, OverflowError):
        raise NotAPlace("'after' is not the 'next' of a page") from None
    return key if isinstance(key, list) else []
