"""Bodies of plain geometry with structure, in place of scans of people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.volume import Volume

SHAPE = (20, 64, 64)
AFFINE = np.array([[0, 0, 3.0, 0], [0, 3.0, 0, 0], [6.0, 0, 0, 0], [0, 0, 0, 1.0]])


def body(seed: int, shape: tuple[int, int, int] = SHAPE) -> NDArray[np.float32]:
    """Return an ellipsoid of three tissues, every seed a little different in size and noise."""
    generator = np.random.default_rng(seed)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij")
    size = 0.8 + 0.04 * generator.standard_normal(3)
    radius = np.sqrt((z / 1.3) ** 2 + (y / size[1]) ** 2 + (x / (0.8 * size[2])) ** 2)
    image = np.where(radius < 1, 100.0, 0.0) + np.where(radius < 0.7, 60.0, 0.0)
    image += np.where((np.abs(x) < 0.15) & (np.abs(y) < 0.3) & (radius < 0.6), -90.0, 0.0)
    image += 20 * np.sin(9 * y) * (radius < 0.7)
    image += 3 * generator.standard_normal(shape)
    return np.maximum(image, 0).astype(np.float32)


def volume(array: NDArray[np.float32]) -> Volume:
    """Return an array as an MR volume of the pelvis."""
    return Volume(array, AFFINE, "MR", "PELVIS", "T2")


def write_set(folder: Path, count: int) -> Path:
    """Write `count` bodies as NIfTI, one subject each; all are of the training split."""
    import nibabel

    folder.mkdir(parents=True)
    rows = ["file,subject,split"]
    for seed in range(count):
        # NIfTI is (x, y, z) in RAS; ours is (slice, row, column) in LPS.
        flipped = np.diag([-1.0, -1.0, 1.0, 1.0]) @ AFFINE[:, [2, 1, 0, 3]]
        image: Any = nibabel.Nifti1Image(body(seed).transpose(2, 1, 0), flipped)  # untyped
        nibabel.save(image, folder / f"s{seed:02d}.nii.gz")
        rows.append(f"s{seed:02d}.nii.gz,s{seed:02d},train")
    (folder / "scans.csv").write_text("\n".join(rows) + "\n")
    return folder


def write_profile(path: Path, **settings: Any) -> Path:
    """Write a profile of the bodies."""
    statements = {
        "name": "phantom",
        "profile": {
            "modality": "MR",
            "body_part": "PELVIS",
            "body_part_aliases": [],
            "sequence": "T2",
            "sequence_aliases": [],
            "body_part_from_content": False,
        },
        "data": {"name": "phantoms", "licence": "none needed"},
        "intended_use": "tests",
        "not_tested_on": ["people"],
        "weights_licence": "none needed",
        "settings": {
            "anatomy": "body",
            "levels": 16,
            "rows": 64,
            "columns": 64,
            "pixel_mm": 3.0,
            "resolution_mm": 3.0,
            **settings,
        },
    }
    path.write_text(json.dumps(statements))
    return path
