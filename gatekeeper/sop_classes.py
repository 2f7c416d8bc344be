"""SOP classes by name: what a node may send and is sent, as an administrator writes it.

An entry is a UID, a keyword of PS3.6 (``MRImageStorage``) or the name of a group (``MR``,
``images``). Groups are read off the standard's own names, so that they grow with it. No entry at
all means every class.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

from pydicom._uid_dict import UID_dictionary

from gatekeeper.errors import GatekeeperError, IdentifierError
from gatekeeper.identifiers import Uid

ALL = "all"
GROUPS: dict[str, str] = {
    "images": r"Image Storage",
    "MR": r"\bMR\b",
    "CT": r"\bCT\b",
    "CR": r"Computed Radiography",
    "DX": r"Digital X-Ray",
    "MG": r"Mammography|Breast",
    "US": r"Ultrasound",
    "NM": r"Nuclear Medicine",
    "PT": r"Positron|\bPET\b",
    "XA": r"X-Ray Angiographic|X-Ray Radiofluoroscopic|\bXRF?\b|\bXA\b|X-Ray 3D",
    "SC": r"Secondary Capture",
    "SR": r"\bSR\b|Key Object|Report",
    "SEG": r"Segmentation",
    "PR": r"Presentation State",
    "RT": r"^RT ",
}
"""Name -> what the names of its classes have in them."""


class UnknownSopClassError(GatekeeperError):
    """Neither a UID, nor a keyword of the standard, nor a group."""


def parse(entries: Iterable[str]) -> tuple[str, ...]:
    """Return entries as they are kept, each once; empty when one of them is ``all``.

    Raises:
        UnknownSopClassError: if one is none.
    """
    found = [_parsed(entry.strip()) for entry in entries]
    return () if ALL in found else tuple(dict.fromkeys(found))


def expand(entries: Iterable[str]) -> frozenset[str] | None:
    """Return the SOP Class UIDs that entries of `parse` stand for, None for all classes."""
    found = [_members(entry) for entry in entries]
    return frozenset().union(*found) if found else None


def takes(entries: Iterable[str], sop_class_uid: str) -> bool:
    """Return whether a class is among those that the entries stand for."""
    allowed = expand(entries)
    return allowed is None or sop_class_uid in allowed


def name_of(sop_class_uid: str) -> str:
    """Return the standard's name of a class without ``Storage``, the UID for one without."""
    known = UID_dictionary.get(sop_class_uid)
    name = known[0] if known else ""
    return name.partition(" Storage")[0] or sop_class_uid


def _parsed(entry: str) -> str:
    groups = {name.lower(): name for name in (*GROUPS, ALL)}
    if entry.lower() in groups:
        return groups[entry.lower()]
    if entry in _keywords():
        return entry
    try:
        return str(Uid.parse(entry))
    except IdentifierError:
        raise UnknownSopClassError(
            f"no SOP class {entry!r}: neither a UID, nor a keyword of PS3.6 such as "
            f"MRImageStorage, nor one of {', '.join((*GROUPS, ALL))}"
        ) from None


@functools.cache
def _members(entry: str) -> frozenset[str]:
    if entry in GROUPS:
        pattern = re.compile(GROUPS[entry])
        return frozenset(uid for uid, name in _storage() if pattern.search(name))
    return frozenset({_keywords().get(entry, entry)})


@functools.cache
def _keywords() -> dict[str, str]:
    return {
        keyword: uid
        for uid, (_name, kind, _info, _retired, keyword) in UID_dictionary.items()
        if kind == "SOP Class" and keyword
    }


def _storage() -> list[tuple[str, str]]:
    return [
        (uid, name)
        for uid, (name, kind, *_rest) in UID_dictionary.items()
        if kind == "SOP Class" and "Storage" in name
    ]
