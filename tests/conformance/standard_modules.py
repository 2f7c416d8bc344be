"""The standard's own tables (PS3.3) of IODs and modules, from the package `dicom-standard`."""

from __future__ import annotations

import json
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from pydicom.datadict import keyword_for_tag


@cache
def _standard(name: str) -> list[dict[str, Any]]:
    found = metadata.distribution("dicom-standard")
    [path] = [one for one in found.files or () if one.name == f"{name}.json"]
    return json.loads(Path(str(found.locate_file(path))).read_text("utf-8"))


def iod(sop_class_uid: str) -> tuple[str, str]:
    """Return name and identifier of a class's IOD."""
    [name] = [row["ciod"] for row in _standard("sops") if row["id"] == sop_class_uid]
    [identifier] = [row["id"] for row in _standard("ciods") if row["name"] == name]
    return name, identifier


def modules(sop_class_uid: str, keywords: set[str]) -> list[list[str]]:
    """Return entity, name and usage of each module that is mandatory or has attributes here."""
    names = {row["id"]: row["name"] for row in _standard("modules")}
    tags = _top_level()
    identifier = iod(sop_class_uid)[1]
    seen: set[str] = set()
    rows: list[list[str]] = []
    for row in _standard("ciod_to_modules"):
        if row["ciodId"] != identifier:
            continue
        here = (tags.get(row["moduleId"], set()) & keywords) - seen
        if row["usage"] == "M" or here:
            rows.append([row["informationEntity"], names[row["moduleId"]], row["usage"]])
            seen |= here
    return rows


@cache
def _top_level() -> dict[str, set[str]]:
    """Return the keywords of each module's own attributes."""
    found: dict[str, set[str]] = {}
    for row in _standard("module_to_attributes"):
        if row["path"].count(":") == 1 and "x" not in row["path"].rpartition(":")[2]:
            tag = int(row["path"].rpartition(":")[2], 16)
            found.setdefault(row["moduleId"], set()).add(keyword_for_tag(tag))
    return found
