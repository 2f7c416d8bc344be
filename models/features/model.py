"""The `features` model: how far a scan's features lie from those of the reference scans.

A frozen network describes each axial image (`models.features.backbone`). Two questions follow:

- global: features averaged over the brain, one vector a slice; their offset from the reference at
  that height, averaged over the slices; its squared Mahalanobis distance (Lee et al., A simple
  unified framework for detecting out-of-distribution samples, NeurIPS 2018);
- focal: each patch's mean distance to its nearest patches in a coreset of reference patches
  (PatchCore: Roth et al., Towards total recall in industrial anomaly detection, CVPR 2022), a
  patch being its features, its mean intensity and its place; smoothed over its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from models.features.backbone import BLOCKS, STRIDES, Backbone
from models.features.config import FeaturesConfig
from models.prepare import Prepared

_BATCH = 16
_KNN_ROWS = 2048
_SMOOTHING_CELLS = (0.5, 1.0, 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class Description:
    """The features of one scan.

    Attributes:
        pooled: (levels, global channels): mean over the brain.
        patches: (patches, channels + 1) of the patches inside the brain: all blocks side by side,
            then the mean intensity.
        places: (patches, 3): height, row and column of each, in [-1, 1].
        inside: bool (levels, patch rows, patch columns): which patches those are.
        usable: bool (levels,): which levels count: those that show brain, and in reference scans
            may stand for normal.
    """

    pooled: Tensor
    patches: Tensor
    places: Tensor
    inside: NDArray[np.bool_]
    usable: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """What was learned of the reference scans.

    Attributes:
        level_mean: (levels, global channels).
        precision: (global channels, global channels), of the mean offset of a scan.
        patch_mean: (channels + 1,) and `patch_scale`: standardise a patch.
        memory: (patches, channels + 4): weighted features, intensity and place.
    """

    level_mean: Tensor
    precision: Tensor
    patch_mean: Tensor
    patch_scale: Tensor
    memory: Tensor


def global_channels(config: FeaturesConfig) -> slice:
    """Return where the global block's channels lie among those of all blocks."""
    sizes = [BLOCKS[block].channels_out for block in config.blocks]
    position = config.blocks.index(config.global_block)
    return slice(sum(sizes[:position]), sum(sizes[: position + 1]))


def describe(
    prepared: Prepared,
    backbone: Backbone,
    config: FeaturesConfig,
    usable: NDArray[np.bool_] | None = None,
) -> Description:
    """Return the features of a normalised scan; patches only of the `usable` levels.

    A level without brain is never usable: it has no mean.
    """
    stride = STRIDES[config.blocks[0]]
    device = backbone.stem.weight.device
    levels = prepared.brain.any(axis=(1, 2))
    levels = levels if usable is None else levels & usable
    brain = torch.from_numpy(prepared.brain.astype(np.float32))[:, None]
    covered = _cell_means(brain, stride)
    pixels = torch.from_numpy(prepared.images)[:, None]
    intensity = _cell_means(pixels * brain, stride) / covered.clamp_min(1e-3)
    inside = (covered[:, 0] >= 0.5) & torch.from_numpy(levels)[:, None, None]
    channels = global_channels(config)
    pooled: list[Tensor] = []
    patches: list[Tensor] = []
    with torch.inference_mode():
        for start in range(0, config.levels, _BATCH):
            batch = slice(start, start + _BATCH)
            fine, *coarser = backbone(pixels[batch].to(device), config.blocks)
            aligned = [
                _align(output, STRIDES[block], fine, stride)
                for output, block in zip(coarser, config.blocks[1:], strict=True)
            ]
            features = torch.cat([fine, *aligned], dim=1).cpu()
            weight = covered[batch]
            total = (features[:, channels] * weight).sum((2, 3))
            pooled.append(total / weight.sum((2, 3)).clamp_min(1e-6))
            rows = torch.cat([features, intensity[batch]], dim=1).permute(0, 2, 3, 1)
            patches.append(rows[inside[batch]])
    index = torch.nonzero(inside)
    size = torch.tensor(inside.shape)
    places = index / (size - 1) * 2.0 - 1.0
    return Description(
        torch.cat(pooled), torch.cat(patches), places, inside.numpy(), torch.from_numpy(levels)
    )


def _cell_means(images: Tensor, stride: int) -> Tensor:
    """Return the mean of `images` around the centre of each cell; see `_align` for where it is."""
    half = stride // 2
    shifted = functional.pad(images, (0, half, 0, half))[:, :, half:, half:]
    return functional.avg_pool2d(shifted, stride)


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


def mean_offset(description: Description, level_mean: Tensor) -> Tensor:
    """Return the scan's mean offset from the reference over its usable levels, (channels,)."""
    return (description.pooled - level_mean)[description.usable].double().mean(0)


def global_score(description: Description, reference: Reference) -> float:
    """Return the squared Mahalanobis distance of the scan's mean offset over its dimension."""
    offset = mean_offset(description, reference.level_mean)
    return float(offset @ reference.precision.double() @ offset / len(offset))


def focal_distances(
    description: Description, reference: Reference, config: FeaturesConfig
) -> Tensor:
    """Return each patch's distance to the reference patches, (patches,)."""
    query = rows(description, reference.patch_mean, reference.patch_scale, config)
    memory = reference.memory.float()
    squared_memory = (memory**2).sum(1)
    distances: list[Tensor] = []
    for part in query.split(_KNN_ROWS):
        squared = (part**2).sum(1, keepdim=True) + squared_memory - 2 * part @ memory.T
        nearest = squared.topk(config.neighbours, dim=1, largest=False).values
        distances.append(nearest.clamp_min(0).sqrt().mean(1))
    return _smoothed(torch.cat(distances), description.inside)


def rows(description: Description, mean: Tensor, scale: Tensor, config: FeaturesConfig) -> Tensor:
    """Return patches as memory holds them, (patches, channels + 4)."""
    standard = (description.patches - mean) / scale
    features, intensity = standard[:, :-1], standard[:, -1:]
    return torch.cat(
        [
            features / features.shape[1] ** 0.5,
            intensity * config.intensity_weight,
            description.places * config.position_weight,
        ],
        dim=1,
    )


def _smoothed(distances: Tensor, inside: NDArray[np.bool_]) -> Tensor:
    """Return the distances averaged with their neighbours inside the brain, Gaussian weights."""
    cells = np.zeros(inside.shape, dtype=np.float32)
    cells[inside] = distances.numpy()
    weight = ndimage.gaussian_filter(inside.astype(np.float32), _SMOOTHING_CELLS)
    smooth = ndimage.gaussian_filter(cells, _SMOOTHING_CELLS)
    return torch.from_numpy(smooth[inside] / weight[inside])


def focal_score(distances: Tensor, config: FeaturesConfig) -> float:
    """Return the scan's focal score: the mean of its farthest patches."""
    count = max(1, round(config.focal_fraction * len(distances)))
    return float(distances.double().topk(count).values.mean())
