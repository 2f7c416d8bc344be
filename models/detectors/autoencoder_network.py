"""The autoencoder's settings, its network and the loss it is trained with; see `autoencoder`."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.prepare import GridConfig


@dataclass(frozen=True, slots=True)
class Config(GridConfig):
    """Settings; the published value in brackets where it differs.

    Attributes:
        kind: ``ae`` or ``vae``.
        channels: of the strided 5 x 5 convolutions, each halving the image [32, 64, 128, 128].
        bottleneck: channels of the 1 x 1 convolution before the code [16].
        latent: numbers in the code [128].
        dropout: on the code of an autoencoder [0.2].
        loss: ``l1``, the published sum of |x - x_hat|, or ``l2_ssim``, the sum of squares plus
            1 - SSIM, each pixel of equal weight.
        beta: weight of the Kullback-Leibler divergence of a variational autoencoder [1].
        steps: optimiser steps [until 5 epochs without gain].
        batch_size: slices a step [8].
        learning_rate: [1e-4, Adam].
        held_out: the part of the subjects on which the network is not trained, to learn what error
            an unseen normal scan has.
        map: ``residual``, one pass, or ``restoration``, two orders of magnitude slower.
        sign: of the difference that the map shows: 1 what is brighter than the network can draw it,
            as published for FLAIR, -1 what is darker, 0 both.
        restoration_steps: steps of gradient descent on the image [150].
        restoration_rate: of those steps [1e-3, for intensities of another range].
        tv_weights: candidate weights of total variation in the restoration; the one that changes
            held-out normal slices least is kept [0 to 1.9].
        erosion: pixels taken off the rim of the brain, where an edge out of place looks like a
            lesion.
        median: size of the map's median filter in levels, rows, columns [5 x 5 x 5 voxels of
            about 1 mm]: about 5 x 8 x 8 mm, as levels lie some 5 mm apart.
    """

    kind: str = "ae"
    channels: tuple[int, ...] = (16, 32, 64, 64)
    bottleneck: int = 16
    latent: int = 128
    dropout: float = 0.2
    loss: str = "l1"
    beta: float = 1.0
    steps: int = 3000
    batch_size: int = 16
    learning_rate: float = 1e-3
    held_out: float = 0.2
    map: str = "residual"
    sign: int = 0
    restoration_steps: int = 100
    restoration_rate: float = 5e-3
    tv_weights: tuple[float, ...] = (0.0, 0.5, 1.0, 1.9)
    erosion: int = 2
    median: tuple[int, int, int] = (1, 5, 5)


class Output(NamedTuple):
    """What the network says of n images.

    Attributes:
        image: the reconstruction, (n, 1, rows, columns).
        mean: the code, or the mean of its distribution, (n, latent).
        divergence: of the code's distribution from a standard normal one in nats, (n,); 0 for an
            autoencoder.
    """

    image: Tensor
    mean: Tensor
    divergence: Tensor


class Autoencoder(nn.Module):
    """Encoder, dense code, mirrored decoder.

    Convolutions 5 x 5 of stride 2 with batch normalisation and leaky ReLU, 1 x 1 convolution,
    dense code, and the same backwards (Baur 2021).
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.variational = config.kind == "vae"
        sizes = (1, *config.channels)
        scale = 2 ** len(config.channels)
        self.shape = (config.bottleneck, config.rows // scale, config.columns // scale)
        self.down = nn.Sequential(
            *(_block(nn.Conv2d(a, b, 5, 2, 2), b) for a, b in itertools.pairwise(sizes)),
            nn.Conv2d(sizes[-1], config.bottleneck, 1),
        )
        features = math.prod(self.shape)
        self.code = nn.Linear(features, config.latent * (2 if self.variational else 1))
        self.drop = nn.Dropout(0.0 if self.variational else config.dropout)
        self.expand = nn.Linear(config.latent, features)
        back = sizes[:0:-1]  # the encoder's channels, last first
        self.up = nn.Sequential(
            nn.Conv2d(config.bottleneck, back[0], 1),
            *(
                _block(nn.ConvTranspose2d(a, b, 5, 2, 2, output_padding=1), b)
                for a, b in zip(back, (*back[1:], back[-1]), strict=True)
            ),
            nn.Conv2d(back[-1], 1, 1),
        )

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean and the log variance of each image's code, (n, latent) each."""
        code = self.code(self.down(images).flatten(1))  # (n, latent or 2 * latent)
        if not self.variational:
            return code, torch.zeros_like(code)
        mean, log_variance = code.chunk(2, dim=1)
        return mean, log_variance.clamp(-10.0, 10.0)

    def decode(self, code: Tensor) -> Tensor:
        """Return the images, (n, 1, rows, columns), of codes, (n, latent)."""
        cells = self.expand(code).view(-1, *self.shape)
        # Channels last: a third less time on a processor.
        return self.up(cells.contiguous(memory_format=torch.channels_last))

    def forward(self, images: Tensor) -> Output:
        """Return the reconstruction of `images`, (n, 1, rows, columns)."""
        mean, log_variance = self.encode(images)
        code = self.drop(mean)
        divergence = mean.new_zeros(len(mean))
        if self.variational:
            divergence = 0.5 * (mean**2 + log_variance.exp() - 1.0 - log_variance).sum(1)
            if self.training:
                code = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        return Output(self.decode(code), mean, divergence)


def _block(convolution: nn.Module, channels: int) -> nn.Module:
    return nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.LeakyReLU(0.3))


def loss_of(config: Config) -> Any:
    """Return the loss of a batch: the published sums, divided by the pixels of an image."""
    pixels = config.rows * config.columns
    similarity: Any = None
    if config.loss == "l2_ssim":
        from monai.losses.ssim_loss import SSIMLoss

        similarity = SSIMLoss(spatial_dims=2, data_range=2.5)

    def loss(network: nn.Module, images: Tensor) -> Tensor:
        found = cast("Output", network(images))
        divergence = config.beta * found.divergence.mean() / pixels
        if similarity is None:
            return functional.l1_loss(found.image, images) + divergence
        unlike = cast("Tensor", similarity(found.image, images))
        return functional.mse_loss(found.image, images) + unlike + divergence

    return loss
