"""fastMRI images, with the findings that fastMRI+ drew on them.

fastMRI (Zbontar et al. 2018, Knoll et al. 2020): HDF5, one scan a file, ``reconstruction_rss``
(slices, rows, columns). fastMRI+ (Zhao et al. 2022): boxes of findings in a table, by file and
slice. The images are stored upside down, and its README says so of the boxes: they were drawn, and
are given, on images flipped up-down. The reader flips the images too, so that the front of a head
(the upper end of a knee) is up, and a box (x, y, width, height) is columns x to x + width and rows
y to y + height, counted from the upper left corner.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError
from models.scan import Scan
from models.sources.marks import normal_slices
from models.sources.split import on_side
from models.sources.tables import table
from models.volume import Volume

IMAGES = "reconstruction_rss"
ACQUISITIONS = {
    "AXFLAIR": ("BRAIN", "FLAIR"),
    "AXT1": ("BRAIN", "T1"),
    "AXT1PRE": ("BRAIN", "T1"),
    "AXT1POST": ("BRAIN", "T1C"),
    "AXT2": ("BRAIN", "T2"),
    "CORPD_FBK": ("KNEE", "PD"),
    "CORPDFS_FBK": ("KNEE", "PDFS"),
}
"""Body part and contrast of each value of the attribute `acquisition`."""
NOT_LESIONS = frozenset({"normal variant", "possible artifact"})
"""Labels of boxes that, by their own word, are no disease; they are not in the lesion mask."""
NORMAL_LABELS = frozenset({"normal for age", "normal variant"})
UNREVIEWED = "unreviewed"
_ANNOTATION_COLUMNS = frozenset(
    {"file", "slice", "study_level", "x", "y", "width", "height", "label"}
)
_NOMINAL_MM = {"BRAIN": (5.0, 0.6875), "KNEE": (3.0, 0.5)}
"""Slice and pixel spacing where the header states none."""


def fastmri(folder: Path, split: str) -> Iterator[Scan]:
    """Yield the scans of one split of a folder of fastMRI files (``*.h5``, at any depth), by path.

    The subject is `patient_id`; the side is that of `split.split_of`. Pixel sizes are those of the
    ISMRMRD header's reconstruction space, and so is the slice thickness, taken for the distance of
    slices (gaps are not stated). Slices are taken to run to the head (brain) or to the back
    (knee), and the patient's left to be on the right of the image: the files state neither.

    With ``brain.csv`` and ``knee.csv`` of fastMRI+ in the folder or its ``Annotations``: boxes are
    the lesion, but for `NOT_LESIONS`; the label is the findings' names joined by ``; ``, or
    ``normal``. Slices three or more from every box stand for normal, and none does where a finding
    concerns the whole study. A scan that neither ``brain.csv``, ``knee.csv`` nor their file lists
    (``brain_file_list.csv``, ``knee_file_list.csv``) name was not looked at: its label is
    ``unreviewed`` and none of its slices stands for normal. Patients came to be examined: without
    the tables nothing is normal.

    Raises:
        ModelError: if a file cannot be read, has no images (the test sets have none), is of an
            unknown acquisition, or a box lies outside its image.
    """
    findings, reviewed = _annotations(folder)
    for path in sorted(folder.rglob("*.h5")):
        if (scan := _scan(path, split, findings.get(path.stem, []), reviewed)) is not None:
            yield scan


def _scan(
    path: Path, split: str, findings: list[dict[str, str]], reviewed: frozenset[str]
) -> Scan | None:
    """Return the scan in a file, or None if it is on another side of the split."""
    import h5py

    try:
        with h5py.File(path, "r") as opened:
            file = cast("Any", opened)  # what an HDF5 name holds is known at run time only
            subject = _text(file.attrs.get("patient_id")) or path.stem
            if not on_side(subject, split):
                return None
            acquisition = _text(file.attrs.get("acquisition"))
            header = _text(file["ismrmrd_header"][()]) if "ismrmrd_header" in file else ""
            if IMAGES not in file:
                raise ModelError(
                    f"{path}: holds no {IMAGES}; read the training and validation sets"
                )
            stored = np.asarray(file[IMAGES], dtype=np.float32)
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        raise ModelError(f"{path}: not a readable fastMRI file ({error})") from error
    if acquisition not in ACQUISITIONS:
        raise ModelError(f"{path}: the acquisition {acquisition!r} is not one of fastMRI's")
    if stored.ndim != 3 or min(stored.shape) == 0 or not np.isfinite(stored).all():
        raise ModelError(f"{path}: {IMAGES} is no stack of images of finite numbers")
    array = np.ascontiguousarray(stored[:, ::-1])
    body_part, sequence = ACQUISITIONS[acquisition]
    spacing, site = _header(path, header)
    volume = Volume(
        array,
        _affine(body_part, spacing),
        "MR",
        body_part,
        sequence,
        spacing_known=spacing is not None,
    )
    lesion, normal, label = _marked(path, array.shape, findings, reviewed)
    return Scan(
        path.stem,
        subject,
        volume,
        normal,
        lesion,
        site=site,
        label=label,
    )


def _marked(
    path: Path,
    shape: tuple[int, ...],
    findings: list[dict[str, str]],
    reviewed: frozenset[str],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], str]:
    """Return the lesion (like the scan), the normal slices and the label."""
    lesion = np.zeros(shape, dtype=np.bool_)
    if path.stem not in reviewed:
        return lesion, np.zeros(shape[0], dtype=np.bool_), UNREVIEWED
    boxed = np.zeros(shape, dtype=np.bool_)
    labels: set[str] = set()
    whole_study = False
    for row in findings:
        kind = row["label"].casefold()
        if kind not in NORMAL_LABELS:
            labels.add(row["label"])
        if row["study_level"].casefold() == "yes":
            whole_study = whole_study or kind not in NORMAL_LABELS
            continue
        box = _box(path, row, shape)
        boxed[box] = True
        if kind not in NOT_LESIONS:
            lesion[box] = True
    normal = normal_slices(boxed) & (not whole_study)
    return lesion, normal, "; ".join(sorted(labels)) or "normal"


def _box(path: Path, row: dict[str, str], shape: tuple[int, ...]) -> tuple[int, slice, slice]:
    """Return the part of the flipped image that a row names, cut at the image's edge."""
    try:
        number, x, y, width, height = (
            round(float(row[name])) for name in ("slice", "x", "y", "width", "height")
        )
    except ValueError as error:
        raise ModelError(f"{path}: a box of fastMRI+ is not numbers: {row}") from error
    rows = slice(max(y, 0), min(y + height, shape[1]))
    columns = slice(max(x, 0), min(x + width, shape[2]))
    if not 0 <= number < shape[0] or rows.start >= rows.stop or columns.start >= columns.stop:
        raise ModelError(f"{path}: a box of fastMRI+ lies outside the images {shape}: {row}")
    return number, rows, columns


