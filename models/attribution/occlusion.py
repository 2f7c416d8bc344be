"""Occlusion: how much a score falls when a window of the image is covered.

Zeiler and Fergus, Visualizing and understanding convolutional networks, ECCV 2014, by captum. A
window slides over the image; where it lies the image is replaced by a baseline, and the fall of the
score is that window's. A pixel under several windows has their mean. Positive: what is there raises
the score. The baseline is a statement of what would be there otherwise and must be given; two that
are of use are one value (the grey of lung) and the image's own surroundings (`local_mean`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from models.errors import ModelError

Score = Callable[[Tensor], Tensor]
"""Images, (n, ..., rows, columns), to one number each, (n,)."""


def occlusion(
    score: Score,
    images: Tensor,
    baseline: Tensor | float,
    *,
    window: int,
    stride: int,
    at_once: int = 32,
) -> NDArray[np.float64]:
    """Return how much the score falls where each image is covered, (n, rows, columns).

    Args:
        score: what is asked; no gradient is needed.
        images: (n, channels, [depth,] rows, columns); all channels are covered together.
        baseline: what covers: a number, or images like `images`.
        window: side of the window in pixels.
        stride: pixels between windows; at most `window`, so that nothing is left out.
        at_once: windows of all images in one call of `score`.

    Raises:
        ModelError: if the window does not fit or the stride leaves gaps.
    """
    rows, columns = images.shape[-2:]
    if not 1 <= stride <= window <= min(rows, columns):
        raise ModelError("an occlusion window fits the image, and its stride is at most its side")
    from captum.attr import Occlusion

    around = tuple(images.shape[1:-2])
    with torch.no_grad():
        found = cast("Any", Occlusion(score)).attribute(
            images,
            sliding_window_shapes=(*around, window, window),
            strides=(*around, stride, stride),
            baselines=baseline,
            perturbations_per_eval=at_once,
        )
    return flat(cast("Tensor", found), mean=True)


def local_mean(images: Tensor, sigma: float, inside: Tensor | None = None) -> Tensor:
    """Return what surrounds each pixel: the image blurred by a Gaussian.

    Args:
        images: (n, channels, [depth,] rows, columns).
        sigma: in pixels; of the order of the window or larger, or a covered thing shows through.
        inside: bool, like `images`: pixels that count; others keep their value. None: all.
    """
    array = images.double().numpy()
    width = (*(0.0 for _ in array.shape[:-2]), sigma, sigma)
    if inside is None:
        blurred = cast("NDArray[np.float64]", ndimage.gaussian_filter(array, width, mode="nearest"))
        return torch.from_numpy(blurred).to(images.dtype)
    weight = inside.double().numpy()
    total = ndimage.gaussian_filter(array * weight, width)
    near = ndimage.gaussian_filter(weight, width)
    mean = np.where(weight > 0, total / np.maximum(near, 1e-6), array)
    return torch.from_numpy(mean).to(images.dtype)


def flat(found: Tensor, *, mean: bool = False) -> NDArray[np.float64]:
    """Return attributions by place, (n, rows, columns): summed, or averaged, over the rest."""
    array = found.detach().double().flatten(1, -3)
    return (array.mean(1) if mean else array.sum(1)).numpy()
