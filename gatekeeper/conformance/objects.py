"""Objects created here: the annexes on their attributes, codes and templates.

`objects.json` lies beside this module. It is made by composing a study, and a test makes it anew:
no row of it is written by hand. An attribute that every kind has in the same way stands in one
table for all.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from pydicom.datadict import dictionary_description, dictionary_VR, tag_for_keyword

from gatekeeper.conformance.document import Code, Section, Table
from gatekeeper.results import codes, kinds

ALWAYS = "always"
MAYBE_EMPTY = "always; empty where the source has none"
SOMETIMES = "where the source has what it needs"
CONFIGURED = "where it is configured"
ELSE = "where the source lacks what another needs"

SOURCE = "source"
SITE = "configuration"
COMPUTED = "computed"
FIXED = "fixed"
EMPTY = "empty"


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of a kind of object.

    Attributes:
        path: keywords of the sequences that it is in, and its own.
        presence: when it is there.
        source: whence its value comes; empty for a sequence with items.
        value: that it always has, where it is fixed.
    """

    path: tuple[str, ...]
    presence: str
    source: str
    value: str

    @property
    def cells(self) -> tuple[str, ...]:
        """Name, tag, VR, presence, and source with value."""
        tag = tag_for_keyword(self.path[-1]) or 0
        name = ">" * (len(self.path) - 1) + dictionary_description(tag)
        value = f"{self.source}: {self.value}" if self.value else self.source
        number = Code(f"({tag >> 16:04X},{tag & 0xFFFF:04X})")
        return name, number, dictionary_VR(tag), self.presence, value


@dataclass(frozen=True, slots=True)
class Made:
    """A kind of object.

    Attributes:
        iod: name of its IOD.
        modules: information entity, module and usage (M, C or U) of each.
        attributes: in the order of the object.
    """

    iod: str
    modules: tuple[tuple[str, str, str], ...]
    attributes: tuple[Attribute, ...]


def read() -> dict[str, Made]:
    """Return every kind of object that is created."""
    return {
        kind: Made(
            found["iod"],
            tuple((entity, name, usage) for entity, name, usage in found["modules"]),
            tuple(_attributes(found["attributes"])),
        )
        for kind, found in _stated()["kinds"].items()
    }


def public_codes() -> list[tuple[str, str, str]]:
    """Return scheme, value and meaning of every code of a public scheme that may be written."""
    defined = [(one.scheme_designator, one.value, one.meaning) for one in codes.public()]
    return sorted({*defined, *(tuple(one) for one in _stated()["codes"])})


def created() -> Section:
    """Return the annex on IODs."""
    made = read()
    common = _common(made)
    return Section(
        "Objects created here",
        (
            (
                "Every object is Explicit VR Little Endian and of a standard SOP class: there are "
                "no private attributes, no private SOP classes, and nothing that extends or "
                "specializes a standard one. Source of a value: the source image or its study; "
                "the configuration; computed, or generated, by the program; or fixed, with the "
                "value. Usage of a module: M mandatory, C conditional, U user option."
            ),
            (
                "A conformance statement lists what may be there. Which of the conditional "
                "attributes are, follows from the source: identifiers are copied to the letter, "
                "other values where they are valid."
            ),
        ),
        (
            Section(
                "Attributes of every object",
                (Table("Attributes of every object", _HEAD, tuple(one.cells for one in common)),),
            ),
            *(_section(kind, one, set(common)) for kind, one in made.items()),
        ),
    )


def coded() -> Section:
    """Return the annex on codes and templates."""
    return Section(
        "Codes, templates and context groups",
        (
            Table(
                "Templates",
                ("Template", "Name", "Used by"),
                tuple((Code(number), name, used) for number, name, used in TEMPLATES),
            ),
            Table(
                "Private codes",
                ("Code value", "Coding scheme", "Code meaning"),
                tuple(
                    (Code(code.value), Code(code.scheme_designator), code.meaning)
                    for code in codes.ALL_OURS
                ),
            ),
            (
                f"The scheme {codes.SCHEME} has the UID {codes.SCHEME_UID} and is declared in "
                "Coding Scheme Identification Sequence of every object. Codes of a level of a "
                "model begin with S_, M_ or P_ and go on with 13 letters."
            ),
            Table(
                "Standard codes",
                ("Code value", "Coding scheme", "Code meaning"),
                tuple(
                    (Code(value), Code(scheme), meaning)
                    for scheme, value, meaning in public_codes()
                ),
            ),
        ),
    )


TEMPLATES: tuple[tuple[str, str, str], ...] = (
    ("TID 1500", "Measurement Report", "report, report-2d, report-enhanced"),
    ("TID 1204", "Language of Content Item and Descendants", "every report"),
    ("TID 1001", "Observation Context", "every report"),
    ("TID 1004", "Device Observer Identifying Attributes", "every report"),
    ("TID 1600", "Image Library", "report, report-2d, report-enhanced"),
    (
        "TID 1410",
        "Planar ROI Measurements and Qualitative Evaluations",
        "report, report-2d, report-enhanced",
    ),
    ("TID 4019", "Algorithm Identification", "report, report-2d, report-enhanced"),
    ("TID 2000", "Basic Diagnostic Imaging Report", "plain-report, statement"),
    ("TID 2010", "Key Object Selection", "key-objects"),
)
"""Templates of PS3.16, and the kinds of object that follow them."""

_HEAD = ("Attribute", "Tag", "VR", "Presence", "Source")


def _section(kind: str, made: Made, common: set[Attribute]) -> Section:
    what = kinds.KINDS.get(kind, "why no series was assessed (Basic Text SR)")
    own = [one for one in made.attributes if one not in common]
    # A sequence stands before what is in it, though the sequence itself is in every object.
    needed = {one.path[:depth] for one in own for depth in range(1, len(one.path) + 1)}
    rows = tuple(one.cells for one in made.attributes if one.path in needed)
    return Section(
        f"{made.iod}: {kind}",
        (
            f"{what[0].upper()}{what[1:]}.",
            Table(f"Modules of {kind}", ("Entity", "Module", "Usage"), made.modules),
            Table(f"Attributes of {kind} besides those of every object", _HEAD, rows),
        ),
    )


def _common(made: dict[str, Made]) -> list[Attribute]:
    """Return the attributes that every kind has in the same way, with all that is in them."""
    first, *others = made.values()
    sets = [set(one.attributes) for one in others]
    return [one for one in first.attributes if all(one in of for of in sets)]


@functools.cache
def _stated() -> dict[str, Any]:
    text = (files("gatekeeper.conformance") / "objects.json").read_text(encoding="utf-8")
    return json.loads(text)


def _attributes(rows: list[list[Any]]) -> list[Attribute]:
    found: list[Attribute] = []
    above: list[str] = []
    for depth, keyword, presence, source, value in rows:
        above = [*above[:depth], keyword]
        found.append(Attribute(tuple(above), presence, source, value))
    return found
