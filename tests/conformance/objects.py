"""What is in the objects that are created: each attribute, when it is there, and whence it comes.

Nothing of it is written by hand. The study of the golden files is composed five times: as it is; of
another source; with another configuration; with another answer; and of a source that has only what
it must have. What follows the source is the source's, what follows the configuration is the
configuration's, what follows neither is fixed, and the rest is computed. The modules are those of
the standard's tables that have the attributes.

It is kept in ``gatekeeper/conformance/objects.json``, which the annex of the statement is made
from: ``make golden``. A test makes it anew and compares.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from conformance import variants
from conformance.standard_modules import iod, modules
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from gatekeeper import __version__
from gatekeeper.conformance import objects
from gatekeeper.results import codes
from gatekeeper.results.assessment import StudyAssessment
from gatekeeper.results.kinds import CLASSES, KINDS
from gatekeeper.work.compose import compose
from gatekeeper.work.stages import Stages

FILE = Path(objects.__file__).with_name("objects.json")

Found = dict[tuple[str, ...], set[str]]
"""Keywords down to an attribute -> its values in all items; codes are one text."""

_BULK = frozenset({"OB", "OW", "OF", "OD", "OL", "OV", "UN"})
_CODE = {"CodeValue", "CodingSchemeDesignator", "CodeMeaning"}
_NEVER_THE_SOURCES = frozenset(
    [
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
        "PlanarConfiguration",
        "Modality",
        "InstanceNumber",
        "SeriesNumber",
        "SOPClassUID",
        "SOPInstanceUID",
        "SeriesInstanceUID",
        "ImageType",
        "ImagesInAcquisition",
    ]
)
_OF_THE_TEXT = frozenset({"SpecificCharacterSet"})
_OF_THE_SCAN = frozenset(
    [
        "PatientOrientation",
        "LossyImageCompression",
        "SegmentLabel",
        "UnformattedTextValue",
        "RescaleType",
        "BoundingBoxTextHorizontalJustification",
        "RecognizableVisualFeatures",
        "FrameLaterality",
        "DimensionOrganizationType",
    ]
)
_FIXED_NUMBERS = frozenset(
    [
        "SamplesPerPixel",
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
        "PlanarConfiguration",
        "GraphicLayerOrder",
        "GraphicLayerRecommendedDisplayGrayscaleValue",
        "GraphicDimensions",
    ]
)
_BULK_VALUE, _TREE = "bulk", "content tree"


def description() -> dict[str, Any]:
    """Return what is in the objects of each kind, as the file has it."""
    studies = {
        "source": variants.other_source(),
        "site": variants.other_site(),
        "answer": variants.other_answer(),
        "least": variants.least(),
    }
    made = {"plain": _plain()} | {name: _made(of) for name, of in studies.items()}
    tables = {name: {kind: _flat(one) for kind, one in of.items()} for name, of in made.items()}
    sources = [_of_source(variants.plain()), _of_source(studies["source"])]
    return {
        kind: {
            "iod": iod(CLASSES[kind])[0],
            "modules": modules(CLASSES[kind], {path[0] for path in tables["plain"][kind]}),
            "attributes": _attributes({name: of[kind] for name, of in tables.items()}, sources),
        }
        for kind in CLASSES
    }


def written() -> str:
    """Return the description as its file has it: one line for each attribute and code."""
    kinds = description()
    public, _ = coded()
    lines = ['{"kinds": {']
    for place, (kind, found) in enumerate(kinds.items()):
        lines.append(f'{"," if place else ""}"{kind}": {{"iod": {json.dumps(found["iod"])},')
        lines.append(f'"modules": {_lines(found["modules"])},')
        lines.append(f'"attributes": {_lines(found["attributes"])}}}')
    lines.append(f'}},\n"codes": {_lines(public)}}}')
    return "\n".join(lines) + "\n"


def _lines(rows: Sequence[Any]) -> str:
    return "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]"


def write() -> None:
    """Make the file anew."""
    FILE.write_text(written(), encoding="utf-8")


def coded() -> tuple[list[list[str]], list[str]]:
    """Return every code of a public scheme in the objects, and every template identifier."""
    found: set[tuple[str, str, str]] = set()
    templates: set[str] = set()
    for one in _plain().values():
        for element in one.iterall():
            if element.keyword == "TemplateIdentifier":
                templates.add(str(element.value))
            for item in element.value if element.VR == "SQ" else ():
                if {part.keyword for part in item} >= _CODE:
                    scheme = str(item.CodingSchemeDesignator)
                    found.add((scheme, str(item.CodeValue), str(item.CodeMeaning)))
    public = sorted(one for one in found if one[0] != codes.SCHEME)
    return [list(one) for one in public], sorted(templates)


def private_elements() -> list[str]:
    """Return the tags of private elements in the objects, at any depth."""
    return [
        str(element.tag)
        for one in _plain().values()
        for element in one.iterall()
        if element.tag.is_private
    ]


def _of_source(studies: Sequence[StudyAssessment]) -> dict[str, set[str]]:
    """Return the values of each attribute of the source images."""
    found: dict[str, set[str]] = {}
    for header in studies[0].series[0].source.headers:
        for element in header:
            found.setdefault(element.keyword, set()).add(_value(element))
    return found


@cache
def _plain() -> dict[str, Dataset]:
    return _made(variants.plain())


def _made(studies: Sequence[StudyAssessment]) -> dict[str, Dataset]:
    """Return the first object of each kind."""
    found: dict[str, Dataset] = {}
    for study in studies:
        for kind, made in compose(study, tuple(KINDS), "none", Stages()):
            found.setdefault(kind, made)
    return found


def _flat(dataset: Dataset) -> Found:
    found: Found = {}
    for path, value in _values(dataset, ()):
        found.setdefault(path, set())
        if value is not None:
            found[path].add(value)
    return found


def _values(
    dataset: Dataset, above: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], str | None]]:
    for element in dataset:
        path = (*above, element.keyword)
        if element.VR != "SQ":
            yield path, _value(element)
        elif element.keyword == "ContentSequence":
            yield path, _TREE
        elif not element.value:
            yield path, ""
        elif all({one.keyword for one in item} == _CODE for item in element.value):
            for item in element.value:
                yield path, f"({item.CodeValue}, {item.CodingSchemeDesignator}, {item.CodeMeaning})"
        else:
            yield path, None
            for item in element.value:
                yield from _values(item, path)


def _value(element: DataElement) -> str:
    if element.VR in _BULK:
        return _BULK_VALUE
    value: Any = element.value
    parts = value if element.VM > 1 else [value]
    return "" if value is None else "\\".join(str(part) for part in parts)


def _attributes(
    tables: Mapping[str, Found], sources: Sequence[Mapping[str, set[str]]]
) -> list[list[str | int]]:
    """Return depth, keyword, presence, source and fixed value of each attribute, in order."""
    plain, least = tables["plain"], tables["least"]
    paths = [*plain, *(path for path in least if path not in plain)]
    rows: list[list[str | int]] = []
    for path in paths:
        source, value = _source(path, tables, sources)
        rows.append(
            [len(path) - 1, path[-1], _presence(path, plain, least, tables["site"]), source, value]
        )
    return rows


def _presence(path: tuple[str, ...], plain: Found, least: Found, site: Found) -> str:
    if path not in plain:
        return objects.ELSE
    if path not in least:
        return objects.SOMETIMES
    if path not in site:
        return objects.CONFIGURED
    return objects.MAYBE_EMPTY if least[path] == {""} != plain[path] else objects.ALWAYS


def _source(
    path: tuple[str, ...], tables: Mapping[str, Found], sources: Sequence[Mapping[str, set[str]]]
) -> tuple[str, str]:
    """Return whence an attribute's value comes, and the value where it is fixed."""
    here = tables["plain"].get(path, tables["least"].get(path, set()))
    value = ""
    if not here:
        found = ""
    elif _follows_source(path, tables, sources):
        found = objects.SOURCE
    elif path[-1] in _OF_THE_TEXT or any(__version__ in one for one in here):
        found = objects.COMPUTED
    elif (
        path in tables["plain"]
        and tables["site"].get(path) != here
        # UIDs are drawn from everything that shapes the bytes, settings among it.
        and not path[-1].endswith("UID")
    ):
        found = objects.SITE
    elif any(tables[name].get(path, here) != here for name in ("source", "site", "answer")):
        found = objects.COMPUTED
    elif here == {""}:
        found = objects.EMPTY
    elif _may_be_fixed(path[-1], here):
        found, value = objects.FIXED, "; ".join(sorted(here))
    else:
        found = objects.COMPUTED
    return found, value


def _may_be_fixed(keyword: str, values: set[str]) -> bool:
    """Return whether what is the same in all five studies is so by design.

    Their geometry is the same, so that numbers, lengths and places of it are.
    """
    if keyword in _OF_THE_SCAN or values & {_BULK_VALUE, _TREE}:
        return False
    if dictionary_VR(keyword) in {"CS", "LO", "SH", "ST", "LT", "AT", "SQ"}:
        return True
    return len(values) == 1 and (keyword.endswith("UID") or keyword in _FIXED_NUMBERS)


def _follows_source(
    path: tuple[str, ...], tables: Mapping[str, Found], sources: Sequence[Mapping[str, set[str]]]
) -> bool:
    keyword = path[-1]
    if keyword in _NEVER_THE_SOURCES and len(path) == 1:
        return False
    if keyword == "StudyInstanceUID" or path[0] in variants.sequences("1"):
        return True
    named = keyword.removeprefix("Referenced")
    pairs = zip(("plain", "source"), sources, strict=True)
    return all(
        tables[name].get(path, set()) <= source.get(named, set()) and path in tables[name]
        for name, source in pairs
    )


if __name__ == "__main__":
    write()
