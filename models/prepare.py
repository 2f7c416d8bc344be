"""Preparation: a scan of any grid as a fixed number of comparable axial images of the brain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import filters

from models.brain_extraction import BrainNet, brain_mask, check_volume, nearest
from models.errors import ModelError, NotAssessable
from models.grid import Canonical, canonical, interpolate, smoothed
from models.volume import Volume

PERCENTILES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Where in the brain's histogram the intensity landmarks lie."""
SMALLEST_SIZE = 16
"""Fewest slices, rows and columns of a series that can be judged."""
_AVERAGE_BRAIN_MM = (32.5, 41.0)
"""Standard deviation of the brain's voxels left to right and front to back, over OASIS-1."""
_IN_PLANE_OPENING = np.ones((1, 3, 3))
_IN_PLANE_CLOSING = np.ones((3, 3, 1))
_BODY_GRID = 128
_BRIGHTEST = 1.25


@dataclass(frozen=True, slots=True)
class GridConfig:
    """The working grid of a detector, and how intensities are made comparable.

    Attributes:
        levels: axial slices judged, evenly spaced over the brain; the same for every scan, so that
            a score cannot depend on how many slices were acquired.
        rows: working image height in pixels, front to back; a multiple of 16.
        columns: working image width in pixels, left to right; a multiple of 16.
        pixel_mm: working pixel.
        resolution_mm: in-plane resolution to which every source is blurred before sampling, so
            that scanners of finer and coarser resolution look alike.
        scaled_to_brain: whether every brain is scaled in-plane to the same size, for reference
            sets that do not state their spacing; a pixel is then `pixel_mm` of an average brain.
        landmarks: the reference's mean intensity at `PERCENTILES` of the brain, as parts of the
            last; every scan's histogram is mapped onto it, piecewise linear. Empty: divide only.
        smallest_region_ml: regions under this volume are not reported.
        anatomy: what is judged: ``brain``, found by the extraction network, or ``body``, what
            stands out from the air.
    """

    levels: int = 24
    rows: int = 160
    columns: int = 128
    pixel_mm: float = 1.5
    resolution_mm: float = 3.0
    scaled_to_brain: bool = False
    landmarks: tuple[float, ...] = ()
    smallest_region_ml: float = 1.0
    anatomy: str = "brain"

    def as_dict(self) -> dict[str, Any]:
        """Return the settings for a manifest."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the settings of a manifest.

        Raises:
            ModelError: if a setting is missing or unknown.
        """
        if set(values) != {field.name for field in fields(cls)}:
            raise ModelError("the bundle's settings are not those of this detector's version")
        # JSON has lists where the settings have tuples.
        plain: dict[str, Any] = {
            name: tuple(cast("list[Any]", value)) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return cls(**plain)


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A scan on the working grid.

    Attributes:
        images: float32, (levels, rows, columns); rows to the front, columns to the right. Source
            intensities as sampled; after `normalised`, in the backbone's range, -1 off the brain.
        brain: bool, same shape.
        positions: index in the canonical source of each level, row and column.
        source: the canonical view of the source.
        acquired: the images as sampled, once `normalised` has changed `images`; else None.
        anatomy: what `brain` is: see `GridConfig`.
    """

    images: NDArray[np.float32]
    brain: NDArray[np.bool_]
    positions: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
    source: Canonical
    acquired: NDArray[np.float32] | None = None
    anatomy: str = "brain"

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


@dataclass(frozen=True, slots=True, eq=False)
class Located:
    """A scan whose anatomy was found.

    Attributes:
        source: the canonical view of the source.
        mask: bool, (i, j, k) over the same field of view, on a grid of its own.
    """

    source: Canonical
    mask: NDArray[np.bool_]


def located(volume: Volume, anatomy: str, extractor: BrainNet) -> Located:
    """Return `volume` with its anatomy found.

    Args:
        volume: the scan.
        anatomy: ``brain``, by the extraction network, or ``body``, what stands out from the air.
        extractor: the brain extraction network.

    Raises:
        NotAssessable: if there are too few slices, values that are not finite, no contrast, or no
            plausible brain.
    """
    source = canonical(volume)
    if min(source.array.shape) < SMALLEST_SIZE:
        raise NotAssessable(f"the series has fewer than {SMALLEST_SIZE} slices, rows or columns")
    if not np.isfinite(source.array).all():
        raise NotAssessable("the series holds voxels that are not numbers")
    if anatomy == "body":
        return Located(source, _body(source.array))
    mask = brain_mask(extractor, source.array)
    if volume.spacing_known:
        check_volume(mask, source.array.shape, volume.voxel_mm3)
    return Located(source, mask)


def _body(array: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return what is brighter than air, largest component, holes filled slice by slice."""
    small = nearest(array, tuple(min(size, _BODY_GRID) for size in array.shape))
    low, high = np.quantile(small, (0.005, 0.995))
    if not high > low:
        raise NotAssessable("the image has no contrast")
    smooth = cast("NDArray[np.float32]", ndimage.gaussian_filter(np.clip(small, low, high), 1.0))
    bright = smooth > low + 0.5 * (float(filters.threshold_otsu(smooth)) - low)
    labels, count = cast("tuple[NDArray[np.int32], int]", ndimage.label(bright))
    if count == 0:
        raise NotAssessable("no body was found in the image")
    largest = labels == int(np.bincount(labels.ravel())[1:].argmax()) + 1
    filled = cast(
        "NDArray[np.bool_]", ndimage.binary_closing(largest, _IN_PLANE_CLOSING, iterations=2)
    )
    for k in range(filled.shape[2]):
        filled[:, :, k] = ndimage.binary_fill_holes(filled[:, :, k])
    return filled


def sampled(volume: Volume, grid: GridConfig, extractor: BrainNet) -> Prepared:
    """Return `volume` on the working grid, intensities as they are.

    Raises:
        NotAssessable: as `located` does.
    """
    found = located(volume, grid.anatomy, extractor)
    return resampled(found, grid)


def resampled(found: Located, grid: GridConfig) -> Prepared:
    """Return a located scan on the working grid, intensities as they are.

    Raises:
        NotAssessable: if the anatomy does not span the slices.
    """
    source, mask = found.source, found.mask
    x, y, z = _positions(mask, source, grid)
    slabs = source.array[:, :, np.round(z).astype(np.intp)]
    for axis, at in ((0, x), (1, y)):
        step = float(at[1] - at[0])  # source voxels a working pixel
        spacing = grid.pixel_mm / step
        slabs = smoothed(slabs, axis, spacing, grid.resolution_mm)
        slabs = interpolate(slabs, axis, at)
    inside = _mask_at(mask, source.array.shape, (x, y, z)).transpose(2, 1, 0)
    inside = cast("NDArray[np.bool_]", ndimage.binary_opening(inside, _IN_PLANE_OPENING))
    if not inside.any(axis=(1, 2)).all():
        raise NotAssessable(f"the {grid.anatomy} found does not span the slices")
    images = np.ascontiguousarray(slabs.transpose(2, 1, 0))
    return Prepared(images, inside, (z, y, x), source, anatomy=grid.anatomy)


def _positions(
    mask: NDArray[np.bool_], source: Canonical, grid: GridConfig
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the canonical source index of each working column, row and level."""
    index = np.argwhere(mask)
    cell = [size / count for size, count in zip(source.array.shape, mask.shape, strict=True)]
    in_plane: list[NDArray[np.float64]] = []
    steps = [grid.pixel_mm / source.spacing[axis] for axis in (0, 1)]
    if grid.scaled_to_brain:
        spread = [index[:, axis].std() * cell[axis] for axis in (0, 1)]
        scale = np.sqrt(spread[0] * spread[1] / np.prod(_AVERAGE_BRAIN_MM))  # voxels a mm
        aspect = np.sqrt(source.spacing[1] / source.spacing[0])
        steps = [float(grid.pixel_mm * scale * aspect), float(grid.pixel_mm * scale / aspect)]
    for axis, size in ((0, grid.columns), (1, grid.rows)):
        centre = (index[:, axis].mean() + 0.5) * cell[axis] - 0.5
        in_plane.append(centre + (np.arange(size) - (size - 1) / 2) * steps[axis])
    bottom, top = np.quantile(index[:, 2], (0.02, 0.98))
    height = bottom + (np.arange(grid.levels) + 0.5) / grid.levels * (top - bottom)
    levels = np.clip((height + 0.5) * cell[2] - 0.5, 0, source.array.shape[2] - 1)
    return in_plane[0], in_plane[1], levels


def normalised(prepared: Prepared, grid: GridConfig) -> Prepared:
    """Return a sampled scan with the reference's histogram, in the backbone's range.

    Piecewise linear between the landmarks (Nyul and Udupa, On standardizing the MR image intensity
    scale, MRM 1999), from 0 below the first and with the last slope above the last.
    """
    found = prepared.quantiles()
    if not found[-1] > max(found[0], 0.0):
        raise NotAssessable(f"the {prepared.anatomy} has no contrast")
    wanted = np.array(grid.landmarks) if grid.landmarks else found / found[-1]
    found = np.maximum.accumulate(found + np.arange(len(found)) * 1e-6 * found[-1])
    slope = (wanted[-1] - wanted[-2]) / (found[-1] - found[-2])
    far = found[-1] + (_BRIGHTEST - wanted[-1]) / slope
    known = np.array([min(0.0, found[0] - 1e-6), *found, far])
    images = np.interp(prepared.images, known, [0.0, *wanted, _BRIGHTEST]) * 2.0 - 1.0
    changed = np.where(prepared.brain, images, -1.0).astype(np.float32)
    return replace(prepared, images=changed, acquired=prepared.images)


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
