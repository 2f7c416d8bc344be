"""Readers of our own objects that are not ours: programs of dcmqi, by way of NIfTI, and DCMTK."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from results.validators import written

from gatekeeper.results.assessment import SeriesAssessment
from gatekeeper.results.common import to_bytes


def read_by_dcmqi(
    published: Callable[[str], metadata.Distribution], name: str, dataset: Dataset, folder: Path
) -> list[Path]:
    """Return the NIfTI files that a program of dcmqi makes of a data set."""
    program = Path(str(published("dcmqi").locate_file(f"dcmqi/bin/{name}")))
    (path,) = written([dataset], folder)
    command = [program, "--inputDICOM", path, "--outputDirectory", folder, "-t", "nii"]
    done = subprocess.run(command, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout.decode("latin-1")[-2000:]
    return sorted(folder.glob("*.nii.gz"))


def on_grid(path: Path, series: SeriesAssessment) -> NDArray[np.float64]:
    """Return a NIfTI image's values at the voxels of a series, by patient coordinates alone."""
    nibabel: Any = pytest.importorskip("nibabel")
    image = nibabel.load(path)
    values = np.asarray(image.dataobj, np.float64)
    assert series.volume is not None
    # NIfTI: x to the right, y to the front. DICOM: x to the left, y to the back.
    to_index = np.linalg.inv(image.affine) @ np.diag([-1.0, -1, 1, 1]) @ series.volume.affine
    found = np.zeros(series.volume.array.shape)
    index = np.indices(found.shape).reshape(3, -1)
    there = np.rint((to_index @ np.vstack([index, np.ones(index.shape[1])]))[:3]).astype(int)
    inside = ((there >= 0) & (there < np.array(values.shape)[:, None])).all(axis=0)
    found[tuple(index[:, inside])] = values[tuple(there[:, inside])]
    return found


def shown_by_dcmtk(
    program: str, image: Dataset, state: Dataset, frame: int, folder: Path
) -> NDArray[np.uint8]:
    """Return the grey values that dcmp2pgm shows of an image's frame under a presentation state.

    It applies everything but the state's graphics, which it does not draw.
    """
    image_path, state_path, target = (
        folder / name for name in ("image.dcm", "state.dcm", "shown.pgm")
    )
    image.save_as(image_path, enforce_file_format=True)
    state_path.write_bytes(to_bytes(state))
    command = [program, "--frame", str(frame), "--pstate", state_path, image_path, target]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return np.asarray(Image.open(target))
