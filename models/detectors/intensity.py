"""Detector `intensity`: an honest floor. How bright is it, and is the histogram ordinary?

It learns four numbers of each reference scan and nothing of what a brain looks like. Whatever does
not beat it has learned nothing. On FLAIR, where what is sought is bright, it is hard to beat.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage, stats
from torch import Tensor

from models.prepare import GridConfig, Prepared
from models.scoring import Example, Judgement, top_mean
from models.tensors import take
from models.training.loop import Run

ARCHITECTURE = "none: robust z-score of the intensity; four statistics of the histogram"
QUESTIONS = {
    "histogram": "Is the histogram of the {anatomy}'s intensities like that of the reference "
    "scans?",
    "brightness": "Is any part of the {anatomy} far brighter or darker than the rest of this "
    "{anatomy}?",
}
LICENSED_WEIGHTS: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Config(GridConfig):
    """Settings.

    Attributes:
        sign: 1 seeks what is bright, -1 what is dark, 0 both.
        smoothing_mm: standard deviation of the in-plane Gaussian on the map.
        fraction: the part of the brain, strangest first, whose mean is the score `brightness`.
    """

    sign: int = 0
    smoothing_mm: float = 1.0
    fraction: float = 0.01


def fit(examples: Sequence[Example], config: Config, run: Run) -> dict[str, Tensor]:
    """Return mean and deviation of the four statistics over the examples."""
    del config, run
    rows = np.stack([statistics(example.prepared) for example in examples])
    deviation = np.maximum(rows.std(axis=0, ddof=1), 1e-6)
    return {"mean": torch.from_numpy(rows.mean(axis=0)), "deviation": torch.from_numpy(deviation)}


def scorer(tensors: Mapping[str, Tensor], config: Config, device: str) -> IntensityScorer:
    """Return the scorer; see `models.detector.Method`."""
    del device
    mean, deviation = (take(tensors, name, (4,)).double() for name in ("mean", "deviation"))
    return IntensityScorer(mean.numpy(), deviation.numpy(), config)


def statistics(prepared: Prepared) -> NDArray[np.float64]:
    """Return mean and deviation over the 99th percentile, skewness, excess kurtosis, (4,)."""
    images = prepared.images if prepared.acquired is None else prepared.acquired
    values = images[prepared.brain].astype(np.float64)
    values /= max(float(np.quantile(values, 0.99)), 1e-12)
    return np.array([values.mean(), values.std(), stats.skew(values), stats.kurtosis(values)])


def robust_z(prepared: Prepared, smoothing: tuple[float, float, float]) -> NDArray[np.float32]:
    """Return robust deviations of a scan's smoothed intensity from its own brain's median."""
    brain = prepared.brain
    smooth = smoothed_inside(prepared.images, brain, smoothing)
    values = prepared.images[brain]
    middle = float(np.median(values))
    spread = max(1.4826 * float(np.median(np.abs(values - middle))), 1e-6)
    return np.where(brain, (smooth - middle) / spread, 0.0).astype(np.float32)


def smoothed_inside(
    images: NDArray[np.float32], inside: NDArray[np.bool_], sigma: tuple[float, float, float]
) -> NDArray[np.float32]:
    """Return `images` smoothed by a Gaussian that takes nothing from outside; 0 there."""
    values = cast(
        "NDArray[np.float32]", ndimage.gaussian_filter(np.where(inside, images, 0.0), sigma)
    )
    weight = cast("NDArray[np.float32]", ndimage.gaussian_filter(inside.astype(np.float32), sigma))
    return np.where(inside, values / np.maximum(weight, 1e-3), 0.0).astype(np.float32)


class IntensityScorer:
    """`models.scoring.Scorer` of intensity alone."""

    def __init__(
        self, mean: NDArray[np.float64], deviation: NDArray[np.float64], config: Config
    ) -> None:
        self._mean = mean
        self._deviation = deviation
        self._config = config

    def judge(self, prepared: Prepared) -> Judgement:
        """Return how far the histogram, and the brightest or darkest parts, are from ordinary."""
        pixels = self._config.smoothing_mm / self._config.pixel_mm
        z = robust_z(prepared, (0.0, pixels, pixels))
        sign = self._config.sign
        strange = np.abs(z) if sign == 0 else np.maximum(z * sign, 0.0)
        deviations = (statistics(prepared) - self._mean) / self._deviation
        scores = {
            "histogram": float(np.abs(deviations).max()),
            "brightness": top_mean(strange[prepared.brain], self._config.fraction),
        }
        return Judgement(scores, strange.astype(np.float32))
