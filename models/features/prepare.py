"""Preparation: a scan of any grid as a fixed number of comparable axial images of the brain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.brain_extraction import BrainNet, brain_mask
from models.errors import NotAssessable
from models.features.config import FeaturesConfig
from models.grid import Canonical, canonical, interpolate, smoothed
from models.volume import Volume


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A scan on the working grid.

    Attributes:
        images: float32, (levels, rows, columns); rows to the front, columns to the right; in the
            range the backbone expects, -1 outside the region.
        region: bool, same shape: brain or head.
        positions: index in the canonical source of each level, row and column.
        source: the canonical view of the source.
        bright: source intensity that few voxels of the region exceed.
    """

    images: NDArray[np.float32]
    region: NDArray[np.bool_]
    positions: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
    source: Canonical
    bright: float

    def to_source(self, working: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a working-grid map, (levels, rows, columns), on the source's own grid."""
        array = working
        for axis, positions in enumerate(self.positions):
            size = self.source.array.shape[2 - axis]
            index = np.arange(size, dtype=np.float64)
            step = float(np.diff(positions).mean())
            at = np.interp(index, positions, np.arange(len(positions), dtype=np.float64))
            # np.interp clamps; beyond the ends the map must fall to 0 instead.
            at = np.where(index < positions[0], (index - positions[0]) / step, at)
            at = np.where(
                index > positions[-1], len(positions) - 1 + (index - positions[-1]) / step, at
            )
            array = interpolate(array, axis, at)
        return self.source.to_source(array.transpose(2, 1, 0))


def prepare(volume: Volume, config: FeaturesConfig, extractor: BrainNet) -> Prepared:
    """Return `volume` on the working grid.

    Raises:
        NotAssessable: if there are too few slices, or no plausible brain.
    """
    source = canonical(volume)
    if min(source.array.shape) < 16:
        raise NotAssessable("the series has fewer than 16 slices, rows or columns")
    mask = brain_mask(extractor, source.array, volume.voxel_mm3)
    cell = [size / grid for size, grid in zip(source.array.shape, mask.shape, strict=True)]
    index = np.argwhere(mask)
    centre = [(index[:, axis].mean() + 0.5) * cell[axis] - 0.5 for axis in range(3)]
    bottom, top = np.quantile(index[:, 2], (0.02, 0.98))
    position = (np.arange(config.levels) + 0.5) / config.levels
    z = ((bottom + position * (top - bottom)) + 0.5) * cell[2] - 0.5
    z = np.clip(z, 0, source.array.shape[2] - 1)
    step_x, step_y = (config.pixel_mm / source.spacing[axis] for axis in (0, 1))
    x = centre[0] + (np.arange(config.columns) - (config.columns - 1) / 2) * step_x
    y = centre[1] + (np.arange(config.rows) - (config.rows - 1) / 2) * step_y

    slabs = source.array[:, :, np.round(z).astype(np.intp)]
    for axis, at in ((0, x), (1, y)):
        slabs = smoothed(slabs, axis, source.spacing[axis], config.resolution_mm)
        slabs = interpolate(slabs, axis, at)
    images = np.ascontiguousarray(slabs.transpose(2, 1, 0))
    region = _nearest_mask(mask, source.array.shape, (x, y, z)).transpose(2, 1, 0)
    high = float(np.quantile(images[region], 0.99))
    low = 0.0
    if not high > low:
        raise NotAssessable("the brain has no contrast")
    images = np.clip((images - low) / (high - low), 0.0, 1.25) * 2.0 - 1.0
    images = np.where(region, images, -1.0).astype(np.float32)
    return Prepared(images, region, (z, y, x), source, high)


def _nearest_mask(
    mask: NDArray[np.bool_],
    shape: tuple[int, ...],
    positions: tuple[NDArray[np.float64], ...],
) -> NDArray[np.bool_]:
    """Return `mask`, which spans a source of `shape`, at `positions`; False outside."""
    for axis, at in enumerate(positions):
        size, grid = shape[axis], mask.shape[axis]
        index = np.floor((at + 0.5) * grid / size).astype(np.intp)
        inside = (index >= 0) & (index < grid)
        wanted = [1] * mask.ndim
        wanted[axis] = len(at)
        mask = mask.take(np.clip(index, 0, grid - 1), axis=axis) & inside.reshape(wanted)
    return ndimage.binary_opening(mask, np.ones((3, 3, 1)))
