"""Training and use of the synthesis network on the slices of pairs.

The loss is the mean absolute error where a pair may be learned; what lies in or near lesions is
never asked for, so the network knows tissue without them alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.errors import ModelError
from models.synthesis.config import Config
from models.synthesis.network import SynthesisNetwork, stacked
from models.synthesis.pairs import Pair
from models.training.loop import Run, optimise, seeded

_DEGREES, _ZOOM, _GAMMA, _NOISE = 10.0, 0.1, 1.25, 0.02
_AT_ONCE = 16
_FEWEST_PIXELS = 200


@dataclass(frozen=True, slots=True, eq=False)
class Slices:
    """Slices to learn from.

    Attributes:
        inputs: (n, channels, rows, columns).
        target: (n, 1, rows, columns).
        weight: like the target: 1 where it is learned, else 0.
    """

    inputs: Tensor
    target: Tensor
    weight: Tensor


def slices_of(
    pairs: Sequence[Pair], config: Config, without: Sequence[NDArray[np.bool_]] | None = None
) -> Slices:
    """Return the slices of pairs that have enough to learn.

    Args:
        pairs: at least one.
        config: settings.
        without: of each pair, bool, (levels,): slices left out.

    Raises:
        ModelError: if no slice is left.
    """
    inputs: list[Tensor] = []
    target: list[Tensor] = []
    weight: list[Tensor] = []
    for index, pair in enumerate(pairs):
        enough = pair.learned.sum(axis=(1, 2)) >= _FEWEST_PIXELS
        kept = torch.from_numpy(enough if without is None else enough & ~without[index])
        inputs.append(stacked(torch.from_numpy(pair.inputs), config.neighbours)[kept])
        target.append(torch.from_numpy(pair.target)[kept, None])
        weight.append(torch.from_numpy(pair.learned.astype(np.float32))[kept, None])
    found = Slices(torch.cat(inputs), torch.cat(target), torch.cat(weight))
    if not len(found.inputs):
        raise ModelError("no slice is left to learn from")
    return found


def fit(slices: Slices, config: Config, run: Run, name: str = "synthesis") -> SynthesisNetwork:
    """Return a network trained on slices, patches drawn and changed at random.

    Raises:
        ModelError: if the loss is no longer finite.
    """
    with seeded(run.seed):
        network = SynthesisNetwork(config)

    def batch(generator: torch.Generator, size: int) -> tuple[Tensor, ...]:
        index = torch.randint(len(slices.inputs), (size,), generator=generator)
        every = (slices.inputs[index], slices.target[index], slices.weight[index])
        return changed(*every, generator=generator, crop=config.crop)

    optimise(
        name,
        network,
        _loss,
        batch,
        steps=config.steps,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        run=run,
        warm_up=20,
    )
    return network


def _loss(network: nn.Module, inputs: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    error = (network(inputs) - target).abs() * weight
    return error.sum() / weight.sum().clamp_min(1.0)


def changed(
    inputs: Tensor, target: Tensor, weight: Tensor, generator: torch.Generator, crop: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return patches turned, sized and mirrored together, the inputs alone brighter and noisier.

    Args:
        inputs: (n, channels, rows, columns), -1 is black.
        target: (n, 1, rows, columns).
        weight: like the target.
        generator: the source of chance.
        crop: rows and columns of a patch.
    """
    count, channels, rows, columns = inputs.shape
    either = torch.rand((count, 6), generator=generator) * 2 - 1
    angle = either[:, 0] * math.radians(_DEGREES)
    zoom = (1 + either[:, 1] * _ZOOM)[:, None]
    side = torch.where(either[:, 2] < 0, -1.0, 1.0)[:, None]
    # A patch's place in [-1, 1] of the whole image, which keeps the patch's own pixels.
    share = torch.tensor([crop / columns, crop / rows])
    centre = either[:, 3:5] * (1 - share)
    own = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(-1, 2, 2)
    aspect = torch.tensor([[1.0, rows / columns], [columns / rows, 1.0]])
    matrix = (
        own
        * aspect
        / zoom[:, :, None]
        * share
        * torch.cat([side, torch.ones_like(side)], 1)[:, None]
    )
    affine = torch.cat([matrix, centre[:, :, None]], dim=2)  # (n, 2, 3)
    place = functional.affine_grid(affine, [count, 1, crop, crop], align_corners=False)
    everything = torch.cat([inputs + 1, target + 1, weight], dim=1)
    moved = functional.grid_sample(everything, place, "bilinear", "zeros", align_corners=False)
    seen, wanted, counted = moved.split([channels, 1, 1], dim=1)
    gamma = torch.exp(either[:, 5] * math.log(_GAMMA)).view(-1, 1, 1, 1)
    noise = torch.randn(seen.shape, generator=generator) * _NOISE * (seen > 0.05)
    seen = 2 * (seen.clamp_min(0) / 2) ** gamma + noise
    return seen - 1, wanted - 1, (counted > 0.99).float()


def drawn(
    network: SynthesisNetwork, inputs: NDArray[np.float32], brain: NDArray[np.bool_], config: Config
) -> NDArray[np.float32]:
    """Return the contrast that a network draws, -1 off the brain.

    Args:
        network: trained, in evaluation mode.
        inputs: (inputs, levels, rows, columns), as `pairs.Pair.inputs`.
        brain: bool, (levels, rows, columns).
        config: settings.

    Returns:
        Float32, (levels, rows, columns).
    """
    slices = stacked(torch.from_numpy(inputs), config.neighbours)
    with torch.inference_mode():
        images = torch.cat([network(part)[:, 0] for part in slices.split(_AT_ONCE)]).numpy()
    return np.where(brain, images.clip(-1.0), -1.0).astype(np.float32)
