"""QIDO-RS queries (PS3.18 section 10.6): what is asked, and what matches; nothing is read here.

Matching is that of PS3.4 C.2.2.2: single value, list of UIDs, wildcards ``*`` and ``?``, ranges of
dates and times, and an empty value matches everything. Names match whatever their case. The
attributes are those that the standard requires, and the descriptions.
"""

from __future__ import annotations

import enum
import fnmatch
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword

from gatekeeper.web.refusal import BadRequest

STUDY_UID, SERIES_UID, INSTANCE_UID = "0020000D", "0020000E", "00080018"
SOP_CLASS, MODALITY, MODALITIES = "00080016", "00080060", "00080061"
STUDY_SERIES, STUDY_INSTANCES, SERIES_INSTANCES = "00201206", "00201208", "00201209"
RETRIEVE_URL, AVAILABILITY, CHARACTER_SET = "00081190", "00080056", "00080005"

_NOT_FUZZY = (
    "The fuzzymatching parameter is not supported. Only literal matching has been performed."
)
_LONGEST_QUERY = 100
_LONGEST_VALUE = 1024
_RANGE = re.compile(r"[0-9.:]*-[0-9.:]*")
_TAG = re.compile(r"[0-9A-Fa-f]{8}")


class Level(enum.Enum):
    """What a query looks for; each level's attributes match at the levels below, too."""

    STUDY = (
        "00080020",  # Study Date
        "00080030",  # Study Time
        "00080050",  # Accession Number
        "00080090",  # Referring Physician's Name
        "00081030",  # Study Description
        "00100010",  # Patient's Name
        "00100020",  # Patient ID
        "00100030",  # Patient's Birth Date
        "00100040",  # Patient's Sex
        STUDY_UID,
        "00200010",  # Study ID
        MODALITIES,
    )
    SERIES = (
        MODALITY,
        "0008103E",  # Series Description
        SERIES_UID,
        "00200011",  # Series Number
        "00400244",  # Performed Procedure Step Start Date
        "00400245",  # Performed Procedure Step Start Time
    )
    INSTANCE = (
        SOP_CLASS,
        INSTANCE_UID,
        "00200013",  # Instance Number
        "00280008",  # Number of Frames
        "00280010",  # Rows
        "00280011",  # Columns
        "00280100",  # Bits Allocated
    )

    @property
    def tags(self) -> frozenset[str]:
        """Attributes of this level and those above."""
        wanted: list[str] = []
        for level in Level:
            wanted += level.value
            if level is self:
                break
        return frozenset(wanted)


@dataclass(frozen=True, slots=True)
class Query:
    """One query.

    Attributes:
        level: what it looks for.
        keys: what the attributes must match, by tag of eight hexadecimal digits.
        limit: most matches in the answer.
        offset: matches left out before them.
        warnings: what the answer has to say (PS3.18 10.6.3.1).
    """

    level: Level
    keys: Mapping[str, str]
    limit: int
    offset: int
    warnings: tuple[str, ...] = ()

    def uids(self, tag: str) -> frozenset[str] | None:
        """Return the UIDs that an attribute may have, None when any."""
        text = self.keys.get(tag, "")
        return frozenset(re.split(r"[\\,]", text)) if text else None

    def matches(self, attributes: Mapping[str, Any]) -> bool:
        """Return whether attributes in DICOM JSON match every key that they are asked by."""
        return all(_matches(tag, text, attributes.get(tag)) for tag, text in self.keys.items())


def parse(level: Level, parameters: Iterable[tuple[str, str]], most: int) -> Query:
    """Return the query that the parameters of a URL make.

    Args:
        level: what is looked for.
        parameters: names and values, decoded.
        most: matches that one answer may have.

    Raises:
        BadRequest: with 400 and the parameter that cannot be used.
    """
    pairs = list(parameters)
    if len(pairs) > _LONGEST_QUERY or any(len(value) > _LONGEST_VALUE for _, value in pairs):
        raise BadRequest(400, "the query is too long")
    keys: dict[str, str] = {}
    numbers = {"limit": most, "offset": 0}
    fuzzy = False
    for name, value in pairs:
        if name in numbers:
            numbers[name] = _number(name, value)
        elif name == "fuzzymatching":
            fuzzy = value == "true"
        elif name == "includefield":
            _check_fields(value)
        else:
            tag = _tag(name)
            if tag not in level.tags:
                raise BadRequest(400, f"{keyword_for_tag(int(tag, 16))} is not matched here")
            keys[tag] = value
    warnings = (_NOT_FUZZY,) if fuzzy else ()
    return Query(level, keys, min(most, numbers["limit"]), numbers["offset"], warnings)


def _check_fields(value: str) -> None:
    """Check that fields are attributes; the answer has what it always has, and no more."""
    for field in value.split(","):
        if field != "all":
            _tag(field)


def _number(name: str, value: str) -> int:
    if not value.isdecimal() or len(value) > 9:
        raise BadRequest(400, f"{name} must be a whole number")
    return int(value)


def _tag(name: str) -> str:
    found = int(name, 16) if _TAG.fullmatch(name) else tag_for_keyword(name)
    if not found or not keyword_for_tag(found):
        raise BadRequest(400, "a parameter is neither an attribute's keyword nor its tag")
    return f"{found:08X}"


def _matches(tag: str, text: str, attribute: Any) -> bool:
    if not text or text == "*":
        return True
    values = [_plain(value) for value in _values(attribute)]
    vr = dictionary_VR(int(tag, 16))
    if vr == "UI":
        wanted = re.split(r"[\\,]", text)
        return any(value in wanted for value in values)
    if vr in {"DA", "TM"} and _RANGE.fullmatch(text):
        first, _, last = text.replace(":", "").partition("-")
        # A time that is less exact than the other end of the range begins with it.
        return any(
            (not first or value >= first) and (not last or value[: len(last)] <= last)
            for value in values
        )
    if vr == "PN":
        return any(_like(value.casefold(), text.casefold()) for value in values)
    return any(_like(value, text) for value in values)


def _like(value: str, pattern: str) -> bool:
    # Square brackets mean something to fnmatch, and nothing to DICOM.
    return fnmatch.fnmatchcase(value, pattern.replace("[", "[[]"))


def _values(attribute: Any) -> list[Any]:
    found: Any = None
    if isinstance(attribute, dict):
        found = cast(dict[str, Any], attribute).get("Value")
    return cast(list[Any], found) if isinstance(found, list) else []


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return str(cast(dict[str, Any], value).get("Alphabetic", ""))
    return str(value)
