"""The image's part: a frozen encoder's embedding of a scan, and its principal components.

The encoder is `models.features.backbone`; a site with one of its own gives embeddings as arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models import brain_extraction, shared_weights
from models.errors import ModelError
from models.features import backbone, model
from models.features.config import FeaturesConfig
from models.prepare import located, normalised, resampled
from models.tensors import take
from models.volume import Volume

GRIDS: Mapping[str, FeaturesConfig] = {
    "brain": FeaturesConfig(
        levels=16, rows=96, columns=80, pixel_mm=2.5, resolution_mm=3.0, blocks=(8,)
    ),
    "body": FeaturesConfig(
        levels=16, rows=96, columns=96, pixel_mm=4.5, resolution_mm=4.5, blocks=(8,), anatomy="body"
    ),
}
"""By anatomy. Coarse: one vector a scan is wanted, and the encoder's mean over it is taken."""
HOUNSFIELD = (-1000.0, 400.0)
"""CT values kept, from air to bone; shifted to begin at 0, as the preparation expects."""


def encoder_of(anatomy: str) -> dict[str, Any]:
    """Return what an embedding rests on, for a manifest: weights by digest, and the grid.

    Raises:
        ModelError: if no encoder looks for that anatomy.
    """
    if anatomy not in GRIDS:
        raise ModelError(f"no encoder looks for {anatomy!r}; there are: {', '.join(GRIDS)}")
    names = (shared_weights.BACKBONE, shared_weights.BRAIN_EXTRACTION)
    return {
        "grid": GRIDS[anatomy].as_dict(),
        "weights": {name: shared_weights.digest(name) for name in names},
    }


class Encoder:
    """Volume to one vector: block-8 features of the frozen network, averaged over the anatomy.

    Args:
        anatomy: ``brain`` or ``body``; see `models.prepare.GridConfig`.
        device: torch device.

    Raises:
        ModelError: if the anatomy is not known.
    """

    def __init__(self, anatomy: str = "body", device: str = "cpu") -> None:
        if anatomy not in GRIDS:
            raise ModelError(f"no encoder looks for {anatomy!r}; there are: {', '.join(GRIDS)}")
        self._grid = GRIDS[anatomy]
        extractor = shared_weights.read(shared_weights.BRAIN_EXTRACTION)
        self._extractor = brain_extraction.from_weights(extractor).to(device)
        self._network = backbone.from_weights(shared_weights.read(shared_weights.BACKBONE)).to(
            device
        )

    @property
    def size(self) -> int:
        """Numbers in an embedding."""
        return backbone.BLOCKS[self._grid.global_block].channels_out

    def embed(self, volume: Volume) -> NDArray[np.float32]:
        """Return the embedding of a scan, (size,).

        Raises:
            NotAssessable: if its anatomy is not found or it is too small.
        """
        grid = self._grid
        if volume.modality == "CT":
            low, high = HOUNSFIELD
            volume = replace(volume, array=np.clip(volume.array, low, high) - np.float32(low))
        found = located(volume, grid.anatomy, self._extractor)
        prepared = normalised(resampled(found, grid), grid)
        with torch.inference_mode():
            described = model.describe(prepared, self._network, grid)
        pooled = described.pooled[described.usable]  # (usable levels, size)
        return pooled.mean(0).numpy().astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """Principal components of the cohort's embeddings, in a common scale.

    Attributes:
        mean: (size,).
        axes: (components, size), orthonormal, the largest variance first.
        scale: one number, by which components are divided: their variances keep their proportions
            and add up to what the settings give the image.
    """

    mean: NDArray[np.float64]
    axes: NDArray[np.float64]
    scale: float

    @classmethod
    def fit(
        cls, embeddings: NDArray[np.float64], components: int, total_variance: float
    ) -> Projection:
        """Return the projection of a cohort.

        Args:
            embeddings: (patients, size), without NaN.
            components: kept at most; never more than patients - 1.
            total_variance: of the components together after scaling.

        Embeddings of no numbers, of a cohort without scans, have no components.

        Raises:
            ModelError: if there are fewer than three embeddings, or all are the same.
        """
        if not embeddings.shape[1]:
            return cls(np.zeros(0), np.zeros((0, 0)), 1.0)
        if len(embeddings) < 3:
            raise ModelError("principal components need at least three scans")
        mean = embeddings.mean(0)
        _, singular, axes = np.linalg.svd(embeddings - mean, full_matrices=False)
        count = min(components, len(embeddings) - 1, len(axes))
        # The sign of an axis is free; fix it, so that the same cohort gives the same bytes.
        largest = np.abs(axes).argmax(1)
        axes = axes * np.sign(axes[np.arange(len(axes)), largest])[:, None]
        variance = float((singular[:count] ** 2).sum() / len(embeddings))
        if variance <= 1e-12:
            raise ModelError("all scans of the cohort have the same embedding")
        return cls(mean, axes[:count], float(np.sqrt(variance / total_variance)))

    def __call__(self, embeddings: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the scaled components, (patients, components), of (patients, size)."""
        return (embeddings - self.mean) @ self.axes.T / self.scale

    def tensors(self) -> dict[str, Tensor]:
        """Return it for a weight file."""
        return {
            "image.mean": torch.from_numpy(self.mean.astype(np.float32)),
            "image.axes": torch.from_numpy(np.ascontiguousarray(self.axes, dtype=np.float32)),
            "image.scale": torch.tensor([self.scale], dtype=torch.float32),
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Projection:
        """Return the projection in a weight file, shapes checked.

        Raises:
            ModelError: if a tensor is missing or of another shape.
        """
        mean = take(tensors, "image.mean", (None,)).double().numpy()
        axes = take(tensors, "image.axes", (None, len(mean))).double().numpy()
        return cls(mean, axes, float(take(tensors, "image.scale", (1,))[0]))
