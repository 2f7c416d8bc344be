"""Evaluation masks: which voxels count. A mask comes from the image, never from a detector."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import filters

from models.volume import Volume

Mask = Callable[[Volume], NDArray[np.bool_]]
"""Volume -> bool, (slices, rows, columns): the voxels that count, the same for every detector."""

_CLOSING_MM = 6.0
_LARGEST_SAMPLE = 2_000_000


def head(volume: Volume) -> NDArray[np.bool_]:
    """Return where the image is inside the head: skull and scalp too, where they are there.

    Otsu's threshold (found below the 99.5th percentile), its largest component, closed by 6 mm
    in-plane, holes filled slice by slice: ventricles and sinuses count.
    """
    array = volume.array
    step = max(1, round((array.size / _LARGEST_SAMPLE) ** (1 / 3)))
    sample = array[::step, ::step, ::step]
    sample = np.minimum(sample, np.float32(np.quantile(sample, 0.995)))
    if float(sample.min()) == float(sample.max()):
        return np.zeros(array.shape, dtype=np.bool_)
    # Half of Otsu's threshold: it parts dark from bright tissue as often as air from tissue.
    darkest = float(sample.min())
    threshold = darkest + (float(cast("float", filters.threshold_otsu(sample))) - darkest) / 2
    labels, count = cast("tuple[NDArray[np.int32], int]", ndimage.label(array > threshold))
    if not count:
        return np.zeros(array.shape, dtype=np.bool_)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    inside = labels == int(sizes.argmax())
    _, rows_mm, columns_mm = volume.spacing
    disc = _ellipse(_CLOSING_MM / rows_mm, _CLOSING_MM / columns_mm)
    margin = max(disc.shape)
    found = np.zeros(array.shape, dtype=np.bool_)
    for index in range(len(inside)):
        if inside[index].any():
            padded = np.pad(inside[index], margin)
            closed = ndimage.binary_fill_holes(ndimage.binary_closing(padded, disc))
            found[index] = np.asarray(closed)[margin:-margin, margin:-margin]
    return found


def eroded_head(pixels: int) -> Mask:
    """Return the mask `head` without its outer `pixels`, in-plane (city-block distance).

    14 pixels of about 1 mm leave the brain without skull and scalp.
    """

    def mask(volume: Volume) -> NDArray[np.bool_]:
        inside = head(volume)
        if pixels <= 0:
            return inside
        cross = ndimage.generate_binary_structure(2, 1)[None]
        return np.asarray(ndimage.binary_erosion(inside, cross, iterations=pixels), np.bool_)

    return mask


def _ellipse(rows: float, columns: float) -> NDArray[np.bool_]:
    half_rows, half_columns = max(1, round(rows)), max(1, round(columns))
    y, x = np.ogrid[-half_rows : half_rows + 1, -half_columns : half_columns + 1]
    return (y / half_rows) ** 2 + (x / half_columns) ** 2 <= 1.0
