"""What is usual among reference scans, in the two-stage detector's raw numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.errors import ModelError
from models.scoring import Example

_DEVIATIONS = 1.4826
"""Standard deviations of a normal distribution in one median absolute deviation."""
_FEWEST = 8
"""Values from which a level's own median and deviation are told."""


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """A scan in raw numbers.

    Attributes:
        surprisal: float32, (levels, token rows, token columns), nats.
        healing: float32, (levels, rows, columns): structural distance to the healed image.
        pooled: float32, (levels, width): the encoder's features, averaged over the brain.
        covered: bool, (levels, token rows, token columns): tokens that are brain.
    """

    surprisal: Tensor
    healing: Tensor
    pooled: Tensor
    covered: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """What is usual among reference scans.

    Attributes:
        surprisal: (2, levels): median and scaled median absolute deviation of the brain's tokens.
        healing: (2, levels): the same of the brain's pixels.
        cuts: (2,): of standardised surprisal and healing, beyond which `union` counts.
        pooled: (levels, width): mean of the pooled features.
        precision: (width, width): inverse covariance of a slice's offset from it.
    """

    surprisal: Tensor
    healing: Tensor
    cuts: Tensor
    pooled: Tensor
    precision: Tensor


def standardised(values: Tensor, usual: Tensor) -> Tensor:
    """Return (levels, rows, columns) as deviations from the level's median."""
    return (values - usual[0][:, None, None]) / usual[1][:, None, None]


def reference_of(
    scale: Sequence[tuple[Example, Measured]],
    pooled: Sequence[Tensor],
    usable: Sequence[NDArray[np.bool_]],
    cut_quantile: float,
) -> Reference:
    """Return what is usual.

    Args:
        scale: the scans that give medians, deviations and cuts.
        pooled: `Measured.pooled` of all reference scans.
        usable: which of their levels may stand for normal, (levels,) each.
        cut_quantile: of reference tokens and pixels, under both cuts.

    Raises:
        ModelError: if there is no brain that may stand for normal.
    """
    surprisal = [one.surprisal for _, one in scale]
    healing = [one.healing for _, one in scale]
    tokens = [one.covered & torch.from_numpy(e.usable)[:, None, None] for e, one in scale]
    pixels = [torch.from_numpy(e.prepared.brain & e.usable[:, None, None]) for e, _ in scale]
    usual = [_usual(surprisal, tokens), _usual(healing, pixels)]
    cuts: list[Tensor] = []
    for values, inside, level in ((surprisal, tokens, usual[0]), (healing, pixels, usual[1])):
        deviations = [
            standardised(value, level)[where] for value, where in zip(values, inside, strict=True)
        ]
        cuts.append(torch.from_numpy(np.quantile(torch.cat(deviations).numpy(), [cut_quantile])))
    centre, precision = _pooled(pooled, usable)
    return Reference(usual[0], usual[1], torch.cat(cuts).float(), centre, precision)


def _usual(values: Sequence[Tensor], inside: Sequence[Tensor]) -> Tensor:
    """Return median and scaled median absolute deviation of each level, (2, levels).

    A level with too little to tell, and a deviation next to nothing, take those of all levels.
    """
    everything = torch.cat([value[where] for value, where in zip(values, inside, strict=True)])
    if not len(everything):
        raise ModelError("the reference scans hold no brain that may stand for normal")
    middle = everything.median()
    spread = ((everything - middle).abs().median() * _DEVIATIONS).clamp_min(1e-6)
    rows: list[Tensor] = []
    for level in range(len(values[0])):
        own = torch.cat([v[level][w[level]] for v, w in zip(values, inside, strict=True)])
        centre = own.median() if len(own) > _FEWEST else middle
        deviation = (own - centre).abs().median() * _DEVIATIONS if len(own) > _FEWEST else spread
        rows.append(torch.stack([centre, torch.maximum(deviation, spread / 4)]))
    return torch.stack(rows, dim=1)


def _pooled(
    features: Sequence[Tensor], levels: Sequence[NDArray[np.bool_]]
) -> tuple[Tensor, Tensor]:
    """Return each level's mean pooled features and the inverse covariance of the offsets.

    Shrunk by Ledoit and Wolf, A well-conditioned estimator for large-dimensional covariance
    matrices, 2004. The offsets are those of slices: there are too few scans for theirs.
    """
    from sklearn.covariance import LedoitWolf  # only training needs it

    usable = torch.from_numpy(np.stack(levels))
    pooled = torch.stack(list(features))  # (scans, levels, width)
    weight = usable[..., None].float()
    centre = (pooled * weight).sum(0) / weight.sum(0).clamp_min(1)
    offsets = (pooled - centre)[usable].double().numpy()
    covariance = np.asarray(
        LedoitWolf(assume_centered=True).fit(offsets).covariance_, dtype=np.float64
    )
    precision = np.linalg.inv(covariance + np.eye(len(covariance)) * 1e-9)
    return centre, torch.from_numpy(precision.astype(np.float32))
