"""Defects: facts about a series as received that need no training to be told.

Repeated, empty or missing slices, a cut head, values that cannot be right. Deterministic. The
limits were set on 109 scans: none of 28 of OASIS-1 (T1) has a defect; of 81 clinical FLAIR (LGG),
three jump and some end below the vertex.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.grid import canonical
from models.stack import jump, near, steps
from models.volume import Volume

SATURATED = 0.02
"""Part of the head's voxels that may share the largest value."""
REPEATED = 0.2
"""Difference of two neighbours, over the median of the differences near them, that is a repeat."""
JUMP = 1.2
"""Difference of two neighbours over the largest of the two differences to each side of it."""
CUT = 0.22
"""Area of the head on a side of the array over its largest area parallel to that side. The top may
hold as much as a sphere has one slice below its vertex."""
HEADS = ("BRAIN", "HEAD")
"""Body parts that a field of view must hold whole, but for the lower end."""

_SIGNAL = 0.1  # of the 99th percentile
_SCALP_MM = 8.0
_HEAD_RADIUS_MM = 70.0
_FINEST = 128  # in-plane samples used to compare slices


@dataclass(frozen=True, slots=True)
class Defect:
    """One thing wrong with a series.

    Attributes:
        check: ``not_finite``, ``constant``, ``saturated``, ``empty_slices``, ``repeated_slices``,
            ``slice_jump`` or ``cut_head``.
        slices: indices of the slices concerned; empty when it is the whole series.
        sentence: what is wrong, for a report.
    """

    check: str
    slices: tuple[int, ...]
    sentence: str


def defects(volume: Volume) -> tuple[Defect, ...]:
    """Return everything wrong with a series as received, in the order of `Defect.check`."""
    array = volume.array
    broken = np.flatnonzero(~np.isfinite(array).all(axis=(1, 2)))
    if len(broken):
        words = f"{_slices(broken, 'holds', 'hold')} voxels that are not numbers"
        return (_defect("not_finite", broken, words),)
    if array.min() == array.max():
        return (_defect("constant", (), "every voxel has the same value"),)
    small = _coarse(array)
    signal = small > _SIGNAL * np.quantile(small, 0.99)
    found = [*_saturated(array), *_stack(array, small, signal)]
    if volume.body_part in HEADS:
        found += _cut_head(volume)
    return tuple(found)


def _saturated(array: NDArray[np.float32]) -> list[Defect]:
    top = array.max()
    head = np.count_nonzero(array > _SIGNAL * np.quantile(array[:, ::2, ::2], 0.99))
    part = np.count_nonzero(array == top) / max(head, 1)
    if part <= SATURATED:
        return []
    return [_defect("saturated", (), f"{part:.0%} of the head has the largest value, {top:g}")]


def _stack(
    array: NDArray[np.float32], small: NDArray[np.float32], signal: NDArray[np.bool_]
) -> list[Defect]:
    """Return what is wrong with the order of slices: empty, repeated, missing."""
    found: list[Defect] = []
    area = signal.mean(axis=(1, 2))
    filled = np.flatnonzero(area > 0.01 * area.max())
    empty = np.flatnonzero(area == 0)
    empty = empty[(empty > filled[0]) & (empty < filled[-1])]
    if len(empty):
        found.append(_defect("empty_slices", empty, f"{_slices(empty, 'is', 'are')} empty"))
    full = area > area.max() / 3
    pairs = np.flatnonzero(full[1:] & full[:-1])  # pair k is slices k and k + 1
    step = steps(small)
    same = np.array([k for k in filled[:-1] if np.array_equal(array[k], array[k + 1])], np.intp)
    alike = [k for k in pairs if step[k] < REPEATED * np.median(step[near(pairs, int(k), 4)])]
    repeated = np.union1d(same, np.array(alike, np.intp)).astype(np.intp) + 1
    if len(repeated):
        words = f"{_slices(repeated, 'shows', 'show')} the same image as the slice before"
        found.append(_defect("repeated_slices", repeated, words))
    jumps = np.array([k + 1 for k in pairs if jump(step, pairs, int(k)) > JUMP], np.intp)
    jumps = jumps[~np.isin(jumps - 1, repeated)]  # what follows a repeat always jumps
    if len(jumps):
        words = f"the content jumps before {_slices(jumps)}, as where slices are missing"
        found.append(_defect("slice_jump", jumps, words))
    return found


def _cut_head(volume: Volume) -> list[Defect]:
    source = canonical(volume)
    steps = tuple(slice(None, None, max(1, size // _FINEST)) for size in source.array.shape[:2])
    array = source.array[*steps]
    head = array > 2 * _SIGNAL * np.quantile(array, 0.99)
    sides: list[str] = []
    for axis, names in enumerate((("left", "right"), ("back", "front"), ("", "top"))):
        flat = np.expand_dims(ndimage.generate_binary_structure(2, 1), axis)
        solid = ndimage.binary_opening(head, flat, iterations=2)
        area = solid.sum(axis=tuple(other for other in range(3) if other != axis))
        # The last slice may lie a slice below the vertex of a sphere of this radius.
        height = (source.spacing[2] + _SCALP_MM) / _HEAD_RADIUS_MM
        limit = CUT if axis < 2 else max(CUT, 1 - (1 - min(height, 1.0)) ** 2)
        for name, end in zip(names, (area[0], area[-1]), strict=True):
            if name and end > limit * area.max():
                sides.append(name)
    if not sides:
        return []
    words = f"the head, or a ghost of it, reaches the edge at the {' and the '.join(sides)}"
    return [_defect("cut_head", (), words)]


def _coarse(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the slices, thinned and smoothed, so that noise does not hide what they share."""
    steps = tuple(slice(None, None, max(1, size // _FINEST)) for size in array.shape[1:])
    thin = array[:, steps[0], steps[1]]
    return cast("NDArray[np.float32]", ndimage.uniform_filter(thin, 3, axes=(1, 2)))


def _defect(check: str, slices: NDArray[np.intp] | tuple[()], words: str) -> Defect:
    return Defect(check, tuple(int(index) for index in slices), words[0].upper() + words[1:] + ".")


def _slices(index: NDArray[np.intp], one: str = "", several: str = "") -> str:
    """Return which slices are meant, counted from 1, with the verb that agrees with them."""
    numbers = [str(number + 1) for number in index[:5]]
    if len(index) == 1:
        return f"slice {numbers[0]} {one}".rstrip()
    if len(index) > len(numbers):
        numbers.append("others")
    return f"slices {', '.join(numbers[:-1])} and {numbers[-1]} {several}".rstrip()
