"""Reference sets on disk, read into Volumes. Each reader states the set's form and its limits."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.volume import Volume

OASIS = "brain_t1_healthy_oasis"


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """One scan of a reference set.

    Attributes:
        name: the scan's name in its set.
        subject: whose it is; all scans of a subject stay on one side of every split.
        volume: the scan.
        normal: bool, (slices,): which slices may stand for normal.
        lesion: bool, like the volume: where a lesion was drawn.
    """

    name: str
    subject: str
    volume: Volume
    normal: NDArray[np.bool_]
    lesion: NDArray[np.bool_]


def oasis(data: Path, split: str) -> Iterator[Scan]:
    """Yield the T1-weighted scans of one split, by scan name.

    Healthy adults of OASIS-1 in the MICCAI 2012 multi-atlas set: skull-stripped, 8 bit, axial
    slices of 1 mm every 2 mm, 1 mm in-plane. Slices are stored with the front up and the
    patient's left on the left of the image.
    """
    folder = data / OASIS
    with (folder / "scans.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split]
    for row in sorted(rows, key=lambda row: row["scan"]):
        with zipfile.ZipFile(folder / "vol" / f"{row['scan']}.zip") as archive:
            names = sorted(name for name in archive.namelist() if name.endswith(".webp"))
            slices = [_grey(archive, name) for name in names]
            zooms = json.loads(archive.read("meta.json"))["zooms"]
        affine = np.array(  # slice to the head, row to the back, column to the patient's right
            [
                [0.0, 0.0, -zooms[0], 0.0],
                [0.0, zooms[1], 0.0, 0.0],
                [2.0 * zooms[2], 0.0, 0.0, 0.0],
                [0.0, 0.0, 0.0, 1.0],
            ]
        )
        array = np.stack(slices).astype(np.float32)
        yield Scan(
            row["scan"],
            row["subject"],
            Volume(array, affine, "MR", "BRAIN", "T1"),
            np.ones(len(array), dtype=np.bool_),
            np.zeros(array.shape, dtype=np.bool_),
        )


LGG = "brain_flair_lgg"
FRAME = 256
NOMINAL_PIXEL_MM = 0.94
NOMINAL_HEAD_MM = 140.0


def lgg(data: Path, split: str) -> Iterator[Scan]:
    """Yield the FLAIR scans of one split of the LGG segmentation set, by patient.

    8 bit, axial, first slice lowest, front up, spacing not stated: 0.94 mm pixels and a stack of
    140 mm are assumed. `normal` are slices three or more from any lesion slice with enough head in
    them; every patient has a glioma, so they are pseudo-normal.
    """
    folder = data / LGG
    with (folder / "slices.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split]
    for patient in sorted({row["patient"] for row in rows}):
        own = {int(row["slice"]): row for row in rows if row["patient"] == patient}
        with zipfile.ZipFile(folder / "vol" / f"{patient}.zip") as archive:
            meta = json.loads(archive.read("meta.json"))
            top, bottom, left, right = meta["crop_y0y1x0x1"]
            count = int(meta["slices"])
            array = np.zeros((count, FRAME, FRAME), dtype=np.float32)
            lesion = np.zeros(array.shape, dtype=np.bool_)
            members = set(archive.namelist())
            for number in range(1, count + 1):
                box = (number - 1, slice(top, bottom), slice(left, right))
                array[box] = _grey(archive, f"flair_{number:03d}.webp")
                if (name := f"mask_{number:03d}.png") in members:
                    lesion[box] = _grey(archive, name) > 0
        affine = np.array(
            [
                [0.0, 0.0, NOMINAL_PIXEL_MM, 0.0],
                [0.0, NOMINAL_PIXEL_MM, 0.0, 0.0],
                [NOMINAL_HEAD_MM / count, 0.0, 0.0, 0.0],
                [0.0, 0.0, 0.0, 1.0],
            ]
        )
        normal = np.array(
            [own.get(n, {"normal_ok": "0"})["normal_ok"] == "1" for n in range(1, count + 1)]
        )
        volume = Volume(array, affine, "MR", "BRAIN", "FLAIR")
        yield Scan(patient, patient, volume, normal, lesion)


def _grey(archive: zipfile.ZipFile, name: str) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("L"))
