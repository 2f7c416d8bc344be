"""Scoring: what a detector's own part promises, and nothing else.

A detector judges images on the working grid. What comes before (preparation), after (calibration,
map to regions) and around it (training, evaluation) is the same for all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.prepare import Prepared
from models.scan import Synthetic


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """Raw, uncalibrated answer.

    Attributes:
        scores: one raw score a level (question); larger is stranger.
        map: float32, (levels, rows, columns): larger is stranger; 0 outside the brain.
    """

    scores: Mapping[str, float]
    map: NDArray[np.float32]


class Scorer(Protocol):
    """A fitted detector's own part."""

    def judge(self, prepared: Prepared) -> Judgement:
        """Return how strange a normalised scan is."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A reference scan, normalised, on the working grid.

    Attributes:
        subject: whose it is.
        site: institution or scanner, as far as known.
        prepared: the images.
        usable: bool, (levels,): which levels may stand for normal.
        synthetic: what drew the scan; None for a scan of a scanner.
    """

    subject: str
    site: str
    prepared: Prepared
    usable: NDArray[np.bool_]
    synthetic: Synthetic | None = None


def top_mean(values: NDArray[np.float32], fraction: float) -> float:
    """Return the mean of the largest `fraction` of `values`; at least one of them."""
    count = max(1, round(fraction * values.size))
    return float(np.partition(values.ravel(), -count)[-count:].mean(dtype=np.float64))


def restricted(example: Example) -> Prepared:
    """Return an example's images with only what may stand for normal counted as inside."""
    inside = example.prepared.brain & example.usable[:, None, None]
    return replace(example.prepared, brain=inside)