def _annotations(folder: Path) -> tuple[dict[str, list[dict[str, str]]], frozenset[str]]:
    """Return the rows of fastMRI+ by file, and the files that were looked at."""
    findings: dict[str, list[dict[str, str]]] = {}
    reviewed: set[str] = set()
    for part in ("brain", "knee"):
        for place in (folder, folder / "Annotations"):
            if (path := place / f"{part}.csv").is_file():
                for row in table(path, _ANNOTATION_COLUMNS):
                    findings.setdefault(row["file"], []).append(row)
            if (path := place / f"{part}_file_list.csv").is_file():
                # One name a line, with or without a heading: the heading is no file's name.
                lines = path.read_text(encoding="utf-8-sig").splitlines()
                reviewed |= {line.split(",")[0].strip() for line in lines}
    return findings, frozenset(reviewed | set(findings))


def _header(path: Path, header: str) -> tuple[tuple[float, float, float] | None, str]:
    """Return the spacing (slices, rows, columns) in mm and the scanner, as the header has them."""
    if not header:
        return None, ""
    try:
        # From the set itself; expat expands no external entity and bounds internal ones.
        root = ElementTree.fromstring(header)  # noqa: S314
    except ElementTree.ParseError as error:
        raise ModelError(f"{path}: the ISMRMRD header is no XML ({error})") from error
    # The namespace is left out: it has changed with the versions of the format.
    values = {
        name: root.findtext("/".join(f"{{*}}{part}" for part in name.split("/")), "")
        for name in (
            *(f"encoding/reconSpace/fieldOfView_mm/{axis}" for axis in "xyz"),
            *(f"encoding/reconSpace/matrixSize/{axis}" for axis in "xy"),
            "acquisitionSystemInformation/systemModel",
        )
    }
    try:
        *fields, rows, columns = (
            float(value) for name, value in values.items() if name.startswith("encoding")
        )
    except ValueError:
        return None, values["acquisitionSystemInformation/systemModel"]
    if min(*fields, rows, columns) <= 0:
        raise ModelError(f"{path}: the ISMRMRD header states an impossible size")
    spacing = (fields[2], fields[0] / rows, fields[1] / columns)
    return spacing, values["acquisitionSystemInformation/systemModel"]


def _affine(body_part: str, spacing: tuple[float, float, float] | None) -> NDArray[np.float64]:
    if spacing is None:
        thickness, pixel = _NOMINAL_MM[body_part]
        spacing = (thickness, pixel, pixel)
    affine = np.diag([0.0, 0.0, 0.0, 1.0])
    affine[0, 2] = spacing[2]
    if body_part == "BRAIN":  # axial
        affine[2, 0], affine[1, 1] = spacing[0], spacing[1]
    else:  # coronal
        affine[1, 0], affine[2, 1] = spacing[0], -spacing[1]
    return affine


def _text(value: Any) -> str:
    """Return an HDF5 string, which older files hold as bytes."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return "" if value is None else re.sub(r"\0+$", "", str(value))
