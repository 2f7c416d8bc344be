"""Calibration: what a raw score or distance means among normal scans."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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


_NARROWEST_DECADE = 1e-3
_MOST_BEYOND = 16.0


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the reference subjects scored, each judged by a model fitted without it.

    Attributes:
        scores: level -> one score a subject, in the same order of subjects.
        description: which subjects, how many, from where.
        map_threshold: surprise above which a voxel belongs to a region.
        deciding: the levels that decide; the others explain.
        device: the scanner that the subjects were acquired with; empty for any.
        protocol: the protocol; empty for any.
    """

    scores: Mapping[str, tuple[float, ...]]
    description: str
    map_threshold: float
    deciding: tuple[str, ...]
    device: str = ""
    protocol: str = ""

    def combined(self, scores: Mapping[str, float]) -> float:
        """Return the deciding score: the largest standardised score of the deciding levels.

        It is one score, calibrated as one, so one p-value holds for it without a correction for
        the number of levels.
        """
        return max(standardised(scores[name], self.scores[name]) for name in self.deciding)

    @property
    def combined_scores(self) -> tuple[float, ...]:
        """The deciding score of every calibration subject."""
        count = len(next(iter(self.scores.values())))
        return tuple(
            self.combined({name: values[index] for name, values in self.scores.items()})
            for index in range(count)
        )

    @property
    def digest(self) -> str:
        """SHA-256 of the calibration scores."""
        text = json.dumps({name: list(values) for name, values in sorted(self.scores.items())})
        return hashlib.sha256(text.encode()).hexdigest()


class Surprise:
    """Distances as decades: -log10 of the fraction of normal voxels at least that far.

    0 is what every voxel of a normal scan reaches; 3 is reached by one normal voxel in 1,000.

    Args:
        distances: ascending knots, (k,).
        decades: surprise at each knot, (k,), non-decreasing. Beyond the last knot the value goes
            on with the slope of the last decade: it ranks what is stranger than all reference
            voxels, and claims no frequency that the reference cannot carry.
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
        known = np.interp(distance, self.distances, self.decades)
        start = int(np.searchsorted(self.decades, self.decades[-1] - 1.0))
        width = max(float(self.distances[-1] - self.distances[start]), _NARROWEST_DECADE)
        beyond = np.maximum(distance - self.distances[-1], 0.0) / width
        return (known + np.minimum(beyond, _MOST_BEYOND)).astype(np.float32)
