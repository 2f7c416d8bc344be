"""Grids: a source volume seen in RAS order, sampled on a working grid, and the way back.

Every working grid is parallel to the source's own axes, so that sampling is three one-dimensional
interpolations, one an axis: exact, quick, and the same both ways.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.volume import Volume

_RAS_FROM_LPS = np.array([-1.0, -1.0, 1.0])


@dataclass(frozen=True, slots=True, eq=False)
class Canonical:
    """A source volume in RAS order: a view, not a copy.

    Attributes:
        array: float32, (i to the right, j to the front, k to the top).
        spacing: mm between neighbours along each axis.
        axes: which source axis each of i, j, k is.
        flipped: whether it runs against the source axis.
    """

    array: NDArray[np.float32]
    spacing: tuple[float, float, float]
    axes: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]

    def to_source(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a canonical `array` in the source's order, contiguous."""
        unflipped = array[tuple(slice(None, None, -1 if flip else 1) for flip in self.flipped)]
        return np.ascontiguousarray(unflipped.transpose(np.argsort(self.axes)))


def canonical(volume: Volume) -> Canonical:
    """Return `volume` with its axes in the order and direction nearest to RAS."""
    direction = volume.affine[:3, :3] / np.linalg.norm(volume.affine[:3, :3], axis=0)
    ras = direction * _RAS_FROM_LPS[:, None]
    order = max(
        permutations(range(3)), key=lambda axes: sum(abs(ras[row, axes[row]]) for row in range(3))
    )
    axes = (order[0], order[1], order[2])
    flipped = (ras[0, axes[0]] < 0, ras[1, axes[1]] < 0, ras[2, axes[2]] < 0)
    array = volume.array.transpose(axes)
    array = array[tuple(slice(None, None, -1 if flip else 1) for flip in flipped)]
    spacing = volume.spacing
    return Canonical(
        array,
        (spacing[axes[0]], spacing[axes[1]], spacing[axes[2]]),
        axes,
        (bool(flipped[0]), bool(flipped[1]), bool(flipped[2])),
    )


def interpolate(
    array: NDArray[np.float32], axis: int, positions: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return `array` linearly interpolated at fractional `positions` along `axis`.

    0 outside the array, reached linearly over one cell.
    """
    size = array.shape[axis]
    lower = np.floor(positions).astype(np.intp)
    fraction = (positions - lower).astype(np.float32)
    shape = [1] * array.ndim
    shape[axis] = len(positions)

    def weighted(index: NDArray[np.intp], weight: NDArray[np.float32]) -> NDArray[np.float32]:
        inside = (index >= 0) & (index < size)
        taken = array.take(np.clip(index, 0, size - 1), axis=axis)
        taken *= (weight * inside).reshape(shape)
        return taken

    result = weighted(lower, 1 - fraction)
    result += weighted(lower + 1, fraction)
    return result


def stretched(array: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return `array` on `shape` cells of the same extent, linear between the centres of its own."""
    for axis, size in enumerate(shape):
        if array.shape[axis] != size:
            at = (np.arange(size) + 0.5) * array.shape[axis] / size - 0.5
            array = interpolate(array, axis, np.clip(at, 0, array.shape[axis] - 1))
    return array


def smoothed(
    array: NDArray[np.float32], axis: int, spacing: float, resolution: float
) -> NDArray[np.float32]:
    """Return `array` blurred along `axis` so that its resolution is about `resolution` mm.

    A Gaussian of full width sqrt(resolution^2 - spacing^2); nothing where the source is coarser.
    """
    width = resolution**2 - spacing**2
    if width <= 0:
        return array
    sigma = float(np.sqrt(width)) / 2.3548 / spacing
    blurred = ndimage.gaussian_filter1d(array, sigma, axis=axis, mode="nearest", truncate=3.0)
    return cast("NDArray[np.float32]", blurred)
