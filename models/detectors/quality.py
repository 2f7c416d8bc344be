"""Detector `quality`: are the measures of image quality those of the reference scans?

About twenty no-reference measures of the brain's image (`models.quality`: noise, sharpness,
ghosts, spikes, shading, contrast, histogram) as one vector, and how far it lies from the
reference's. It has no map: it says that something is wrong with the image, and which measure.

Most measures tell scanners apart as well as faults: they may decide where the reference is a site's
own scanner. Those of `ARTEFACTS` compare an image with itself and may decide anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.prepare import GridConfig, Prepared
from models.quality import METRICS, quality_metrics
from models.scoring import Example, Judgement, restricted
from models.tensors import take
from models.training.loop import Run

ARCHITECTURE = "no-reference image quality measures; shrunk Mahalanobis distance"
QUESTIONS = {
    "artefacts": "Are there ghosts, spikes or shading beyond what the reference scans show?",
    "measures": "Are noise, sharpness, ghosts, spikes, shading and contrast as in the reference?",
    "largest": "Is any one measure of image quality far from the reference?",
}
LICENSED_WEIGHTS: tuple[str, ...] = ()
ARTEFACTS = {
    "ghost_rows": 1.0,
    "ghost_columns": 1.0,
    "spike": 0.5,
    "spike_slice": 1.0,
    "shading": 0.5,
}
"""Measures that compare an image with itself, so that another scanner's hardly differ; weights."""
_SPREAD = 0.05


@dataclass(frozen=True, slots=True)
class Config(GridConfig):
    """Settings.

    Attributes:
        clip: deviations beyond this count as this, so that one measure alone cannot be the score.
    """

    resolution_mm: float = 1.5
    clip: float = 20.0


def fit(examples: Sequence[Example], config: Config, run: Run) -> dict[str, Tensor]:
    """Return centre and scale of each measure, and the precision of the standardised vector.

    The covariance is shrunk by Ledoit and Wolf (A well-conditioned estimator for
    large-dimensional covariance matrices, J Multivariate Analysis 2004).
    """
    # Only fitting needs it; a worker does not.
    from sklearn.covariance import LedoitWolf

    rows: list[NDArray[np.float64]] = []
    for example in examples:
        key = ("quality", id(example))
        if key not in run.memo:
            run.memo[key] = measures(restricted(example))
        rows.append(run.memo[key])
    values = np.stack(rows)
    centre = np.median(values, axis=0)
    low, high = np.quantile(values, (0.1, 0.9), axis=0)
    scale = np.maximum((high - low) / 2.563, _SPREAD * np.abs(centre) + 1e-9)
    standard = np.clip((values - centre) / scale, -config.clip, config.clip)
    precision = LedoitWolf(assume_centered=True).fit(standard).precision_
    return {
        "centre": torch.from_numpy(centre),
        "scale": torch.from_numpy(scale),
        "precision": torch.from_numpy(np.asarray(precision, dtype=np.float64)),
    }


def measures(prepared: Prepared) -> NDArray[np.float64]:
    """Return the measures of a scan in the order of `METRICS`."""
    return np.array(list(quality_metrics(prepared).values()), dtype=np.float64)


def scorer(tensors: Mapping[str, Tensor], config: Config, device: str) -> QualityScorer:
    """Return the scorer; see `models.detector.Method`."""
    del device
    count = len(METRICS)
    return QualityScorer(
        take(tensors, "centre", (count,)).numpy(),
        take(tensors, "scale", (count,)).numpy(),
        take(tensors, "precision", (count, count)).numpy(),
        config,
    )


class QualityScorer:
    """`models.scoring.Scorer` of image quality."""

    def __init__(
        self,
        centre: NDArray[np.float64],
        scale: NDArray[np.float64],
        precision: NDArray[np.float64],
        config: Config,
    ) -> None:
        self._centre = centre
        self._scale = scale
        self._precision = precision
        self._config = config

    def judge(self, prepared: Prepared) -> Judgement:
        """Return the distance of a scan's measures; the map is empty."""
        clip = self._config.clip
        standard = np.clip((measures(prepared) - self._centre) / self._scale, -clip, clip)
        one_sided = dict(zip(METRICS, standard.tolist(), strict=True))
        scores = {
            "artefacts": max(weight * one_sided[name] for name, weight in ARTEFACTS.items()),
            "measures": float(standard @ self._precision @ standard / len(standard)),
            "largest": float(np.abs(standard).max()),
        }
        return Judgement(scores, np.zeros(prepared.images.shape, dtype=np.float32))
