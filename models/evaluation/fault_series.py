"""Faults of a whole series: wrong contrast, slices, field of view, orientation or body part.

Each takes a Volume and a setting and returns what a node would receive: a regular grid whose header
says nothing of the fault.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.grid import canonical, interpolate
from models.volume import Volume

_REVERSED = ([0.0, 0.15, 0.3, 0.6, 0.9, 1.2], [1.1, 1.05, 0.9, 0.6, 0.35, 0.25])
"""T1 to T2: intensity over the head's 99th percentile, and what it becomes: fluid bright, grey
matter in the middle, white matter dark."""


def reversed_contrast(volume: Volume, weight: float) -> Volume:
    """Return `volume` with `weight` of its contrast replaced by the reverse, background as it is.

    The reverse is a falling curve of the intensity, as from T1 to T2 weighting.
    """
    array = volume.array
    top = float(np.quantile(array[_head(array)], 0.99))
    head = ndimage.binary_closing(_head(array), np.ones((1, 3, 3)), iterations=2)
    filled = np.array([ndimage.binary_fill_holes(one) for one in head], np.float32)
    soft = ndimage.gaussian_filter(filled, (0, 0.7, 0.7))
    part = (weight * soft).astype(np.float32)
    other = np.interp(array / top, *_REVERSED).astype(np.float32) * top
    return replace(volume, array=(1 - part) * array + part * other)


def without_slices(volume: Volume, count: int, generator: np.random.Generator) -> Volume:
    """Return `volume` without `count` neighbouring slices, the rest closed up.

    The run begins in the middle half of the slices with signal.
    """
    slices = _with_signal(volume.array)
    first = int(slices[round(len(slices) * generator.uniform(0.25, 0.6))])
    kept = np.delete(np.arange(len(volume.array)), np.arange(first, first + count))
    return replace(
        volume,
        array=volume.array[kept],
        slice_ids=tuple(volume.slice_ids[index] for index in kept) if volume.slice_ids else (),
    )


def with_slices_twice(volume: Volume, count: int, generator: np.random.Generator) -> Volume:
    """Return `volume` with `count` slices showing the pixels of the slice before them."""
    slices = _with_signal(volume.array)
    middle = slices[len(slices) // 10 : -max(1, len(slices) // 10)]
    array = volume.array.copy()
    for index in np.sort(generator.permutation(middle)[:count]):
        array[index] = array[index - 1]
    return replace(volume, array=array)


SIDES: tuple[tuple[str, int, bool], ...] = (
    ("top", 2, True),
    ("front", 1, True),
    ("back", 1, False),
    ("right", 0, True),
    ("left", 0, False),
)
"""Name, canonical axis and end of each side that a field of view can miss. Not the bottom, where
every head goes on."""


def cut(volume: Volume, part: float, generator: np.random.Generator) -> Volume:
    """Return `volume` without `part` of the head's extent, beyond one side of the array.

    What stays, stays where it was.
    """
    _, axis, high = SIDES[int(generator.integers(len(SIDES)))]
    source = canonical(volume)
    others = tuple(other for other in range(3) if other != axis)
    profile = _head(source.array).mean(axis=others)
    inside = np.flatnonzero(profile > 0.05 * profile.max())
    cut_away = part * (inside[-1] - inside[0] + 1)
    size = len(profile)
    start, stop = (0, round(inside[-1] + 1 - cut_away)) if high else (0, size)
    if not high:
        start = round(inside[0] + cut_away)
    if source.flipped[axis]:
        start, stop = size - stop, size - start
    own = source.axes[axis]
    index = [slice(None)] * 3
    index[own] = slice(start, stop)
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, own] * start
    ids = volume.slice_ids[start:stop] if own == 0 else volume.slice_ids
    array = np.ascontiguousarray(volume.array[tuple(index)])
    return replace(volume, array=array, affine=affine, slice_ids=ids)


def flipped(volume: Volume, axis: int, part: float) -> Volume:
    """Return `volume` with the upper `part` of it flipped along a canonical axis.

    The header keeps saying the old orientation. Axis 0 is left-right, 1 front-back.
    """
    source = canonical(volume)
    array = source.array.copy()
    first = round((1 - part) * array.shape[2])
    array[:, :, first:] = np.flip(array[:, :, first:], axis)
    return replace(volume, array=source.to_source(array))


def replaced(volume: Volume, other: Volume, part: float) -> Volume:
    """Return `volume` with the last `part` of its slices from `other`, under its own header.

    All of it (1) is `other` on its own grid; less of it keeps the grid, `other` centred on it at
    its true size and at this scan's brightness.
    """
    if part >= 1:
        return replace(volume, array=other.array, affine=other.affine, slice_ids=())
    count = round(part * len(volume.array))
    index = np.linspace(0, len(other.array) - 1, count).round().astype(np.intp)
    foreign = other.array[index]
    for axis in (1, 2):
        size, wanted = foreign.shape[axis], volume.array.shape[axis]
        step = volume.spacing[axis] / other.spacing[axis]
        foreign = interpolate(foreign, axis, (size - 1) / 2 + _centred(wanted) * step)
    scale = np.quantile(volume.array, 0.99) / max(float(np.quantile(other.array, 0.99)), 1e-6)
    array = volume.array.copy()
    array[-count:] = foreign * scale
    return replace(volume, array=array)


def _centred(size: int) -> NDArray[np.float64]:
    return np.arange(size, dtype=np.float64) - (size - 1) / 2


def _head(array: NDArray[np.float32]) -> NDArray[np.bool_]:
    return array > 0.1 * np.quantile(array, 0.99)


def _with_signal(array: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the indices of the slices with at least a third of the fullest slice's signal."""
    area = _head(array).mean(axis=(1, 2))
    return np.flatnonzero(area > area.max() / 3)
