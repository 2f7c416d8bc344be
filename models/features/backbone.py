"""EfficientNet-lite0, from the stem to block 8, as a frozen feature extractor.

Tan and Le, EfficientNet, ICML 2019, in the 'lite' variant of the TensorFlow TPU models: no
squeeze-and-excitation, ReLU6 in place of swish. Batch normalisation is folded into the
convolutions when the weights are converted (`models.training.convert_weights`), so that a layer is
one convolution with a bias; padding is TensorFlow's 'same'.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.errors import ModelError


@dataclass(frozen=True, slots=True)
class BlockConfig:
    """One inverted bottleneck: kernel, stride, expansion, channels in and out."""

    kernel: int
    stride: int
    expand: int
    channels_in: int
    channels_out: int


BLOCKS: tuple[BlockConfig, ...] = (
    BlockConfig(3, 1, 1, 32, 16),
    BlockConfig(3, 2, 6, 16, 24),
    BlockConfig(3, 1, 6, 24, 24),
    BlockConfig(5, 2, 6, 24, 40),
    BlockConfig(5, 1, 6, 40, 40),
    BlockConfig(3, 2, 6, 40, 80),
    BlockConfig(3, 1, 6, 80, 80),
    BlockConfig(3, 1, 6, 80, 80),
    BlockConfig(5, 1, 6, 80, 112),
)
STEM_CHANNELS = 32
STRIDES: dict[int, int] = {0: 2, 1: 4, 2: 4, 3: 8, 4: 8, 5: 16, 6: 16, 7: 16, 8: 16}
"""Pixels of the input per pixel of a block's output."""


class SameConv(nn.Conv2d):
    """Convolution whose output has ceil(size / stride) pixels, padded as TensorFlow pads."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the convolution of `input`, (batch, channels, rows, columns)."""
        padding: list[int] = []
        for axis in (3, 2):  # torch pads the last axis first
            size, kernel, stride = input.shape[axis], self.kernel_size[0], self.stride[0]
            total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
            padding += [total // 2, total - total // 2]
        return functional.conv2d(
            functional.pad(input, padding), self.weight, self.bias, self.stride, 0, 1, self.groups
        )


class Block(nn.Module):
    """Inverted bottleneck: expand 1x1, depthwise kxk, project 1x1; a skip if shapes agree."""

    def __init__(self, config: BlockConfig) -> None:
        super().__init__()
        hidden = config.channels_in * config.expand
        self.skip = config.stride == 1 and config.channels_in == config.channels_out
        self.expand = SameConv(config.channels_in, hidden, 1) if config.expand != 1 else None
        self.depthwise = SameConv(
            hidden, hidden, config.kernel, stride=config.stride, groups=hidden
        )
        self.project = SameConv(hidden, config.channels_out, 1)

    def forward(self, input: Tensor) -> Tensor:
        """Return the block's output, (batch, channels out, rows / stride, columns / stride)."""
        x = input
        if self.expand is not None:
            x = functional.relu6(self.expand(x))
        x = self.project(functional.relu6(self.depthwise(x)))
        return x + input if self.skip else x


class Backbone(nn.Module):
    """Stem and blocks 0 to 8; 0.4 million frozen parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv(3, STEM_CHANNELS, 3, stride=2)
        self.blocks = nn.ModuleList(Block(config) for config in BLOCKS)
        self.eval()
        self.requires_grad_(requires_grad=False)

    def forward(self, images: Tensor, wanted: tuple[int, ...]) -> list[Tensor]:
        """Return the outputs of the blocks in `wanted`, ascending.

        Args:
            images: (batch, 1, rows, columns), about 0 mean and unit range, as the network's own
                (value - 127) / 128 gives.
            wanted: block numbers, ascending.

        Returns:
            One (batch, channels, rows / stride, columns / stride) tensor a wanted block.
        """
        x = functional.relu6(self.stem(images.expand(-1, 3, -1, -1)))
        outputs: list[Tensor] = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in wanted:
                outputs.append(x)
            if number == wanted[-1]:
                break
        return outputs


def from_weights(weights: Mapping[str, Tensor]) -> Backbone:
    """Return the network with these weights, computed in float32.

    Raises:
        ModelError: if a tensor is missing, unknown or of the wrong shape.
    """
    network = Backbone()
    try:
        network.load_state_dict({name: value.to(torch.float32) for name, value in weights.items()})
    except RuntimeError as error:
        raise ModelError("the weights do not fit the EfficientNet-lite0 blocks") from error
    return network
