"""A tilted stack stood upright for the judge, and what it found brought back to the slices.

With a tilted CT gantry each slice lies shifted along its own plane against the one before: the grid
is sheared, and detectors judge orthogonal ones. Shifting each slice by whole pixels makes one.
Nothing is interpolated: the judge sees the scanner's own values, at most half a pixel from their
place, and what it says of a pixel comes back to that very pixel. Pictures, outlines and measures
are then of the slices as received, in the patient to the digit.

The grid has the source's rows and columns, and more only where there is signal: detectors answer
otherwise on a head in much more air.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gatekeeper.work.geometry import SHEAR_TOLERANCE_DEGREES, drift
from gatekeeper.work.pixels import check_voxels
from models.finding import Finding, Region
from models.regions import measured
from models.volume import Volume

_SIGNAL = 0.1
"""Of the range from the darkest value to the 99th percentile: what is brighter is no air."""


@dataclass(frozen=True, slots=True, eq=False)
class Upright:
    """A volume as its detector gets it.

    Attributes:
        source: the volume as received.
        volume: the same on an orthogonal grid; `source` itself where that is one.
        offsets: row and column of `volume` where each slice of `source` begins, negative where that
            is before its first; empty where the two are one.
    """

    source: Volume
    volume: Volume
    offsets: tuple[tuple[int, int], ...] = ()

    def on_source(self, finding: Finding) -> Finding:
        """Return what was found on `volume` as found on `source`: its map and its regions.

        The map is 0 on pixels that the judge was not shown. A region that lies only where no slice
        is falls away; the ranks of the others close up.
        """
        if not self.offsets:
            return finding
        values = np.zeros_like(self.source.array)
        for index, offset in enumerate(self.offsets):
            here, there = _overlap(offset, values.shape[1:], finding.map.shape[1:])
            values[index][here] = finding.map[index][there]
        found: list[Region] = []
        for region in finding.regions:
            voxels = self._voxels(region)
            if len(voxels):
                found.append(_region(self.source, len(found) + 1, voxels, values))
        return replace(finding, map=values, regions=tuple(found))

    def _voxels(self, region: Region) -> NDArray[np.intp]:
        """Return the indices in `source`, (voxels, 3), of a region's voxels."""
        voxels = np.argwhere(region.mask) + region.mask_offset
        voxels[:, 1:] -= np.array(self.offsets, np.intp)[voxels[:, 0]]
        inside = (voxels >= 0) & (voxels < np.array(self.source.array.shape))
        return voxels[inside.all(axis=1)]


def upright(volume: Volume, maximum_voxels: int) -> Upright:
    """Return a volume with its slices one above the other, the darkest value around them.

    Args:
        volume: on a regular grid.
        maximum_voxels: the most that the grid may have.

    Raises:
        UnreadableSeries: when it has more.
    """
    tilt, row_drift, column_drift = drift(volume.affine)
    if tilt <= SHEAR_TOLERANCE_DEGREES:
        return Upright(volume, volume)
    slices = len(volume.array)
    shifts = np.rint(np.outer(np.arange(slices), (row_drift, column_drift))).astype(int)
    first, shape = _window(volume.array, shifts)
    check_voxels(slices * shape[0] * shape[1], maximum_voxels)
    offsets = [(int(row), int(column)) for row, column in shifts - first]
    array = np.full((slices, *shape), volume.array.min(), np.float32)
    for index, offset in enumerate(offsets):
        here, there = _overlap(offset, volume.array.shape[1:], shape)
        array[index][there] = volume.array[index][here]
    affine = volume.affine.copy()
    affine[:3, 0] -= affine[:3, 1:3] @ (row_drift, column_drift)
    affine[:3, 3] += affine[:3, 1:3] @ first
    return Upright(volume, replace(volume, array=array, affine=affine), tuple(offsets))


def _window(
    array: NDArray[np.float32], shifts: NDArray[np.int_]
) -> tuple[NDArray[np.int_], tuple[int, int]]:
    """Return where the upright grid begins, in pixels of the first slice, and its size.

    It holds all signal of all slices, and is no smaller than a slice.
    """
    low = float(array.min())
    signal = array > low + _SIGNAL * (float(np.quantile(array[:, ::2, ::2], 0.99)) - low)
    first, sizes = np.zeros(2, int), [0, 0]
    for axis in range(2):
        size = array.shape[1 + axis]
        ends: list[int] = []
        for one, shift in zip(signal, shifts[:, axis], strict=True):
            places = np.flatnonzero(one.any(axis=1 - axis))
            if len(places):
                ends += [int(places[0] + shift), int(places[-1] + shift)]
        start, stop = (min(ends), max(ends) + 1) if ends else (0, size)
        sizes[axis] = max(size, stop - start)
        first[axis] = start - (sizes[axis] - (stop - start)) // 2
    return first, (sizes[0], sizes[1])


def _overlap(
    offset: tuple[int, int], source: tuple[int, ...], target: tuple[int, ...]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return which part of a slice lies in the upright grid, and where there."""
    here: list[slice] = []
    there: list[slice] = []
    for start, size, room in zip(offset, source, target, strict=True):
        first, last = max(0, -start), max(0, -start, min(size, room - start))
        here.append(slice(first, last))
        there.append(slice(first + start, last + start))
    return (here[0], here[1]), (there[0], there[1])


def _region(
    volume: Volume, label: int, voxels: NDArray[np.intp], values: NDArray[np.float32]
) -> Region:
    """Return the region of these voxels of a volume, measured on the map's `values`."""
    first, last = voxels.min(axis=0), voxels.max(axis=0) + 1
    mask = np.zeros(last - first, np.bool_)
    mask[tuple((voxels - first).T)] = True
    box = tuple(slice(start, stop) for start, stop in zip(first, last, strict=True))
    offset = (int(first[0]), int(first[1]), int(first[2]))
    return measured(volume, label, mask, offset, values[box])
