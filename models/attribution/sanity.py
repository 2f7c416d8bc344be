"""Sanity: does a map depend on what the network learned, or on the image and its shape alone?

Adebayo et al., Sanity checks for saliency maps, NeurIPS 2018 (arXiv 1810.03292): the network's
layers are drawn anew, from the last to the first (cascading), and the map is made again. A map that
stays as it was does not show what was learned, however convincing it looks: an edge detector passes
for an explanation until it is asked this. The map after all layers were drawn anew, several times,
decides (`Verdict`); the cascade says where it changes.

Layers are drawn by their own rule (`reset_parameters`), with the running statistics of batch
normalisation; a parameter without a rule from a normal distribution of its trained deviation.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from skimage import metrics
from torch import nn

from models.training.loop import seeded

FOLLOWS_UNDER = 0.3
"""Rank correlation with the randomised network's map under which a map follows the weights."""
IGNORES_OVER = 0.6
"""Over it a map does not depend on what was learned. Both are ours: the paper draws no line. Smooth
maps of 32 x 32 pixels have few independent places: two unrelated ones reach 0.3 now and then."""
DRAWS = 3
_FULL = 0.99
_WINDOW = 7

Maps = NDArray[np.float64]
"""(n, rows, columns), one map an image."""
Explain = Callable[[Any], Maps]
"""A network, trained or randomised, to its maps of the same images."""


class Verdict(StrEnum):
    """What the check says of a map, in words."""

    FOLLOWS = "the map follows the weights"
    PARTLY = "much of the map is there without what was learned: read it with caution"
    IGNORES = "the map does not depend on what was learned: do not read it"


def verdict(rank: float) -> Verdict:
    """Return what a rank correlation with the randomised network's map means; by its size."""
    if abs(rank) < FOLLOWS_UNDER:
        return Verdict.FOLLOWS
    return Verdict.PARTLY if abs(rank) <= IGNORES_OVER else Verdict.IGNORES


@dataclass(frozen=True, slots=True, eq=False)
class Sanity:
    """How like the trained network's maps those of randomised networks are.

    Attributes:
        layers: as they were drawn anew, one after the other, last first.
        ranks: Spearman's correlation of absolute values after each layer, (layers, images of the
            cascade), which are all or the first.
        structures: SSIM of absolute values after each layer, like `ranks`.
        whole_ranks, whole_structures: after all layers, each draw, (draws, n).
    """

    layers: tuple[str, ...]
    ranks: NDArray[np.float64]
    structures: NDArray[np.float64]
    whole_ranks: NDArray[np.float64]
    whole_structures: NDArray[np.float64]

    @property
    def rank(self) -> float:
        """Mean over images and draws."""
        return float(self.whole_ranks.mean())

    @property
    def structure(self) -> float:
        """Mean over images and draws."""
        return float(self.whole_structures.mean())

    @property
    def verdict(self) -> Verdict:
        """What is said of the method on this network."""
        return verdict(self.rank)

    @property
    def changes_at(self) -> str:
        """First layer of the cascade with which the mean correlation falls to `IGNORES_OVER`.

        What layers nearer the output learned is not in the map. Empty if none does, or without a
        cascade.
        """
        for name, rank in zip(self.layers, self.ranks, strict=True):
            if abs(float(rank.mean())) <= IGNORES_OVER:
                return name
        return ""

    def of(self, image: int) -> tuple[float, float, Verdict]:
        """Return rank correlation, SSIM and verdict of one image's map, mean over draws."""
        rank = float(self.whole_ranks[:, image].mean())
        return rank, float(self.whole_structures[:, image].mean()), verdict(rank)

    def as_json(self) -> dict[str, Any]:
        """Return the figures, images averaged."""
        each = self.whole_ranks.mean(0)
        return {
            "rank": round(self.rank, 4),
            "rank_least": round(float(each.min()), 4),
            "rank_most": round(float(each.max()), 4),
            "ssim": round(self.structure, 4),
            "verdict": str(self.verdict),
            "changes_at": self.changes_at,
            "images": {str(kind): sum(verdict(float(r)) is kind for r in each) for kind in Verdict},
            "cascade": [
                {
                    "layer": name,
                    "rank": round(float(r.mean()), 4),
                    "ssim": round(float(s.mean()), 4),
                }
                for name, r, s in zip(self.layers, self.ranks, self.structures, strict=True)
            ],
        }


