"""Factors: what a radiologist would measure on a lesion, to ask which number of a code holds it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import measure

from models.lesion.lesions import Lesion

NAMES = ("size", "density", "margin", "texture", "elongation", "air around", "height in frame")
"""Factors by name, in the order of `measured`."""


def measured(lesions: Sequence[Lesion]) -> NDArray[np.float64]:
    """Return the factors of each lesion's middle slice, (n, factors).

    size: log of the mask's pixels. density: mean HU in it. margin: mean gradient on its rim, HU a
    pixel. texture: standard deviation in it, HU. elongation: major over minor axis. air around:
    the part of the patch under -400 HU. height in frame: row of the patch's centre of brightness.
    """
    return np.array([_one(lesion) for lesion in lesions], dtype=np.float64)


def _one(lesion: Lesion) -> tuple[float, ...]:
    image = lesion.stack[len(lesion.stack) // 2].astype(np.float64)
    mask = lesion.mask if lesion.mask.any() else _middle(image)
    rim = mask & ~cast("NDArray[np.bool_]", ndimage.binary_erosion(mask))
    gradient = np.hypot(ndimage.sobel(image, 0), ndimage.sobel(image, 1)) / 8.0
    shape = measure.regionprops(mask.astype(np.uint8))[0]
    minor = max(float(shape.axis_minor_length), 1.0)
    brightness = np.clip(image + 1000.0, 0.0, None)
    rows = np.arange(len(image))[:, None]
    return (
        float(np.log(mask.sum())),
        float(image[mask].mean()),
        float(gradient[rim].mean()),
        float(image[mask].std()),
        max(float(shape.axis_major_length), 1.0) / minor,
        float((image < -400.0).mean()),
        float((brightness * rows).sum() / max(float(brightness.sum()), 1.0)),
    )


def _middle(image: NDArray[np.float64]) -> NDArray[np.bool_]:
    mask = np.zeros(image.shape, dtype=np.bool_)
    half = len(image) // 2
    mask[half - 1 : half + 2, half - 1 : half + 2] = True
    return mask
