"""Golden files: every attribute of one object of each kind, as it was when last looked at.

A file has one line for each attribute as a reader of the DICOM file gets it: path, value
representation and value. Items are counted from 1, codes are one line, bulk values are their length
and SHA-256. `report-2d`,
`report-enhanced` and `report-german` list only what differs from `report`.

UIDs are compared like all else: they say that an object under a known UID still has its bytes. So
a change of what results say shows twice, and is not done before `uids.RENDERER` is raised. As UIDs
hold the version, a release makes new files too; `version.txt` names whose they are.

Left out:

- File Meta Information Group Length, which pydicom puts there on writing.
- The pixels of pictures with letters on them, but for their length: the shape of letters is
  Pillow's and its FreeType's. Of a heatmap on whose slice no region is numbered, the rows that
  show the source are compared; what is below them is the legend.

Attributes with a version (Software Versions, Implementation Version Name) are compared: the
versions in them are ours and the bundle's, never a library's. Numbers are compared to the digit,
as those of the study are exact in binary.

After a change that is meant, and looked at: ``make golden``. Nothing else writes these files.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from results.golden_study import SHAPE, assessed_study, unassessed_study

from gatekeeper import __version__
from gatekeeper.results.catalogue import read as read_catalogue
from gatekeeper.results.common import to_bytes
from gatekeeper.results.kinds import KINDS
from gatekeeper.results.uids import RENDERER
from gatekeeper.work.compose import compose, in_language
from gatekeeper.work.stages import Stages

FOLDER = Path(__file__).parent / "golden"
VERSION = FOLDER / "version.txt"
GERMAN = "report-german"
LIKE = {"report-2d": "report", "report-enhanced": "report", GERMAN: "report"}
"""Object -> the object that its file is written against."""
_KEPT = {"heatmap-1": "heatmap", "heatmap-2": "heatmap-region"}
"""Heatmaps that have a file; the other three slices are like one of these."""
_LETTERS = ("montage", "heatmap", "heatmap-region")
_BULK = frozenset({"OB", "OW", "OF", "OD", "OL", "OV", "UN"})
_CODE = ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
_ABSENT = "absent"
_SHORT = 16
"""Bytes of a bulk value that is shown itself."""

Attributes = dict[str, str]
"""Path of an attribute -> its value representation and value."""


def version() -> str:
    """Return what the UIDs hold of the program."""
    return f"version {__version__}, renderer {RENDERER}\n"


def objects() -> dict[str, Dataset]:
    """Return one object of each kind, written and read back, by the name of its file."""
    found: dict[str, Dataset] = {}
    for study in (assessed_study(), unassessed_study()):
        heatmaps = 0
        for kind, made in compose(study, tuple(KINDS), "none", Stages()):
            heatmaps += kind == "heatmap"
            name = _KEPT.get(f"heatmap-{heatmaps}", "") if kind == "heatmap" else kind
            if name:
                found[name] = dcmread(io.BytesIO(to_bytes(made)))
    german = in_language(assessed_study(), read_catalogue("de"))
    for _, made in compose(german, ("report",), "none", Stages()):
        found[GERMAN] = dcmread(io.BytesIO(to_bytes(made)))
    return found


def attributes(name: str, made: Dataset) -> Attributes:
    """Return what a golden file of this name says of an object."""
    found = dict(_flat(made.file_meta)) | dict(_flat(made))
    found.pop("FileMetaInformationGroupLength", None)
    if name in _LETTERS:
        found["PixelData"] = f"{made['PixelData'].VR} {len(made.PixelData)} bytes"
    if name == "heatmap":
        above = made.PixelData[: 3 * SHAPE[1] * SHAPE[2]]
        found["PixelData"] += f", above the legend {_digest(above)}"
    return found


def read(name: str) -> Attributes:
    """Return the attributes in a golden file, and in the one that it is written against."""
    lines = (FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    found = read(LIKE[name]) if name in LIKE else {}
    for line in lines:
        path, _, value = line.partition(" ")
        found[path] = value
    return {path: value for path, value in found.items() if value != _ABSENT}


def differences(golden: Attributes, found: Attributes) -> list[str]:
    """Return a line for each attribute that differs, its path first."""
    return [
        f"{path}: golden {golden.get(path, _ABSENT)}, now {found.get(path, _ABSENT)}"
        for path in sorted(golden.keys() | found.keys())
        if golden.get(path) != found.get(path)
    ]


def write() -> None:
    """Make all golden files anew."""
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.txt"):
        old.unlink()
    made = {name: attributes(name, one) for name, one in objects().items()}
    for name, found in made.items():
        base: Mapping[str, str] = made[LIKE[name]] if name in LIKE else {}
        lines = [
            f"{path} {found.get(path, _ABSENT)}\n"
            for path in (*found, *(base.keys() - found.keys()))
            if found.get(path) != base.get(path)
        ]
        (FOLDER / f"{name}.txt").write_text("".join(lines), encoding="utf-8")
    VERSION.write_text(version(), encoding="utf-8")


def _flat(dataset: Dataset, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield path and text of every attribute, in the order of tags."""
    for element in dataset:
        path = prefix + (element.keyword or str(element.tag).replace(" ", ""))
        if element.VR != "SQ":
            yield path, f"{element.VR} {_value(element)}"
            continue
        yield path, f"SQ {len(element.value)}"
        for number, item in enumerate(element.value, start=1):
            if tuple(one.keyword for one in item) == _CODE:
                values = ", ".join(_value(one) for one in item)
                yield f"{path}[{number}]", f"code {values}"
            else:
                yield from _flat(item, f"{path}[{number}].")


def _value(element: DataElement) -> str:
    value: Any = element.value  # of any type that a representation has
    if element.VR in _BULK:
        return value.hex() if len(value) <= _SHORT else f"{len(value)} bytes {_digest(value)}"
    parts = value if element.VM > 1 else [value]
    return "\\".join(repr(str(part))[1:-1] for part in parts) if value is not None else ""


def _digest(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()


if __name__ == "__main__":
    write()
