"""Text of the results: our own in ASCII, the source's in its character set.

The source's character set is kept as long as all text of the object can be written in it; an
object whose text needs more is written in UTF-8.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydicom.charset import convert_encodings, python_encoding
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from gatekeeper.results.letters import plain

__all__ = ["needs_character_set", "plain", "settle_character_set", "source_character_set"]

_UTF8 = "ISO_IR 192"


def source_character_set(source: Dataset) -> str | list[str] | None:
    """Return SpecificCharacterSet of `source`; UTF-8 when it names one that does not exist."""
    value: Any = source.get("SpecificCharacterSet")
    if value is None or value == "":
        return None
    terms = [str(part) for part in value] if isinstance(value, MultiValue) else [str(value)]
    if any(term not in python_encoding for term in terms):
        return _UTF8
    return terms if len(terms) > 1 else terms[0]


def needs_character_set(target: Dataset) -> bool:
    """Tell whether a data set has text beyond ASCII and states no character set for it."""
    return not target.get("SpecificCharacterSet") and not all(
        str(element.value).isascii() for element in target
    )


def settle_character_set(target: Dataset, foreign: Iterable[str]) -> None:
    """Write `target` in UTF-8 if one of `foreign`, texts from elsewhere, needs it.

    Args:
        target: holds the attributes copied from the source, and only those.
        foreign: what else will be written into it.
    """
    terms: Any = target.get("SpecificCharacterSet")
    if needs_character_set(target):
        # The source broke the rule: text that needs a character set, and none stated. Its bytes
        # stay as they are, so that an archive reads our copy of a name as it reads the name.
        return
    encodings = convert_encodings(terms or "ISO_IR 6")
    if not all(_encodable(text, encodings) for text in foreign):
        target.SpecificCharacterSet = _UTF8


def _encodable(text: str, encodings: Iterable[str]) -> bool:
    known = list(encodings)
    return all(any(_has(character, encoding) for encoding in known) for character in set(text))


def _has(character: str, encoding: str) -> bool:
    # pydicom writes the default repertoire as Latin-1; DICOM allows it only ASCII.
    if encoding == "iso8859":
        return character.isascii()
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
