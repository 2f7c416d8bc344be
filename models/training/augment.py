"""Augmentation where scanners and heads differ: place, size, side, brightness, noise.

Each image of a batch is changed on its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How far an image may be changed.

    Attributes:
        degrees: largest rotation, either way.
        shift: largest shift, as a part of the image's size.
        zoom: largest change of size, either way: 0.2 gives 0.8 to 1.2.
        flip: chance of a left-right flip.
        intensity: largest change of brightness, either way.
        gamma: largest exponent; its inverse is the smallest.
        noise: largest standard deviation of Gaussian noise.
    """

    degrees: float = 15.0
    shift: float = 0.06
    zoom: float = 0.2
    flip: float = 0.5
    intensity: float = 0.1
    gamma: float = 1.5
    noise: float = 0.02


def augmented(
    images: Tensor, brain: Tensor, generator: torch.Generator, how: Augmentation
) -> tuple[Tensor, Tensor]:
    """Return changed copies of normalised images and their masks.

    Args:
        images: (n, 1, rows, columns), -1 outside the brain.
        brain: bool, same shape and device.
        generator: the source of chance, on the processor: the same on every device.
        how: how far.
    """
    count, _, rows, columns = images.shape
    even = torch.rand((count, 8), generator=generator).to(images.device)
    either = even * 2 - 1
    angle = either[:, 0] * math.radians(how.degrees)
    zoom = 1 + either[:, 1] * how.zoom
    side = torch.where(even[:, 2] < how.flip, -1.0, 1.0)
    aspect = rows / columns
    # Rows of the matrix give, for an output place in [-1, 1], the input's column and row.
    matrix = torch.stack(
        [
            torch.stack(
                [
                    angle.cos() / zoom * side,
                    -angle.sin() * aspect / zoom,
                    either[:, 3] * 2 * how.shift,
                ],
                1,
            ),
            torch.stack(
                [
                    angle.sin() / aspect / zoom * side,
                    angle.cos() / zoom,
                    either[:, 4] * 2 * how.shift,
                ],
                1,
            ),
        ],
        1,
    )  # (n, 2, 3)
    grid = functional.affine_grid(matrix, [count, 1, rows, columns], align_corners=False)
    # Sampled as distance from the background, so that what comes in from outside is background.
    moved = functional.grid_sample(images + 1, grid, "bilinear", "zeros", align_corners=False)
    inside = functional.grid_sample(brain.float(), grid, "nearest", "zeros", align_corners=False)
    mask = inside > 0.5
    gain = (1 + either[:, 5] * how.intensity).view(-1, 1, 1, 1)
    gamma = torch.exp(either[:, 6] * math.log(how.gamma)).view(-1, 1, 1, 1)
    # 0 is black, 2 the brightest of an ordinary brain: gamma keeps both.
    changed = gain * 2 * (moved.clamp_min(0) / 2) ** gamma
    if how.noise > 0:
        noise = torch.randn(images.shape, generator=generator).to(images.device) * how.noise
        changed = changed + noise * even[:, 7].view(-1, 1, 1, 1)
    return torch.where(mask, changed - 1, -1.0), mask
