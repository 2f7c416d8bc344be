"""A real scan as if the patient had moved: torchio's motion in the pixels of its own slices.

Two of three slices and pixels are left out first, so that a test takes seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

from gatekeeper.identifiers import Uid

STEP = 3
"""Of so many slices and pixels one is kept."""


def moved(paths: Sequence[Path], seed: int = 1, degrees: float = 35.0) -> Sequence[Dataset]:
    """Return every third slice of a series after strong motion, as another study.

    Args:
        paths: of one series of single-frame images without compression.
        seed: of the motion.
        degrees: of the largest turn, and millimetres of the largest shift.
    """
    chosen = sorted(paths, key=_along_the_normal)[::STEP]
    datasets = [dcmread(path) for path in chosen]
    first = np.stack([dataset.pixel_array[::STEP, ::STEP] for dataset in datasets])
    after = _with_motion(first.astype(np.float32), seed, degrees).astype(first.dtype)
    for number, (dataset, pixels) in enumerate(zip(datasets, after, strict=True), start=1):
        dataset.InstanceNumber = number
        dataset.SliceThickness = STEP * float(dataset.SliceThickness)
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.PixelSpacing = [STEP * float(value) for value in dataset.PixelSpacing]
        dataset.PixelData = pixels.tobytes()
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            setattr(dataset, keyword, Uid.derive("moved", str(seed), str(dataset[keyword].value)))
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return datasets


def _with_motion(array: NDArray[np.float32], seed: int, degrees: float) -> NDArray[np.float32]:
    import torch
    from torchio.transforms import RandomMotion

    torch.manual_seed(seed)
    motion: Any = RandomMotion(degrees=degrees, translation=degrees, num_transforms=6)
    result = np.asarray(motion(array[np.newaxis])[0], np.float32)
    return np.clip(result, 0, array.max())


def _along_the_normal(path: Path) -> float:
    dataset = dcmread(path, stop_before_pixels=True)
    row, column = np.reshape(np.array(dataset.ImageOrientationPatient, float), (2, 3))
    return float(np.cross(row, column) @ np.array(dataset.ImagePositionPatient, float))
