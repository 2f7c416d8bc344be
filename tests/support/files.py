"""Finding DICOM files in folders of real data."""

from __future__ import annotations

from pathlib import Path


def is_part10(path: Path) -> bool:
    """Return whether the file has the preamble of PS3.10 7.1."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def dicom_files(folder: Path) -> list[Path]:
    """Return the Part 10 files below a folder, in the order of their paths."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and is_part10(path)]
