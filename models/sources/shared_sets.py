"""The reference and test sets that were packed for this project, each in a folder of its own.

Only the splits that a set's table or this module names are read: what was held out is not there.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError
from models.scan import Scan
from models.sources.marks import normal_slices
from models.sources.nifti import OnDisk, read_like, read_volume
from models.sources.tables import table
from models.volume import Volume

LGG_FRAME = 256
LGG_PIXEL_MM = 0.94
LGG_HEAD_MM = 140.0
BRATS2013_DEV = ("brats_2013_pat0003_1", "brats_2013_pat0005_1", "brats_2013_pat0006_1")
"""The patients that may be looked at; the others of this set are held out."""
BRATS2013_LOWEST_Z = -4.0
IQOTH_PIXEL_MM = 1.4
IQOTH_SLICE_MM = 5.0


def oasis(folder: Path, split: str) -> Iterator[Scan]:
    """Yield the T1-weighted scans of one split of `brain_t1_healthy_oasis`, by scan name.

    Healthy adults of OASIS-1 in the MICCAI 2012 multi-atlas set: skull-stripped, 8 bit, axial
    slices of 1 mm every 2 mm, 1 mm in-plane. Slices are stored with the front up and the
    patient's left on the left of the image.
    """
    rows = [row for row in table(folder / "scans.csv", OASIS_COLUMNS) if row["split"] == split]
    for row in sorted(rows, key=lambda row: row["scan"]):
        path = folder / "vol" / f"{row['scan']}.zip"
        with _archive(path) as archive:
            names = sorted(name for name in archive.namelist() if name.endswith(".webp"))
            array = np.stack([_grey(path, archive, name) for name in names]).astype(np.float32)
            zooms = _meta(path, archive, "zooms")["zooms"]
        affine = np.array(  # slice to the head, row to the back, column to the patient's right
            [
                [0.0, 0.0, -zooms[0], 0.0],
                [0.0, zooms[1], 0.0, 0.0],
                [2.0 * zooms[2], 0.0, 0.0, 0.0],
                [0.0, 0.0, 0.0, 1.0],
            ]
        )
        yield _healthy(row["scan"], row["subject"], Volume(array, affine, "MR", "BRAIN", "T1"))


OASIS_COLUMNS = frozenset({"scan", "subject", "split"})


def lgg(folder: Path, split: str) -> Iterator[Scan]:
    """Yield the FLAIR scans of one split of `brain_flair_lgg`, by patient; the site is the
    institution.

    8 bit, axial, first slice lowest, front up, spacing not stated: 0.94 mm pixels and a stack of
    140 mm are assumed. `normal` are slices three or more from any lesion slice with enough head in
    them; every patient has a glioma, so they are pseudo-normal.
    """
    patients: dict[str, dict[int, dict[str, str]]] = {}
    for row in table(folder / "slices.csv", LGG_COLUMNS):
        if row["split"] == split:
            patients.setdefault(row["patient"], {})[int(row["slice"])] = row
    for patient, own in sorted(patients.items()):
        array, lesion = _lgg_stack(folder / "vol" / f"{patient}.zip")
        count = len(array)
        affine = np.array(
            [
                [0.0, 0.0, LGG_PIXEL_MM, 0.0],
                [0.0, LGG_PIXEL_MM, 0.0, 0.0],
                [LGG_HEAD_MM / count, 0.0, 0.0, 0.0],
                [0.0, 0.0, 0.0, 1.0],
            ]
        )
        yield Scan(
            patient,
            patient,
            Volume(array, affine, "MR", "BRAIN", "FLAIR", spacing_known=False),
            np.array([n in own and own[n]["normal_ok"] == "1" for n in range(1, count + 1)]),
            lesion,
            site=next(iter(own.values()))["institution"],
            label="glioma",
        )


LGG_COLUMNS = frozenset({"patient", "institution", "split", "slice", "normal_ok"})


def ljubljana(folder: Path, split: str) -> Iterator[Scan]:
    """Yield the FLAIR scans of `brain_ms_ljubljana`, by patient, with T1 and T2 as companions.

    Multiple sclerosis: skull-stripped, in MNI space, 1 mm, 8 bit (0 is background). The lesions
    are the consensus mask; `normal` as the set's table has it. One split, ``dev``.
    """
    _only_dev(split)
    patients: dict[str, list[dict[str, str]]] = {}
    for row in table(folder / "slices.csv", LJUBLJANA_COLUMNS):
        patients.setdefault(row["patient"], []).append(row)
    for patient, rows in sorted(patients.items()):
        volume = read_volume(folder / f"{patient}_flair.nii.gz", "MR", "BRAIN", "FLAIR")
        normal = np.zeros(len(volume.array), dtype=np.bool_)
        normal[[int(row["axial_index"]) for row in rows if row["normal_ok"] == "1"]] = True
        others = {"T1": folder / f"{patient}_t1.nii.gz", "T2": folder / f"{patient}_t2.nii.gz"}
        yield Scan(
            patient,
            patient,
            volume,
            normal,
            read_like(folder / f"{patient}_lesions.nii.gz", volume) > 0,
            site="Ljubljana",
            label="multiple sclerosis",
            companions=OnDisk(others, volume),
        )


LJUBLJANA_COLUMNS = frozenset({"patient", "axial_index", "normal_ok"})


def brats2013(folder: Path, split: str) -> Iterator[Scan]:
    """Yield the FLAIR scans of `brain_glioma_brats2013`, by patient.

    Skull-stripped, 1 mm, 8 bit: 0 is background, 1 to 255 are the publisher's z-scores within the
    brain from -4 to 6 (their standard deviation over the brain is 1.3 to 1.4, not 1). The volume
    is given in z-scores, with the background at -4, where nothing is darker. The lesion is every
    label over 0; `normal` are slices three or more from it. One split, ``dev``.
    """
    _only_dev(split)
    for patient in BRATS2013_DEV:
        stored = read_volume(folder / f"{patient}_flair.nii.gz", "MR", "BRAIN", "FLAIR")
        z_scores = (stored.array - 1.0) / 254.0 * 10.0 + BRATS2013_LOWEST_Z
        volume = replace(stored, array=np.maximum(z_scores, np.float32(BRATS2013_LOWEST_Z)))
        lesion = read_like(folder / f"{patient}_tumour.nii.gz", volume) > 0
        yield Scan(patient, patient, volume, normal_slices(lesion), lesion, label="glioma")


def iqoth(folder: Path, split: str) -> Iterator[Scan]:
    """Yield the chest CT slices of one split of `chest_ct_iqoth`, by file name: one slice a scan.

    The volume is 8-bit grey of an unknown window, NOT Hounsfield units. The subject is the set's
    pseudo patient, a group of like images: a real patient can be in two of them. The label is
    ``normal``, ``benign`` or ``malignant`` and no lesion is drawn. Front up and the patient's left
    on the right of the image, 1.4 mm pixels and 5 mm slices are assumed.
    """
    affine = np.array(
        [
            [0.0, 0.0, IQOTH_PIXEL_MM, 0.0],
            [0.0, IQOTH_PIXEL_MM, 0.0, 0.0],
            [IQOTH_SLICE_MM, 0.0, 0.0, 0.0],
            [0.0, 0.0, 0.0, 1.0],
        ]
    )
    rows = [row for row in table(folder / "slices.csv", IQOTH_COLUMNS) if row["split"] == split]
    for row in sorted(rows, key=lambda row: row["file"]):
        path = folder / "img" / row["file"]
        try:
            image = _decoded(path.read_bytes())
        except (OSError, ValueError) as error:
            raise ModelError(f"{path}: not a readable image ({error})") from error
        array = image[None].astype(np.float32)
        yield Scan(
            path.stem,
            row["pseudo_patient"],
            Volume(array, affine, "CT", "CHEST", spacing_known=False),
            np.array([row["class"] == "normal"]),
            np.zeros(array.shape, dtype=np.bool_),
            label=row["class"],
        )


IQOTH_COLUMNS = frozenset({"file", "class", "split", "pseudo_patient"})


def _lgg_stack(path: Path) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the images and lesions of a patient in the full frame: (slices, 256, 256) each."""
    with _archive(path) as archive:
        meta = _meta(path, archive, "slices", "crop_y0y1x0x1")
        top, bottom, left, right = meta["crop_y0y1x0x1"]
        array = np.zeros((int(meta["slices"]), LGG_FRAME, LGG_FRAME), dtype=np.float32)
        lesion = np.zeros(array.shape, dtype=np.bool_)
        members = set(archive.namelist())
        for number in range(1, len(array) + 1):
            box = (number - 1, slice(top, bottom), slice(left, right))
            array[box] = _grey(path, archive, f"flair_{number:03d}.webp")
            if (name := f"mask_{number:03d}.png") in members:
                lesion[box] = _grey(path, archive, name) > 0
    return array, lesion


def _healthy(name: str, subject: str, volume: Volume) -> Scan:
    normal = np.ones(len(volume.array), dtype=np.bool_)
    return Scan(
        name, subject, volume, normal, np.zeros(volume.array.shape, np.bool_), label="normal"
    )


def _only_dev(split: str) -> None:
    if split != "dev":
        raise ModelError(f"this set has the split dev only, not {split!r}")


def _archive(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path}: not a readable archive ({error})") from error


def _meta(path: Path, archive: zipfile.ZipFile, *names: str) -> dict[str, Any]:
    try:
        meta: dict[str, Any] = json.loads(archive.read("meta.json"))
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path}: holds no readable meta.json ({error})") from error
    if missing := set(names) - set(meta):
        raise ModelError(f"{path}: meta.json does not state {min(missing)}")
    return meta


def _grey(path: Path, archive: zipfile.ZipFile, name: str) -> NDArray[np.uint8]:
    try:
        return _decoded(archive.read(name))
    except (KeyError, OSError, ValueError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path}: {name} is missing or damaged ({error})") from error


def _decoded(data: bytes) -> NDArray[np.uint8]:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(data)).convert("L"))
