"""Detector `features` (E0): distances in the features of a frozen image network.

Nothing of the network is trained. What is learned of the reference scans is a mean and a
covariance of pooled features, and a memory of patches; see `models.features.model`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models import shared_weights
from models.features import backbone, model
from models.features.backbone import Backbone
from models.features.config import FeaturesConfig
from models.features.fit import Described, coresets, fit_reference
from models.features.model import Description, Reference
from models.grid import interpolate
from models.prepare import Prepared
from models.scoring import Example, Judgement
from models.tensors import take
from models.training.loop import Run

Config = FeaturesConfig
ARCHITECTURE = (
    "EfficientNet-lite0 to block 8, frozen; Mahalanobis distance of the mean offset; nearest "
    "patches in memory"
)
QUESTIONS = {
    "global": "Does the whole image look like the reference scans: sharpness, texture, contrast?",
    "focal": "Is any place in the {anatomy} unlike every reference {anatomy} at that place?",
}
LICENSED_WEIGHTS = (shared_weights.BACKBONE,)


def fit(examples: Sequence[Example], config: FeaturesConfig, run: Run) -> dict[str, Tensor]:
    """Return the reference of `examples`, every subject weighing the same."""
    scans = [_described(example, config, run) for example in examples]
    chosen = coresets(scans, config, run.seed, run.memo)
    reference = fit_reference(scans, chosen, config)
    return {
        "level_mean": reference.level_mean,
        "precision": reference.precision,
        "patch_mean": reference.patch_mean,
        "patch_scale": reference.patch_scale,
        "memory": reference.memory,
    }


def _described(example: Example, config: FeaturesConfig, run: Run) -> Described:
    key = ("features", id(example))
    if key not in run.memo:
        network = _network(run.device)
        description = model.describe(example.prepared, network, config, example.usable)
        run.memo[key] = Described(example.subject, description)
    return run.memo[key]


def _network(device: str) -> Backbone:
    return backbone.from_weights(shared_weights.read(shared_weights.BACKBONE)).to(device)


def scorer(tensors: Mapping[str, Tensor], config: FeaturesConfig, device: str) -> FeaturesScorer:
    """Return the scorer of a reference; see `models.detector.Method`."""
    return FeaturesScorer(reference_from(tensors, config), config, _network(device))


def reference_from(tensors: Mapping[str, Tensor], config: FeaturesConfig) -> Reference:
    """Return the reference in a bundle's weights, shapes checked."""
    channels = sum(backbone.BLOCKS[block].channels_out for block in config.blocks)
    pooled = backbone.BLOCKS[config.global_block].channels_out
    return Reference(
        take(tensors, "level_mean", (config.levels, pooled)),
        take(tensors, "precision", (pooled, pooled)),
        take(tensors, "patch_mean", (channels + 1,)),
        take(tensors, "patch_scale", (channels + 1,)),
        take(tensors, "memory", (None, channels + 4)),
    )


class FeaturesScorer:
    """`models.scoring.Scorer` over frozen image features."""

    def __init__(self, reference: Reference, config: FeaturesConfig, network: Backbone) -> None:
        self._reference = reference
        self._config = config
        self._network = network

    def judge(self, prepared: Prepared) -> Judgement:
        """Return the global and focal distances of a normalised scan."""
        with torch.inference_mode():
            description = model.describe(prepared, self._network, self._config)
            distances = model.focal_distances(description, self._reference, self._config)
        scores = {
            "global": model.global_score(description, self._reference),
            "focal": model.focal_score(distances, self._config),
        }
        return Judgement(scores, _map(prepared, description, distances.numpy(), self._config))


def _map(
    prepared: Prepared,
    description: Description,
    distances: NDArray[np.float32],
    config: FeaturesConfig,
) -> NDArray[np.float32]:
    """Return the patches' distances on the working grid, from the patches inside alone."""
    cells = np.zeros(description.inside.shape, dtype=np.float32)
    cells[description.inside] = distances
    weight = description.inside.astype(np.float32)
    stride = backbone.STRIDES[config.blocks[0]]
    for axis, size in ((1, config.rows), (2, config.columns)):
        # Cell j of a block of stride s lies at pixel s (j + 1) - 1; see `models.features.model`.
        at = (np.arange(size) + 1.0) / stride - 1.0
        cells, weight = interpolate(cells, axis, at), interpolate(weight, axis, at)
    return np.where(prepared.brain, cells / np.maximum(weight, 1e-6), 0.0).astype(np.float32)
