"""Finding files: DICOM ones in folders of real data, any in folders that change meanwhile."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from gatekeeper.metrics.tally_files import FOLDER


def is_part10(path: Path) -> bool:
    """Return whether the file has the preamble of PS3.10 7.1."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def dicom_files(folder: Path) -> list[Path]:
    """Return the Part 10 files below a folder, in the order of their paths."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and is_part10(path)]


def written_files(folder: Path) -> dict[Path, int]:
    """Return the sizes of the files below a folder that hold bytes, in the order of their paths.

    Others may work in the folder: what vanishes while it is looked at is not there. Tallies of
    processes are left out.
    """
    found: dict[Path, int] = {}
    for parent, _folders, names in os.walk(folder):
        for path in (Path(parent, name) for name in names):
            with contextlib.suppress(FileNotFoundError):
                found[path] = path.stat().st_size
    return {
        path: size for path, size in sorted(found.items()) if size and path.parent.name != FOLDER
    }
