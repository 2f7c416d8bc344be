"""Pairs: the contrasts of one scan on the working grid, and where the wanted one may be learned.

The grid is of fixed pixel and slice distances and spans the whole brain, so that a contrast drawn
on it lies over all of the scan that it was made from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.brain_extraction import BrainNet, nearest
from models.errors import ModelError, NotAssessable
from models.grid import canonical, interpolate, smoothed
from models.prepare import GridConfig, Located, Prepared, located, normalised
from models.scan import Scan
from models.synthesis.config import Config
from models.volume import Volume

BACKGROUND = -1.0
"""Value of images off the brain."""


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """One subject's contrasts.

    Attributes:
        subject: whose they are.
        name: of the scan.
        inputs: float32, (inputs, levels, rows, columns), histograms matched, -1 off the brain.
        target: float32, (levels, rows, columns): -1 is no signal and off the brain, 1 the brain's
            99th percentile.
        brain: bool, (levels, rows, columns).
        lesion: bool, like the brain: where a lesion was drawn.
        near_lesion: bool, like the brain: in or within the margin of a lesion.
        grid: the first input on the working grid, and the way back to the source's.
    """

    subject: str
    name: str
    inputs: NDArray[np.float32]
    target: NDArray[np.float32]
    brain: NDArray[np.bool_]
    lesion: NDArray[np.bool_]
    near_lesion: NDArray[np.bool_]
    grid: Prepared

    @property
    def learned(self) -> NDArray[np.bool_]:
        """Where the wanted contrast may be learned: brain away from lesions."""
        return self.brain & ~self.near_lesion


def contrasts(scan: Scan) -> Mapping[str, NDArray[np.float32]]:
    """Return the contrasts of a scan by sequence, its own among its companions."""
    return {**scan.companions, scan.volume.sequence: scan.volume.array}


def on_grid(found: Located, config: Config) -> Prepared:
    """Return a located scan on the working grid, intensities as they are.

    In-plane centred on the brain; from one slice below the lowest of the brain to one above.
    """
    source = found.source
    index = np.argwhere(found.mask)
    cell = [size / count for size, count in zip(source.array.shape, found.mask.shape, strict=True)]
    positions: list[NDArray[np.float64]] = []
    for axis, size in ((0, config.columns), (1, config.rows)):
        centre = (index[:, axis].mean() + 0.5) * cell[axis] - 0.5
        step = config.pixel_mm / source.spacing[axis]
        positions.append(centre + (np.arange(size) - (size - 1) / 2) * step)
    step = config.slice_mm / source.spacing[2]
    low, high = index[:, 2].min() * cell[2] - step, (index[:, 2].max() + 1) * cell[2] + step
    positions.append(np.arange(low, high, step))
    array, inside = source.array, nearest(found.mask.astype(np.float32), source.array.shape)
    widths = (config.pixel_mm, config.pixel_mm, config.slice_mm)
    for axis in (2, 0, 1):
        array = smoothed(array, axis, source.spacing[axis], widths[axis])
        array = interpolate(array, axis, positions[axis])
        inside = interpolate(inside, axis, positions[axis])
    x, y, z = positions
    images = np.ascontiguousarray(array.transpose(2, 1, 0))
    brain = np.ascontiguousarray(inside.transpose(2, 1, 0)) > 0.5
    return Prepared(images, brain, (z, y, x), source)


@dataclass(frozen=True, slots=True, eq=False)
class Acquired:
    """The contrasts of one scan on the working grid, intensities as they are.

    Attributes:
        inputs: one for each of the settings' inputs.
        found: the anatomy, found on the first.
    """

    inputs: tuple[Prepared, ...]
    found: Located

    def matched(self, config: Config) -> NDArray[np.float32]:
        """Return the inputs with the histograms of the training scans, as `Pair.inputs`.

        Raises:
            NotAssessable: if an input has no contrast.
        """
        grids = [GridConfig(landmarks=config.landmarks_of(n)) for n in range(len(self.inputs))]
        own = zip(self.inputs, grids, strict=True)
        return np.stack([normalised(one, grid).images for one, grid in own])


def acquired(
    volume: Volume,
    arrays: Mapping[str, NDArray[np.float32]],
    config: Config,
    extractor: BrainNet,
) -> Acquired:
    """Return the inputs on the working grid.

    Args:
        volume: whose grid `arrays` are on.
        arrays: the contrasts by sequence.
        config: which are read, and on what grid.
        extractor: the brain extraction network.

    Raises:
        ModelError: if an input is missing.
        NotAssessable: if no brain is found.
    """
    if missing := sorted(set(config.inputs) - set(arrays)):
        raise ModelError(f"a scan has no {missing[0]}; {config.output} is made of it")
    first = replace(volume, array=arrays[config.inputs[0]])
    found = located(first, config.anatomy, extractor)
    grids = [on_grid(_with(found, volume, arrays[name]), config) for name in config.inputs]
    return Acquired(tuple(grids), found)


def pairs_of(
    scans: Iterable[Scan], config: Config, extractor: BrainNet
) -> tuple[list[Pair], Config]:
    """Return the scans' contrasts to learn from, and the settings with their mean histograms.

    A scan in which no brain is found is left out.

    Raises:
        ModelError: if a scan is synthetic itself or lacks a contrast, or none is left.
    """
    raw: list[tuple[Scan, Acquired, Prepared, NDArray[np.float32]]] = []
    for scan in scans:
        scan.refuse_synthetic("the training of a synthesis network")
        arrays = contrasts(scan)
        if config.output not in arrays:
            raise ModelError(f"{scan.name}: has no {config.output} to learn from")
        try:
            own = acquired(scan.volume, arrays, config, extractor)
            target = on_grid(_with(own.found, scan.volume, arrays[config.output]), config)
            wanted = _scaled(target)
        except NotAssessable:
            continue
        drawn = _with(own.found, scan.volume, scan.lesion.astype(np.float32))
        raw.append((scan, own, wanted, on_grid(drawn, config).images))
    if not raw:
        raise ModelError("there is no scan to learn from")
    landmarks = [
        _landmarks([own.inputs[index] for _, own, _, _ in raw])
        for index in range(len(config.inputs))
    ]
    settled = replace(config, landmarks=tuple(value for one in landmarks for value in one))
    pairs = [
        Pair(
            scan.subject,
            scan.name,
            own.matched(settled),
            wanted.images,
            wanted.brain,
            (lesion > 0.5) & wanted.brain,
            _near(lesion > 0.05, config),
            own.inputs[0],
        )
        for scan, own, wanted, lesion in raw
    ]
    return pairs, settled


def _landmarks(scans: Sequence[Prepared]) -> tuple[float, ...]:
    """Return the mean histogram of scans of one contrast, as parts of its last landmark."""
    rows = np.stack([one.quantiles() for one in scans])
    return tuple(round(float(value), 6) for value in (rows / rows[:, -1:]).mean(axis=0))


def _scaled(acquired: Prepared) -> Prepared:
    """Return a scan from -1 (no signal) to 1 (the brain's 99th percentile), brighter above."""
    bright = float(acquired.quantiles()[-1])
    if bright <= 0:
        raise NotAssessable("the brain has no contrast")
    images = np.maximum(acquired.images / bright * 2 - 1, BACKGROUND)
    return replace(acquired, images=np.where(acquired.brain, images, BACKGROUND).astype("f4"))


def _with(found: Located, volume: Volume, array: NDArray[np.float32]) -> Located:
    """Return what was found, of another contrast on the same grid."""
    return Located(canonical(replace(volume, array=array)), found.mask)


def _near(lesion: NDArray[np.bool_], config: Config) -> NDArray[np.bool_]:
    """Return what lies in a lesion or within the margin of one."""
    if not lesion.any():
        return lesion
    spacing = (config.slice_mm, config.pixel_mm, config.pixel_mm)
    distance = cast("NDArray[np.float64]", ndimage.distance_transform_edt(~lesion, spacing))
    return distance <= config.margin_mm
