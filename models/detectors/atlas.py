"""Detector `atlas`: what is normal at each place of the brain, voxel by voxel.

Reference scans lie on the brain's own grid (centred, levelled, scaled, histograms matched); at
each place the median and the median absolute deviation over subjects, both sides of the brain
taken together, say what is normal. The median over subjects bears a lesion here and there, should
one be left among the slices that count. A scan's map is its smoothed robust z against that, mixed
with its z against its own brain, which does not err where the anatomy lies unusually.

The intensity part of it is the other floor; the atlas is the least that knowledge of anatomy adds.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from models.detectors.intensity import robust_z, smoothed_inside
from models.errors import ModelError
from models.grid import stretched
from models.prepare import GridConfig, Prepared
from models.scoring import Example, Judgement, top_mean
from models.tensors import take
from models.training.loop import Run

ARCHITECTURE = "median and deviation of the reference at each place of a brain-centred grid"
QUESTIONS = {
    "place": "Is any part of the {anatomy} brighter or darker than a reference {anatomy} is at "
    "that place?",
    "overall": "Do the {anatomy}'s intensities follow the reference anatomy as a whole?",
}
LICENSED_WEIGHTS: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Config(GridConfig):
    """Settings.

    Attributes:
        cell: working levels, rows and columns per cell of the stored atlas.
        sign: 1 seeks what is bright, -1 what is dark, 0 both.
        fine: standard deviation of the finer Gaussian on the scan, (levels, pixels).
        coarse: of the coarser one; their z are averaged.
        own: weight of the z against the scan's own brain; the atlas has the rest.
        floor: least deviation, in units of the normalised intensity (the brain spans about 2).
        fewest: subjects that a place must have; elsewhere the brain's overall median stands.
        fraction: the part of the brain, strangest first, whose mean is the score `place`.
    """

    levels: int = 64
    rows: int = 240
    columns: int = 192
    pixel_mm: float = 1.0
    resolution_mm: float = 1.0
    cell: int = 2
    sign: int = 0
    fine: tuple[float, float] = (0.5, 1.5)
    coarse: tuple[float, float] = (1.0, 3.0)
    own: float = 0.5
    floor: float = 0.06
    fewest: int = 5
    fraction: float = 0.01


def fit(examples: Sequence[Example], config: Config, run: Run) -> dict[str, Tensor]:
    """Return median and deviation of the reference, each (levels, rows, columns) / cell."""
    stack: list[NDArray[np.float16]] = []
    for example in examples:
        key = ("atlas", id(example))
        if key not in run.memo:
            run.memo[key] = _cells(example, config)
        cells = cast("NDArray[np.float16]", run.memo[key])
        stack += [cells, cells[..., ::-1]]
    values = np.stack(stack).astype(np.float32)  # (2 scans, levels, rows, columns), NaN outside
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # places outside every brain
        median = np.nanmedian(values, axis=0)
        deviation = 1.4826 * np.nanmedian(np.abs(values - median), axis=0)
    known = np.isfinite(values).sum(axis=0) >= 2 * min(config.fewest, len(examples))
    median = np.where(known, median, np.median(median[known]))
    deviation = np.where(known, deviation, np.median(deviation[known]))
    return {
        "median": torch.from_numpy(ndimage.gaussian_filter(median, (0.5, 1, 1))).half(),
        "deviation": torch.from_numpy(ndimage.gaussian_filter(deviation, (1, 2, 2))).half(),
    }


def _cells(example: Example, config: Config) -> NDArray[np.float16]:
    """Return an example averaged over cells of the atlas, NaN where it does not count."""
    prepared = example.prepared
    inside = prepared.brain & example.usable[:, None, None]
    weight = _pooled(inside.astype(np.float32), config.cell)
    total = _pooled(np.where(inside, prepared.images, 0.0).astype(np.float32), config.cell)
    covered = weight > 0.5
    mean = (total / np.maximum(weight, 1e-3)).astype(np.float32)
    smooth = smoothed_inside(mean, covered, (0.0, 0.5, 0.5))
    return np.where(covered, smooth, np.nan).astype(np.float16)


def _pooled(array: NDArray[np.float32], cell: int) -> NDArray[np.float32]:
    levels, rows, columns = (size // cell for size in array.shape)
    return array.reshape(levels, cell, rows, cell, columns, cell).mean(axis=(1, 3, 5))


def scorer(tensors: Mapping[str, Tensor], config: Config, device: str) -> AtlasScorer:
    """Return the scorer of an atlas; see `models.detector.Method`."""
    del device
    shape = (
        config.levels // config.cell,
        config.rows // config.cell,
        config.columns // config.cell,
    )
    median = take(tensors, "median", shape).float().numpy()
    deviation = take(tensors, "deviation", shape).float().numpy()
    if not bool((deviation >= 0).all()):
        raise ModelError("weights: a deviation of the atlas is negative")
    return AtlasScorer(median, deviation, config)


class AtlasScorer:
    """`models.scoring.Scorer` against the reference at each place."""

    def __init__(
        self, median: NDArray[np.float32], deviation: NDArray[np.float32], config: Config
    ) -> None:
        grid = (config.levels, config.rows, config.columns)
        self._median = stretched(median, grid)
        self._deviation = stretched(deviation, grid) + config.floor
        self._config = config

    def judge(self, prepared: Prepared) -> Judgement:
        """Return the robust z of a normalised scan at each place."""
        config, brain = self._config, prepared.brain
        z = np.zeros(prepared.images.shape, dtype=np.float32)
        for levels, pixels in (config.fine, config.coarse):
            sigma = (levels, pixels, pixels)
            smooth = smoothed_inside(prepared.images, brain, sigma)
            z += np.float32(0.5 * (1 - config.own)) * (smooth - self._median) / self._deviation
            if config.own > 0:
                z += np.float32(0.5 * config.own) * robust_z(prepared, sigma)
        z = np.where(brain, z, 0.0)
        strange = np.abs(z) if config.sign == 0 else np.maximum(z * config.sign, 0.0)
        scores = {
            "place": top_mean(strange[brain], config.fraction),
            "overall": float(np.sqrt(np.mean(z[brain].astype(np.float64) ** 2))),
        }
        return Judgement(scores, strange.astype(np.float32))
