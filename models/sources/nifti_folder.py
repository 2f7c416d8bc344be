"""A folder of NIfTI files, one scan a file, with or without a table of what is known of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from models.errors import ModelError
from models.scan import Scan, Synthetic
from models.sources.marks import normal_slices
from models.sources.nifti import read_like, read_volume
from models.sources.split import FRACTIONS, on_side, split_of
from models.sources.tables import table

TABLE = "scans.csv"
COLUMNS = (
    "file",
    "subject",
    "split",
    "site",
    "lesion",
    "label",
    "modality",
    "body_part",
    "sequence",
    "synthetic",
)
"""Columns of the table; all but `file` may be missing or empty."""
ENDINGS = (".nii.gz", ".nii")


def nifti(folder: Path, split: str) -> Iterator[Scan]:
    """Yield the scans of one split of a folder of NIfTI files, by file name.

    Without ``scans.csv`` every ``.nii`` and ``.nii.gz`` in the folder and below is a scan of its
    own subject, named after the file, and everything in it stands for normal; hidden files are
    not scans. With it, the scans are the files it lists, and:

    * ``subject``: empty, the file name;
    * ``split``: ``train``, ``calibration`` or ``dev``; empty, by `split.split_of`;
    * ``lesion``: a file on the same grid, a lesion wherever it is over 0; slices three or more
      from it stand for normal;
    * ``label``: the class of the scan. Without a lesion file, a scan with a label other than
      ``normal`` has no slice that stands for normal;
    * ``modality``, ``body_part``, ``sequence``: see `Volume`; a NIfTI file does not state them, and
      where the table does not either, the scan is ``MR`` of an unstated part and contrast;
    * ``synthetic``: what drew the scan, as `models.scan.Synthetic` writes it; empty, a scanner.

    Raises:
        ModelError: if a file or the table breaks a rule, or a subject is on two sides.
    """
    rows = _listed(folder) if (folder / TABLE).is_file() else _found(folder)
    for row in sorted(rows, key=lambda row: row["file"]):
        if split in (row["split"], "all") or (not row["split"] and on_side(row["subject"], split)):
            yield _scan(folder, row)


def _scan(folder: Path, row: dict[str, str]) -> Scan:
    volume = read_volume(
        folder / row["file"], row["modality"] or "MR", row["body_part"], row["sequence"]
    )
    lesion = np.zeros(volume.array.shape, dtype=np.bool_)
    normal = np.full(len(volume.array), row["label"] in {"", "normal"})
    if row["lesion"]:
        lesion = read_like(folder / row["lesion"], volume) > 0
        normal = normal_slices(lesion)
    return Scan(
        _name(row["file"]),
        row["subject"],
        volume,
        normal,
        lesion,
        site=row["site"],
        label=row["label"],
        synthetic=Synthetic.parse(row["synthetic"]) if row["synthetic"] else None,
    )


def _found(folder: Path) -> list[dict[str, str]]:
    """Return a row for every NIfTI file in and below the folder."""
    paths = sorted(path for path in folder.rglob("*.nii*") if path.name.endswith(ENDINGS))
    names = [path.relative_to(folder).as_posix() for path in paths if path.name[0] != "."]
    return [_row({"file": name}) for name in names]


def _listed(folder: Path) -> list[dict[str, str]]:
    """Return the rows of the folder's table, checked."""
    rows = [_row(row) for row in table(folder / TABLE, frozenset({"file"}))]
    sides: dict[str, str] = {}
    files: set[str] = set()
    allowed = {name for name, _ in FRACTIONS}
    for row in rows:
        where = f"{folder / TABLE}: {row['file'] or 'a row'}"
        if not row["file"].endswith(ENDINGS) or row["file"] in files:
            raise ModelError(f"{where}: every row names a .nii or .nii.gz file of its own")
        if row["split"] and row["split"] not in allowed:
            raise ModelError(f"{where}: a split is {', '.join(sorted(allowed))} or empty")
        side = row["split"] or split_of(row["subject"])
        if sides.setdefault(row["subject"], side) != side:
            raise ModelError(f"{where}: subject {row['subject']} is on two sides of the split")
        files.add(row["file"])
    return rows


def _row(known: dict[str, str]) -> dict[str, str]:
    row = {name: known.get(name, "") for name in COLUMNS}
    row["subject"] = row["subject"] or Path(_name(row["file"])).name
    return row


def _name(file: str) -> str:
    """Return the path without its ending."""
    return file.removesuffix(".gz").removesuffix(".nii")
