"""The standard as `dicom-validator` needs it, from the published tables of `dicom-standard`.

`dicom-validator` reads its tables from the standard's own pages, which no package carries. The
package `dicom-standard` (0.1.0, MIT) has PS3.3's tables of edition 2020b as JSON: a row for each
module of an IOD, and one for each attribute with its place, type and text. The validator's own
parser gets the conditions of modules and of types 1C and 2C from the text.

The content of structured reports is left to PixelMed's validator: its rows list what the value
types (PS3.3 C.17.3.2) have one after the other, as if each item had all of it.
"""

from __future__ import annotations

import html
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dicom_validator.spec_reader.condition import ConditionType
from dicom_validator.spec_reader.condition_parser import ConditionParser
from dicom_validator.validator.dicom_info import DicomInfo
from pydicom._dicom_dict import DicomDictionary
from pydicom.uid import (
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    KeyObjectSelectionDocumentStorage,
    ParametricMapStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

_UNJUDGED = "sr-document-content"
_FUNCTIONAL_GROUPS = ("(5200,9229)", "(5200,9230)")
_SENTENCE_END = re.compile(r"</(?:p|dd|li)>")
_MARKUP = re.compile(r"<[^>]+>")
_ENUMERATED = re.compile(
    r"Enumerated Values(?: for Value (\d))?:?\s*</strong>\s*</p>\s*<dl>(.*?)</dl>", re.DOTALL
)
_TERM = re.compile(r"<dt>\s*<span>(.*?)</span>", re.DOTALL)

Row = Mapping[str, Any]
SOP_CLASSES = (
    SecondaryCaptureImageStorage,
    SegmentationStorage,
    ParametricMapStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    KeyObjectSelectionDocumentStorage,
    BasicTextSRStorage,
    EnhancedSRStorage,
    ComprehensiveSRStorage,
    Comprehensive3DSRStorage,
)
"""Those of the results."""

Table = dict[str, Any]
"""What `dicom-validator` reads: nested dictionaries of strings."""


def standard_tables(folder: Path) -> DicomInfo:
    """Return the tables of `SOP_CLASSES`.

    Args:
        folder: with the JSON files of `dicom-standard`.

    Raises:
        OSError: when a file is not there.
    """
    dictionary = _dictionary()
    parser = ConditionParser(dictionary)
    names = {row["name"]: row["id"] for row in _rows(folder, "ciods")}
    iod_of = {row["id"]: names[row["ciod"]] for row in _rows(folder, "sops")}
    modules = _grouped(_rows(folder, "ciod_to_modules"), "ciodId")
    macros = _grouped(_rows(folder, "ciod_to_fg_macros"), "ciodId")
    iods: Table = {}
    for uid in SOP_CLASSES:
        iod = iod_of[uid]
        iods[uid] = {
            "title": iod,
            "modules": {
                row["moduleId"]: _use(row, row["moduleId"], parser) for row in modules[iod]
            },
            "group_macros": {
                # Some macros have a module's name.
                row["macroId"]: _use(row, f"macro {row['macroId']}", parser)
                for row in macros[iod]
            },
        }
    wanted = {
        use["ref"]
        for iod in iods.values()
        for use in (*iod["modules"].values(), *iod["group_macros"].values())
    }
    rows = _grouped(_rows(folder, "module_to_attributes"), "moduleId")
    for name, found in _grouped(_rows(folder, "macro_to_attributes"), "macroId").items():
        rows[f"macro {name}"] = found
    attributes = {name: _attributes(rows[name], parser, dictionary) for name in wanted}
    if _UNJUDGED in attributes:
        known = attributes[_UNJUDGED]
        attributes[_UNJUDGED] = {
            tag: {"name": one["name"], "type": "3"} for tag, one in known.items()
        }
    return DicomInfo(dictionary, iods, attributes)


def _rows(folder: Path, name: str) -> list[Row]:
    return json.loads((folder / f"{name}.json").read_text("utf-8"))


def _grouped(rows: Iterable[Row], key: str) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row[key]].append(row)
    return groups


def _dictionary() -> Table:
    """Return pydicom's dictionary as the validator reads PS3.6."""
    return {
        _tag(f"{tag:08x}"): {
            "name": name,
            "vr": vr,
            "vm": vm,
            "prop": "RET" if retired else "",
        }
        for tag, (vr, vm, name, retired, _) in DicomDictionary.items()
    }


def _tag(digits: str) -> str:
    return f"({digits[:4].upper()},{digits[4:].upper()})"


def _use(row: Row, reference: str, parser: ConditionParser) -> Table:
    """Return how an IOD uses a module; without its condition where that cannot be parsed."""
    use = {"ref": reference, "use": row["usage"]}
    if row["usage"] == "C":
        use["cond"] = parser.parse(f"C - {row['conditionalStatement'] or ''}").result_dict()
    return use


def _attributes(rows: Iterable[Row], parser: ConditionParser, dictionary: Table) -> Table:
    """Return the attributes of a module, those of sequence items within their sequence's."""
    root: Table = {}
    for row in sorted(rows, key=lambda row: row["path"].count(":")):
        *sequences, last = row["path"].split(":")[1:]
        place: Table | None = root
        for sequence in sequences:
            holder = None if place is None else place.get(_tag(sequence))
            place = None if holder is None else holder.setdefault("items", {})
        # Repeating groups are written with an x.
        if place is not None and "x" not in last:
            place.setdefault(_tag(last), _attribute(row, _tag(last), parser, dictionary))
    for tag in _FUNCTIONAL_GROUPS:
        if tag in root:
            root[tag]["items"] = {"include": [{"ref": "FuncGroup"}]}
    return root


def _attribute(row: Row, tag: str, parser: ConditionParser, dictionary: Table) -> Table:
    known = dictionary.get(tag, {"name": tag, "vr": ""})
    found: Table = {"name": known["name"], "type": row["type"]}
    text = row["description"] or ""
    if found["type"] not in ("1", "1C", "2", "2C"):
        found["type"] = "3"
    if found["type"] in ("1C", "2C"):
        condition = parser.parse(_words(text))
        if condition.type != ConditionType.UserDefined:
            found["cond"] = condition.result_dict()
    if known["vr"] == "CS" and (terms := _enumerated(text)):
        found["enums"] = terms
    return found


def _words(text: str) -> str:
    """Return a description without its markup, a full stop after each paragraph."""
    plain = html.unescape(_MARKUP.sub(" ", _SENTENCE_END.sub(". ", text)))
    return re.sub(r"\s+", " ", plain).replace(" .", ".").strip()


def _enumerated(text: str) -> list[Table]:
    found: list[Table] = []
    for place, terms in _ENUMERATED.findall(text):
        values = [html.unescape(term).strip() for term in _TERM.findall(terms)]
        if values:
            found.append({"val": values} | ({"index": int(place)} if place else {}))
    return found
