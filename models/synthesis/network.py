"""The synthesis network: a small 2.5-D U-Net, neighbouring slices in, the middle slice out.

After Ronneberger, Fischer and Brox, U-Net: convolutional networks for biomedical image
segmentation (MICCAI 2015, arXiv 1505.04597), for one contrast from others as Sevetlidis, Giuffrida
and Tsaftaris did (Whole image synthesis using a deep encoder-decoder network, SASHIMI 2016). Two
3 x 3 convolutions a block with batch normalisation; halved by striding, doubled by the nearest
neighbour. Shapes below are those of 144 x 112 pixels, base 8, depth 3, one input with one
neighbour on each side.

Written out, and not MONAI's: importing that takes seconds, and whoever only fits a detector on
scans already completed does not need it installed.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.synthesis.config import Config


class SynthesisNetwork(nn.Module):
    """Draws the middle slice of one contrast from slices of others."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        widths = [config.base * 2**level for level in range(config.depth + 1)]
        self.enter = _block(config.channels, widths[0])  # (n, 8, 144, 112)
        self.down = nn.ModuleList(  # (n, 16, 72, 56), (n, 32, 36, 28), (n, 64, 18, 14)
            _block(before, after, stride=2) for before, after in pairwise(widths)
        )
        self.up = nn.ModuleList(  # (n, 32, 36, 28), (n, 16, 72, 56), (n, 8, 144, 112)
            _block(below + beside, beside)
            for below, beside in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.leave = nn.Conv2d(widths[0], 1, 1)  # (n, 1, 144, 112)

    def forward(self, slices: Tensor) -> Tensor:
        """Return the middle slices, (n, 1, rows, columns), -1 is black.

        Args:
            slices: (n, channels, rows, columns), each input's slices from below to above in turn.
        """
        found = [self.enter(slices)]
        for block in self.down:
            found.append(block(found[-1]))
        image = found.pop()
        for block in self.up:
            beside = found.pop()
            image = functional.interpolate(image, size=beside.shape[-2:], mode="nearest")
            image = block(torch.cat([image, beside], dim=1))
        return self.leave(image)


def _block(before: int, after: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride, 1),
        nn.BatchNorm2d(after),
        nn.LeakyReLU(0.1),
        nn.Conv2d(after, after, 3, 1, 1),
        nn.BatchNorm2d(after),
        nn.LeakyReLU(0.1),
    )


def stacked(images: Tensor, neighbours: int) -> Tensor:
    """Return every slice with its neighbours as channels.

    Args:
        images: (inputs, levels, rows, columns).
        neighbours: on each side; beyond the first and last slice these are repeated.

    Returns:
        (levels, inputs * (2 * neighbours + 1), rows, columns).
    """
    levels = images.shape[1]
    shown = [
        images[:, (torch.arange(levels) + offset).clamp(0, levels - 1)]
        for offset in range(-neighbours, neighbours + 1)
    ]
    # (inputs, slices, levels, rows, columns) -> (levels, inputs * slices, rows, columns)
    return torch.stack(shown, dim=1).flatten(0, 1).transpose(0, 1)
