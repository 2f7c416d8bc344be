"""Anomalies: does what is brighter than drawn find lesions that the network never saw?

A network that knows tissue without lesions alone heals them, as autoencoders are meant to do;
every map is put beside the acquired image itself, which is the floor of every such claim.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.evaluation.intervals import RESAMPLES, Figure
from models.evaluation.masks import head
from models.evaluation.measures import Tally, merged, tally
from models.evaluation.pooling import ap_difference, pooled
from models.scan import Scan
from models.synthesis import floors
from models.synthesis.config import Config
from models.synthesis.pairs import Pair, contrasts

RAW = "acquired image as it is"
ALIKE = "acquired image in the brain found"
_BRIGHTER, _SMOOTHED = "brighter than drawn: ", ", smoothed"
NETWORK = "network"
COMPARED = (NETWORK, floors.CONDITIONAL)
"""What is taken from the acquired image: the network's drawing, and the best floor's."""
BLOCK_MM = 10.0
"""Height of the blocks of slices that are resampled when all lesions are of one subject."""


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """One scan, drawn by models that did not see the part of it that they drew.

    Attributes:
        pair: the contrasts on the working grid.
        images: method -> float32, (levels, rows, columns), -1 off the brain.
        part: int, (levels,): which part each level was drawn in.
    """

    pair: Pair
    images: Mapping[str, NDArray[np.float32]]
    part: NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Anomaly:
    """A map of what is brighter than drawn, against the lesions.

    Attributes:
        ap: average precision over the voxels of the head, with an interval over `unit`.
        auroc: likewise.
        less_raw: the AP less that of the acquired image as it is, paired.
        less_alike: the AP less that of the acquired image brought to the same grid and smoothed
            alike, which is what the drawing has to add to; None for those images themselves.
    """

    ap: Figure
    auroc: Figure
    less_raw: Figure
    less_alike: Figure | None


def measure(
    scans: Sequence[Scan],
    found: Sequence[Drawn],
    config: Config,
    seed: int,
    smoothing_mm: float,
    *,
    by_subject: bool,
    resamples: int = RESAMPLES,
) -> tuple[dict[str, Anomaly], float]:
    """Return how well each map ranks the lesions' voxels on the scans' own grids, and their part.

    Args:
        scans: with lesions drawn; without any, nothing is returned.
        found: the same, drawn.
        config: settings.
        seed: of the intervals.
        smoothing_mm: standard deviation of the Gaussian on each map.
        by_subject: whether subjects are resampled for the intervals, else blocks of slices.
        resamples: how many.
    """
    tallies: dict[str, dict[str, list[Tally]]] = {}
    for scan, one in zip(scans, found, strict=True):
        mask = head(scan.volume)
        units = _units(scan, by_subject=by_subject)
        for name, image in _maps(scan, one, config, smoothing_mm).items():
            own = tallies.setdefault(name, {})
            for unit, (first, last) in units.items():
                cut = slice(first, last)
                if mask[cut].any():
                    counts = tally(image[cut], scan.lesion[cut], mask[cut]).coarsened()
                    own.setdefault(unit, []).append(counts)
    units = {name: [merged(own[unit]) for unit in sorted(own)] for name, own in tallies.items()}
    whole = {name: merged(own) for name, own in units.items()}
    if not whole[RAW].regions:
        return {}, 0.0
    result: dict[str, Anomaly] = {}
    for name, own in units.items():
        figures = pooled(whole[name], own, seed, resamples)
        alike = None
        if name.startswith(_BRIGHTER):
            floor = ALIKE + (_SMOOTHED if name.endswith(_SMOOTHED) else "")
            alike = ap_difference(own, units[floor], seed, resamples)
        less = ap_difference(own, units[RAW], seed, resamples)
        result[name] = Anomaly(figures.ap, figures.auroc, less, alike)
    return result, whole[RAW].prevalence


def _maps(
    scan: Scan, one: Drawn, config: Config, smoothing_mm: float
) -> dict[str, NDArray[np.float32]]:
    """Return every map of a scan on the scan's own grid."""
    images = {ALIKE: one.pair.target + 1}
    for name in COMPARED:
        images[_BRIGHTER + name] = np.maximum(one.pair.target - one.images[name], 0)
    sigma = tuple(smoothing_mm / mm for mm in (config.slice_mm, *(config.pixel_mm,) * 2))
    maps = {RAW: contrasts(scan)[config.output]}
    for name, image in images.items():
        kept = np.where(one.pair.brain, image, 0.0).astype(np.float32)
        smooth = np.asarray(ndimage.gaussian_filter(kept, sigma), np.float32)
        maps[name] = one.pair.grid.to_source(kept)
        maps[name + _SMOOTHED] = one.pair.grid.to_source(smooth)
    return maps


def _units(scan: Scan, *, by_subject: bool) -> dict[str, tuple[int, int]]:
    """Return the slices of each unit that is resampled: a subject, or blocks of slices."""
    slices = len(scan.volume.array)
    if by_subject:
        return {scan.subject: (0, slices)}
    size = max(1, round(BLOCK_MM / scan.volume.spacing[0]))
    return {f"{start:05d}": (start, min(start + size, slices)) for start in range(0, slices, size)}
