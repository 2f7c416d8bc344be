"""Document: the dynamic configuration as plain JSON, in one canonical form with a digest.

A document has sections, a section items, an item keys. What is at its default is left out, and so
is a section without items: a new column or a new section changes no document.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Item = dict[str, Any]
Items = dict[str, Item]
Document = dict[str, Items]


def canonical(value: Any) -> bytes:
    """Return the one way in which a document, or a part of one, is written: JSON, keys in order.

    Raises:
        ValueError: if it holds NaN or infinity.
    """
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def digest_of(document: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the canonical form, lower-case hexadecimal."""
    return hashlib.sha256(canonical(document)).hexdigest()


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that differs between two documents.

    Attributes:
        section: of the document.
        item: name within the section.
        key: within the item; empty where the whole item came or went.
        before: in the first document; None where it has none.
        after: in the second document, likewise.
    """

    section: str
    item: str
    key: str
    before: Any
    after: Any


def differences(before: Document, after: Document) -> tuple[Difference, ...]:
    """Return what differs, in the order of sections, items and keys; nothing for equal ones."""
    return tuple(
        one
        for section in sorted({*before, *after})
        for one in _of_section(section, before.get(section, {}), after.get(section, {}))
    )


def _of_section(section: str, before: Items, after: Items) -> list[Difference]:
    found: list[Difference] = []
    for item in sorted({*before, *after}):
        old, new = before.get(item), after.get(item)
        if old is None or new is None:
            found.append(Difference(section, item, "", old, new))
            continue
        found += [
            Difference(section, item, key, old.get(key), new.get(key))
            for key in sorted({*old, *new})
            if canonical(old.get(key)) != canonical(new.get(key))
        ]
    return found