def check(
    explain: Explain,
    network: nn.Module,
    layers: Sequence[str],
    *,
    seed: int = 0,
    draws: int = DRAWS,
    inside: NDArray[np.bool_] | None = None,
    cascading: bool = True,
    trained: Maps | None = None,
) -> Sanity:
    """Return how much of the maps of `network` is left when its layers are drawn anew.

    Args:
        explain: makes the maps of one network.
        network: trained; left as it is.
        layers: names of all its layers that the score passes through, last first.
        seed: of the layers drawn.
        draws: networks with all layers drawn anew; 0 for the cascade alone.
        inside: bool, like the maps: places compared. None: all.
        cascading: whether the cascade is made; without it `layers` of the answer is empty.
        trained: the maps of `network` itself, where they are made already.
    """
    trained = explain(network) if trained is None else trained
    among = np.ones(trained.shape, dtype=np.bool_) if inside is None else inside
    ranks: list[list[float]] = []
    structures: list[list[float]] = []
    for changed in cascade(network, layers, seed) if cascading else ():
        rank, structure = _compared(trained, explain(changed), among)
        ranks.append(rank)
        structures.append(structure)
    whole = [
        _compared(trained, explain(randomised(network, layers, seed + 1 + draw)), among)
        for draw in range(draws)
    ]
    shape = (-1, len(trained))
    return Sanity(
        tuple(layers) if cascading else (),
        np.array(ranks).reshape(shape),
        np.array(structures).reshape(shape),
        np.array([rank for rank, _ in whole]).reshape(shape),
        np.array([structure for _, structure in whole]).reshape(shape),
    )


def cascade(network: nn.Module, layers: Sequence[str], seed: int) -> Iterator[nn.Module]:
    """Yield copies with one layer more drawn anew each, in the order of `layers`."""
    changed = copy.deepcopy(network)
    for number, name in enumerate(layers):
        _draw(changed, name, seed + number)
        yield copy.deepcopy(changed)


def randomised(network: nn.Module, layers: Sequence[str], seed: int) -> nn.Module:
    """Return a copy with all `layers` drawn anew."""
    changed = copy.deepcopy(network)
    for number, name in enumerate(layers):
        _draw(changed, name, 1000 * seed + number)
    return changed


def rank_similarity(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return Spearman's correlation of absolute values; 0 if one is flat, 1 if both are."""
    a, b = np.abs(first).ravel(), np.abs(second).ravel()
    flat = (bool(np.ptp(a) == 0), bool(np.ptp(b) == 0))
    if any(flat):
        return float(all(flat))
    return float(cast("float", stats.spearmanr(a, b)[0]))


def structural_similarity(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return SSIM of absolute values, (rows, columns), each scaled to its 99th percentile."""
    window = min(_WINDOW, *first.shape)
    found = metrics.structural_similarity(
        _scaled(first), _scaled(second), data_range=1.0, win_size=window - (window + 1) % 2
    )
    return float(cast("float", found))


def _scaled(one: NDArray[np.float64]) -> NDArray[np.float64]:
    size = np.abs(one)
    top = float(np.quantile(size, _FULL)) or float(size.max()) or 1.0
    return np.clip(size / top, 0.0, 1.0)


def _compared(
    trained: Maps, other: Maps, inside: NDArray[np.bool_]
) -> tuple[list[float], list[float]]:
    ranks = [
        rank_similarity(one[where], two[where])
        for one, two, where in zip(trained, other, inside, strict=True)
    ]
    structures = [
        structural_similarity(one * where, two * where)
        for one, two, where in zip(trained, other, inside, strict=True)
    ]
    return ranks, structures


def _draw(network: nn.Module, name: str, seed: int) -> None:
    """Draw one layer anew, in place."""
    layer = network.get_submodule(name)
    with seeded(seed), torch.no_grad():
        for module in layer.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
                continue
            for parameter in module.parameters(recurse=False):
                deviation = float(parameter.std()) if parameter.numel() > 1 else 1.0
                parameter.normal_(0.0, deviation)


def joined(checks: Sequence[Sanity]) -> Sanity:
    """Return the checks of several images, made with the same draws, as one."""
    deep = [one for one in checks if one.layers] or checks[:1]
    return Sanity(
        deep[0].layers,
        np.concatenate([one.ranks for one in deep], axis=1),
        np.concatenate([one.structures for one in deep], axis=1),
        np.concatenate([one.whole_ranks for one in checks], axis=1),
        np.concatenate([one.whole_structures for one in checks], axis=1),
    )
