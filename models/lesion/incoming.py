"""Patches of a lesion whose place in a scan is known, as the lesion model was trained on them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.errors import NotAssessable
from models.lesion.candidates import patch
from models.lesion.config import Config
from models.lesion.lesions import PIXEL_MM, resized
from models.volume import Volume

MOST_PATCHES = 9
"""Slices of one lesion that are looked at, spread evenly over it."""
_SQUARE = 0.01


def patches(
    volume: Volume, voxels: NDArray[np.intp], config: Config, most: int = MOST_PATCHES
) -> list[NDArray[np.float32]]:
    """Return a patch of each slice of a lesion, centred on it there, as `lesions.of_nodules` does.

    Rows go to the patient's back and columns to the left, as in the scans trained on.

    Args:
        volume: axial, in Hounsfield units.
        voxels: (n, 3): indices (slice, row, column) of the lesion; at least one.
        config: size of the patches.
        most: patches made.

    Returns:
        float32, (slices, size, size) each, on `PIXEL_MM`.

    Raises:
        NotAssessable: if the scan's slices are not axial or its pixels not square.
    """
    axes = np.abs(volume.affine[:3, :3] / volume.spacing).argmax(axis=0)
    if axes.tolist() != [2, 1, 0]:
        raise NotAssessable("the scan's slices are not axial")
    _, height, width = volume.spacing
    if abs(height - width) > _SQUARE * width:
        raise NotAssessable("the scan's pixels are not square")
    factor = height / PIXEL_MM
    down, right = volume.affine[1, 1] > 0, volume.affine[0, 2] > 0
    rows, columns = volume.array.shape[1:]
    levels = np.unique(voxels[:, 0])
    picked = levels[np.unique(np.linspace(0, len(levels) - 1, most).round().astype(int))]
    reach = config.slices // 2
    order = np.arange(-reach, reach + 1) * (1 if volume.affine[2, 0] > 0 else -1)
    made: list[NDArray[np.float32]] = []
    for level in picked:
        here = voxels[voxels[:, 0] == level, 1:].mean(axis=0)
        row = float(here[0]) if down else rows - 1 - float(here[0])
        column = float(here[1]) if right else columns - 1 - float(here[1])
        span = np.clip(level + order, 0, len(volume.array) - 1)
        shown = volume.array[span, :: 1 if down else -1, :: 1 if right else -1]
        images = np.stack([resized(image, factor) for image in shown])
        place = (np.array([row, column]) + 0.5) * factor - 0.5  # pixel centres keep their place
        limit = np.array(images.shape[1:]) - 1
        top, left = (int(n) for n in np.clip(place.round(), 0, limit))
        made.append(patch(images, top, left, config.size, config.low))
    return made
