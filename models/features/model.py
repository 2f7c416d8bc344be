"""The `features` model: how far a scan's features lie from those of the reference scans.

A frozen network describes each axial image (`models.features.backbone`). Two questions follow:

- global: features pooled over the brain, one vector a slice; squared Mahalanobis distance from
  the reference mean at that height, with one Ledoit-Wolf covariance (Lee et al., A simple unified
  framework for detecting out-of-distribution samples, NeurIPS 2018; Ledoit and Wolf, A
  well-conditioned estimator for large-dimensional covariance matrices, 2004);
- focal: each patch's mean distance to its nearest patches in a coreset of reference patches
  (PatchCore: Roth et al., Towards total recall in industrial anomaly detection, CVPR 2022), a
  patch being its features and its place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.features.backbone import STRIDES, Backbone
from models.features.config import FeaturesConfig
from models.features.prepare import Prepared

_BATCH = 16
_KNN_ROWS = 2048


@dataclass(frozen=True, slots=True, eq=False)
class Description:
    """The features of one scan.

    Attributes:
        pooled: (levels, channels): mean over the region.
        patches: (patches, channels) of the patches inside the region.
        places: (patches, 3): height, row and column of each, in [-1, 1].
        inside: bool (levels, patch rows, patch columns): which patches those are.
    """

    pooled: Tensor
    patches: Tensor
    places: Tensor
    inside: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """What was learned of the reference scans.

    Attributes:
        level_mean: (levels, channels).
        precision: (channels, channels).
        patch_mean: (channels,) and `patch_scale`: standardise a patch.
        memory: (patches, channels + 3): standardised features, weighted place.
    """

    level_mean: Tensor
    precision: Tensor
    patch_mean: Tensor
    patch_scale: Tensor
    memory: Tensor


def describe(prepared: Prepared, backbone: Backbone, config: FeaturesConfig) -> Description:
    """Return the features of a scan, deterministic for a given device and thread count."""
    fine_block, coarse_block = config.blocks
    stride = STRIDES[fine_block]
    device = backbone.stem.weight.device
    region = torch.from_numpy(prepared.region.astype(np.float32))[:, None]
    covered = functional.avg_pool2d(region, stride)
    pooled: list[Tensor] = []
    patches: list[Tensor] = []
    inside = covered[:, 0] >= 0.5
    with torch.inference_mode():
        for start in range(0, len(prepared.images), _BATCH):
            images = torch.from_numpy(prepared.images[start : start + _BATCH])[:, None]
            fine, coarse = backbone(images.to(device), config.blocks)
            coarse = _align(coarse, STRIDES[coarse_block], fine, stride)
            both = torch.cat([fine, coarse], dim=1).cpu()
            weight = covered[start : start + _BATCH]
            pooled.append((both * weight).sum((2, 3)) / weight.sum((2, 3)).clamp_min(1e-6))
            patches.append(both.permute(0, 2, 3, 1)[inside[start : start + _BATCH]])
    level, row, column = torch.nonzero(inside, as_tuple=True)
    places = torch.stack(
        [axis / (size - 1) * 2 - 1 for axis, size in zip((level, row, column), inside.shape, strict=True)],
        dim=1,
    )
    return Description(torch.cat(pooled), torch.cat(patches), places, inside.numpy())


def _align(coarse: Tensor, coarse_stride: int, fine: Tensor, fine_stride: int) -> Tensor:
    """Return `coarse` at the places of `fine`.

    TensorFlow's 'same' padding puts cell j of a block of stride s at pixel s (j + 1) - 1.
    """
    for axis in (2, 3):
        pixel = fine_stride * (torch.arange(fine.shape[axis], device=fine.device) + 1.0)
        at = (pixel / coarse_stride - 1.0).clamp(0, coarse.shape[axis] - 1)
        lower = at.floor().long()
        upper = (lower + 1).clamp_max(coarse.shape[axis] - 1)
        weight = (at - lower).view([-1 if a == axis else 1 for a in range(4)])
        coarse = coarse.index_select(axis, lower) * (1 - weight) + (
            coarse.index_select(axis, upper) * weight
        )
    return coarse


def global_distances(description: Description, reference: Reference) -> Tensor:
    """Return the squared Mahalanobis distance of each slice over its dimension, (levels,)."""
    offset = (description.pooled - reference.level_mean).double()
    squared = torch.einsum("lc,cd,ld->l", offset, reference.precision.double(), offset)
    return (squared / offset.shape[1]).float()


def focal_distances(
    description: Description, reference: Reference, config: FeaturesConfig
) -> Tensor:
    """Return each patch's mean distance to its nearest reference patches, (patches,)."""
    query = standardise(description, reference.patch_mean, reference.patch_scale, config)
    memory = reference.memory.float()
    squared_memory = (memory**2).sum(1)
    distances: list[Tensor] = []
    for rows in query.split(_KNN_ROWS):
        squared = (rows**2).sum(1, keepdim=True) + squared_memory - 2 * rows @ memory.T
        nearest = squared.topk(config.neighbours, dim=1, largest=False).values
        distances.append(nearest.clamp_min(0).sqrt().mean(1))
    return torch.cat(distances)


def standardise(
    description: Description, mean: Tensor, scale: Tensor, config: FeaturesConfig
) -> Tensor:
    """Return patches as memory holds them, (patches, channels + 3)."""
    channels = description.patches.shape[1]
    features = (description.patches - mean) / (scale * channels**0.5)
    return torch.cat([features, description.places * config.position_weight], dim=1)


def global_score(distances: Tensor) -> float:
    """Return the scan's global score: the mean over its slices."""
    return float(distances.double().mean())


def focal_score(distances: Tensor, config: FeaturesConfig) -> float:
    """Return the scan's focal score: the mean of its farthest patches."""
    count = max(1, round(config.focal_fraction * len(distances)))
    return float(distances.double().topk(count).values.mean())
