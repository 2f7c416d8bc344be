"""Calibration: what a raw score or distance means among normal scans."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def conformal_p_value(score: float, calibration: Sequence[float]) -> float:
    """Return (1 + #{calibration >= score}) / (n + 1), never under 1 / (n + 1).

    The p-value of split conformal prediction (Vovk, Gammerman and Shafer, Algorithmic Learning in
    a Random World, 2005): if the scan is exchangeable with the calibration scans, the chance of
    p <= a is at most a.
    """
    return (1 + sum(value >= score for value in calibration)) / (len(calibration) + 1)


def standardised(score: float, calibration: Sequence[float]) -> float:
    """Return how many robust deviations `score` lies above the calibration median.

    The deviation is the distance from the median to the upper quartile, which for a normal
    distribution is 0.674 standard deviations, scaled to one.
    """
    middle, upper = np.quantile(np.asarray(calibration), (0.5, 0.75))
    return float((score - middle) / max((upper - middle) / 0.6745, 1e-12))


class Surprise:
    """Distances as decades: -log10 of the fraction of normal voxels at least that far.

    0 is what every voxel of a normal scan reaches; 3 is reached by one normal voxel in 1,000.

    Args:
        distances: ascending knots, (k,).
        decades: surprise at each knot, (k,), non-decreasing. Beyond the last knot the value stays:
            no claim is made that the reference cannot carry.
    """

    def __init__(self, distances: NDArray[np.float32], decades: NDArray[np.float32]) -> None:
        self.distances = distances
        self.decades = decades

    @classmethod
    def fit(cls, normal: Sequence[NDArray[np.float32]], finest: float = 4.0) -> Surprise:
        """Return the scale of `normal`: the distances of each reference subject, (voxels,) each.

        Every subject weighs the same, whatever its number of voxels. `finest` is the largest
        surprise reported, in decades.
        """
        pooled = np.concatenate(normal)
        weights = np.concatenate([np.full(len(d), 1.0 / len(d)) for d in normal]) / len(normal)
        order = np.argsort(pooled, kind="stable")
        at_least = np.cumsum(weights[order][::-1])[::-1]
        knots = np.linspace(0.0, finest, 81)
        # The first distance whose tail is at most 10^-decades.
        index = np.searchsorted(-at_least, -(10.0**-knots), side="left")
        index = np.minimum(index, len(pooled) - 1)
        distances = np.maximum.accumulate(pooled[order][index])
        return cls(distances.astype(np.float32), knots.astype(np.float32))

    def __call__(self, distance: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the surprise of each distance, in decades."""
        return np.interp(distance, self.distances, self.decades).astype(np.float32)
