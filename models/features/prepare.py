"""Preparation: a scan of any grid as a fixed number of comparable axial images of the brain."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.brain_extraction import BrainNet, brain_mask, check_volume
from models.errors import NotAssessable
from models.features.config import PERCENTILES, FeaturesConfig
from models.grid import Canonical, canonical, interpolate, smoothed
from models.volume import Volume

SMALLEST_SIZE = 16
"""Fewest slices, rows and columns of a series that can be judged."""
_AVERAGE_BRAIN_MM = (32.5, 41.0)
"""Standard deviation of the brain's voxels left to right and front to back, over OASIS-1."""
_IN_PLANE_OPENING = np.ones((1, 3, 3))
_BRIGHTEST = 1.25


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A scan on the working grid.

    Attributes:
        images: float32, (levels, rows, columns); rows to the front, columns to the right. Source
            intensities as sampled; after `normalised`, in the backbone's range, -1 off the brain.
        brain: bool, same shape.
        positions: index in the canonical source of each level, row and column.
        source: the canonical view of the source.
    """

    images: NDArray[np.float32]
    brain: NDArray[np.bool_]
    positions: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
    source: Canonical

    def quantiles(self) -> NDArray[np.float64]:
        """Return the brain's intensity at `PERCENTILES`."""
        return np.quantile(self.images[self.brain], PERCENTILES).astype(np.float64)

    def to_source(self, working: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a working-grid map, (levels, rows, columns), on the source's own grid."""
        array = working
        for axis, positions in enumerate(self.positions):
            size = self.source.array.shape[2 - axis]
            step = float(np.diff(positions).mean())
            at = (np.arange(size) - positions[0]) / step
            array = interpolate(array, axis, at)
        return self.source.to_source(array.transpose(2, 1, 0))


def sampled(
    volume: Volume, config: FeaturesConfig, extractor: BrainNet, *, spacing_known: bool = True
) -> Prepared:
    """Return `volume` on the working grid, intensities as they are.

    Args:
        volume: the scan.
        config: the working grid.
        extractor: the brain extraction network.
        spacing_known: whether the brain's volume can be checked for plausibility.

    Raises:
        NotAssessable: if there are too few slices, values that are not finite, no contrast, or no
            plausible brain.
    """
    source = canonical(volume)
    if min(source.array.shape) < SMALLEST_SIZE:
        raise NotAssessable(f"the series has fewer than {SMALLEST_SIZE} slices, rows or columns")
    if not np.isfinite(source.array).all():
        raise NotAssessable("the series holds voxels that are not numbers")
    mask = brain_mask(extractor, source.array)
    if spacing_known:
        check_volume(mask, source.array.shape, volume.voxel_mm3)
    x, y, z = _positions(mask, source, config)
    slabs = source.array[:, :, np.round(z).astype(np.intp)]
    for axis, at in ((0, x), (1, y)):
        step = float(at[1] - at[0])  # source voxels a working pixel
        spacing = config.pixel_mm / step
        slabs = smoothed(slabs, axis, spacing, config.resolution_mm)
        slabs = interpolate(slabs, axis, at)
    brain = _mask_at(mask, source.array.shape, (x, y, z)).transpose(2, 1, 0)
    brain = cast("NDArray[np.bool_]", ndimage.binary_opening(brain, _IN_PLANE_OPENING))
    if not brain.any(axis=(1, 2)).all():
        raise NotAssessable("the brain found does not span the slices")
    return Prepared(np.ascontiguousarray(slabs.transpose(2, 1, 0)), brain, (z, y, x), source)


def _positions(
    mask: NDArray[np.bool_], source: Canonical, config: FeaturesConfig
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the canonical source index of each working column, row and level."""
    index = np.argwhere(mask)
    cell = [size / grid for size, grid in zip(source.array.shape, mask.shape, strict=True)]
    in_plane: list[NDArray[np.float64]] = []
    steps = [config.pixel_mm / source.spacing[axis] for axis in (0, 1)]
    if config.scaled_to_brain:
        spread = [index[:, axis].std() * cell[axis] for axis in (0, 1)]
        scale = np.sqrt(spread[0] * spread[1] / np.prod(_AVERAGE_BRAIN_MM))  # voxels a mm
        aspect = np.sqrt(source.spacing[1] / source.spacing[0])
        steps = [float(config.pixel_mm * scale * aspect), float(config.pixel_mm * scale / aspect)]
    for axis, size in ((0, config.columns), (1, config.rows)):
        centre = (index[:, axis].mean() + 0.5) * cell[axis] - 0.5
        in_plane.append(centre + (np.arange(size) - (size - 1) / 2) * steps[axis])
    bottom, top = np.quantile(index[:, 2], (0.02, 0.98))
    height = bottom + (np.arange(config.levels) + 0.5) / config.levels * (top - bottom)
    levels = np.clip((height + 0.5) * cell[2] - 0.5, 0, source.array.shape[2] - 1)
    return in_plane[0], in_plane[1], levels


def normalised(prepared: Prepared, config: FeaturesConfig) -> Prepared:
    """Return a sampled scan with the reference's histogram, in the backbone's range.

    Piecewise linear between the landmarks (Nyul and Udupa, On standardizing the MR image intensity
    scale, MRM 1999), from 0 below the first and with the last slope above the last.
    """
    found = prepared.quantiles()
    if not found[-1] > max(found[0], 0.0):
        raise NotAssessable("the brain has no contrast")
    wanted = np.array(config.landmarks) if config.landmarks else found / found[-1]
    found = np.maximum.accumulate(found + np.arange(len(found)) * 1e-6 * found[-1])
    slope = (wanted[-1] - wanted[-2]) / (found[-1] - found[-2])
    far = found[-1] + (_BRIGHTEST - wanted[-1]) / slope
    known = np.array([min(0.0, found[0] - 1e-6), *found, far])
    images = np.interp(prepared.images, known, [0.0, *wanted, _BRIGHTEST]) * 2.0 - 1.0
    return replace(prepared, images=np.where(prepared.brain, images, -1.0).astype(np.float32))


def _mask_at(
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
    return mask
