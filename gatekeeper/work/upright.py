"""A tilted stack stood upright for the judge, and what it found brought back to the slices.

With a tilted CT gantry each slice lies shifted along its own plane against the one before: the grid
is sheared, and detectors judge orthogonal ones. Shifting each slice by whole pixels makes one.
Nothing is interpolated: the judge sees the scanner's own values, at most half a pixel from their
place, and what it says of a pixel comes back to that very pixel. Pictures, outlines and measures
are then of the slices as received, in the patient to the digit.
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


@dataclass(frozen=True, slots=True, eq=False)
class Upright:
    """A volume as its detector gets it.

    Attributes:
        source: the volume as received.
        volume: the same on an orthogonal grid; `source` itself where that is one.
        offsets: row and column of `volume` where each slice of `source` begins; empty where the two
            are one.
    """

    source: Volume
    volume: Volume
    offsets: tuple[tuple[int, int], ...] = ()

    def on_source(self, finding: Finding) -> Finding:
        """Return what was found on `volume` as found on `source`: its map and its regions.

        A region that lies only where no slice is falls away; the ranks of the others close up.
        """
        if not self.offsets:
            return finding
        _, rows, columns = self.source.array.shape
        values = np.stack(
            [
                finding.map[index, row : row + rows, column : column + columns]
                for index, (row, column) in enumerate(self.offsets)
            ]
        )
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
    """Return a volume with its slices one above the other.

    Around them is the darkest value of the volume.

    Args:
        volume: on a regular grid.
        maximum_voxels: the most that the grid may have.

    Raises:
        UnreadableSeries: when it has more.
    """
    tilt, row_drift, column_drift = drift(volume.affine)
    if tilt <= SHEAR_TOLERANCE_DEGREES:
        return Upright(volume, volume)
    slices, rows, columns = volume.array.shape
    shifts = np.rint(np.outer(np.arange(slices), (row_drift, column_drift))).astype(int)
    first = shifts.min(axis=0)
    offsets = shifts - first
    height, width = rows + int(offsets[:, 0].max()), columns + int(offsets[:, 1].max())
    check_voxels(slices * height * width, maximum_voxels)
    array = np.full((slices, height, width), volume.array.min(), np.float32)
    for index, (row, column) in enumerate(offsets):
        array[index, row : row + rows, column : column + columns] = volume.array[index]
    affine = volume.affine.copy()
    affine[:3, 0] -= affine[:3, 1:3] @ (row_drift, column_drift)
    affine[:3, 3] += affine[:3, 1:3] @ first
    return Upright(
        volume,
        replace(volume, array=array, affine=affine),
        tuple((int(row), int(column)) for row, column in offsets),
    )


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
