"""Stage 1: an image as a grid of discrete tokens, two codes each, and back.

A vision transformer encodes patches (Dosovitskiy et al., An image is worth 16x16 words, ICLR 2021),
residual vector quantisation names each with one code a level (Zeghidour et al., SoundStream, 2021,
algorithm 1; van den Oord et al., Neural discrete representation learning, NeurIPS 2017, for the
straight-through gradient and the moving averages), and a convolutional decoder with pixel shuffle
draws the image again. Layout and numbers follow Catching MRI outliers, arXiv 2605.24609.

Only training needs `vector_quantize_pytorch`; a fitted tokenizer is its encoder, its decoder and
its codebooks.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.errors import ModelError

QUANTISERS = 2
"""Codes a token has: the second names what the first leaves over."""
_GROUPS = 8
_SSIM_SCALES = 3
_SSIM_WINDOW = 7
_SSIM_RANGE = 2.25
"""From black, -1, to the brightest that preparation gives."""


class Attend(nn.Module):
    """Pre-norm self-attention and feed-forward, each with a residual."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.wide = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, tokens, width) of the same."""
        qkv = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (n, heads, tokens, width / heads) each
        mixed = functional.scaled_dot_product_attention(q, k, v)
        x = x + self.dropout(self.out(mixed.transpose(1, 2).flatten(2)))
        return x + self.dropout(self.narrow(functional.gelu(self.wide(self.norm2(x)))))


class Encoder(nn.Module):
    """Vision transformer with learned positions."""

    def __init__(
        self, grid: tuple[int, int], patch: int, width: int, depth: int, heads: int, dropout: float
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, patch, stride=patch)
        self.positions = nn.Parameter(torch.randn(grid[0] * grid[1], width) * 0.02)
        self.blocks = nn.ModuleList([Attend(width, heads, dropout) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)

    def forward(self, images: Tensor) -> Tensor:
        """Return features, (n, tokens, width), of images, (n, 1, rows, columns)."""
        x = self.patches(images).flatten(2).transpose(1, 2) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class Residual(nn.Module):
    """Two 3x3 convolutions, each after GroupNorm and SiLU, with a residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.GroupNorm(_GROUPS, channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GroupNorm(_GROUPS, channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, channels, rows, columns) of the same."""
        return x + self.body(x)


class Decoder(nn.Module):
    """Residual blocks at the token grid, then pixel shuffle (Shi et al., CVPR 2016) to the image.

    `widths` has one entry more than the patch has halvings; each is a multiple of 8.
    """

    def __init__(self, width: int, widths: tuple[int, ...], blocks: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(width, widths[0], 3, padding=1)]
        layers += [Residual(widths[0]) for _ in range(blocks)]
        for wide, narrow in itertools.pairwise(widths):
            layers += [
                nn.Conv2d(wide, 4 * narrow, 3, padding=1),
                nn.PixelShuffle(2),
                nn.GroupNorm(_GROUPS, narrow),
                nn.SiLU(),
            ]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 3, padding=1))

    def forward(self, codes: Tensor) -> Tensor:
        """Return images, (n, 1, rows, columns), of codes, (n, width, token rows, token columns)."""
        return self.layers(codes)


class Tokenizer(nn.Module):
    """A fitted stage 1: images to tokens, tokens to images.

    Args:
        grid: token rows and columns.
        patch: pixels along a token's side; a power of two.
        width, depth, heads, dropout: the encoder's.
        decoder: the decoder's widths, coarse to fine.
        blocks: the decoder's residual blocks.
        codes: in each codebook.
    """

    codebooks: Tensor

    def __init__(
        self,
        grid: tuple[int, int],
        patch: int,
        width: int,
        depth: int,
        heads: int,
        dropout: float,
        decoder: tuple[int, ...],
        blocks: int,
        codes: int,
    ) -> None:
        super().__init__()
        if 2 ** (len(decoder) - 1) != patch:
            raise ModelError("the decoder's widths do not lead from the patch to the pixel")
        self.grid = grid
        self.encoder = Encoder(grid, patch, width, depth, heads, dropout)
        self.decoder = Decoder(width, decoder, blocks)
        self.register_buffer("codebooks", torch.zeros(QUANTISERS, codes, width))

    def features(self, images: Tensor) -> Tensor:
        """Return what the encoder says, (n, token rows, token columns, width)."""
        return self.encoder(images).unflatten(1, self.grid)

    def tokens(self, features: Tensor) -> Tensor:
        """Return the nearest code of each level, (n, token rows, token columns, 2), int64."""
        left = features.float()
        chosen: list[Tensor] = []
        with torch.autocast(features.device.type, enabled=False):
            for book in self.codebooks.float():
                # |x - c|^2 without |x|^2, which is the same for all codes
                nearest = ((book**2).sum(1) - 2 * left @ book.T).argmin(-1)
                chosen.append(nearest)
                left = left - book[nearest]
        return torch.stack(chosen, dim=-1)

    def decode(self, tokens: Tensor) -> Tensor:
        """Return images, (n, 1, rows, columns), of tokens, (n, token rows, token columns, 2)."""
        codes = sum(book[tokens[..., level]] for level, book in enumerate(self.codebooks))
        return self.decoder(cast("Tensor", codes).permute(0, 3, 1, 2))

    def forward(self, images: Tensor) -> Tensor:
        """Return the images as the tokens tell them."""
        return self.decode(self.tokens(self.features(images)))


class TokenizerTraining(nn.Module):
    """A tokenizer with codebooks that still move.

    The codebooks follow moving averages of what they name; codes that name next to nothing are
    moved onto features of the batch. The orthogonality term only reaches them as one optimiser step
    between two updates of the averages, so it is a nudge, not a constraint: so it is in the
    library that the published system uses.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        decay: float,
        orthogonal: float,
        commitment: float,
        dead_code: float,
    ) -> None:
        super().__init__()
        from vector_quantize_pytorch import ResidualVQ  # only training needs it

        _, codes, width = tokenizer.codebooks.shape
        self.tokenizer = tokenizer
        self.quantiser = cast(
            "nn.Module",
            ResidualVQ(
                dim=width,
                num_quantizers=QUANTISERS,
                codebook_size=codes,
                decay=decay,
                kmeans_init=True,
                threshold_ema_dead_code=dead_code,
                commitment_weight=commitment,
                orthogonal_reg_weight=orthogonal,
            ),
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the reconstruction and the commitment and orthogonality loss."""
        features = self.tokenizer.encoder(images)
        with torch.autocast(images.device.type, enabled=False):
            quantise = cast("Callable[[Tensor], tuple[Tensor, ...]]", self.quantiser)
            codes, _, losses = quantise(features.float())
        grid = codes.transpose(1, 2).unflatten(2, self.tokenizer.grid)
        return self.tokenizer.decoder(grid), losses.sum()

    def finish(self) -> Tokenizer:
        """Return the tokenizer with the codebooks that were learned."""
        self.tokenizer.codebooks.copy_(cast("Tensor", self.quantiser.codebooks).detach())
        return self.tokenizer.eval().requires_grad_(requires_grad=False)


def tokenizer_loss(perceptual: float) -> Callable[[nn.Module, Tensor], Tensor]:
    """Return L1 + `perceptual` times the structural distance + commitment, as a loss."""

    def loss(network: nn.Module, images: Tensor) -> Tensor:
        drawn, commitment = cast("tuple[Tensor, Tensor]", network(images))
        drawn = drawn.float()
        distance = structural_distance(drawn, images).mean()
        return functional.l1_loss(drawn, images) + perceptual * distance + commitment

    return loss


def structural_distance(one: Tensor, other: Tensor) -> Tensor:
    """Return how unlike two sets of images look, pixel by pixel, (n, 1, rows, columns), 0 if alike.

    1 - SSIM (Wang et al., Image quality assessment, IEEE Trans Image Process 2004, equation 13,
    7x7 windows, K 0.01 and 0.03) at three scales, each half the one before, averaged. It takes the
    place of the published network distance, which needs weights that cannot be had offline.

    Args:
        one: images, (n, 1, rows, columns); `other` the same.
    """
    size = one.shape[-2:]
    total = torch.zeros_like(one)
    for scale in range(_SSIM_SCALES):
        if scale:
            one, other = functional.avg_pool2d(one, 2), functional.avg_pool2d(other, 2)
        distance = 1 - _similarity(one, other)
        total = total + functional.interpolate(distance, size, mode="bilinear")
    return total / _SSIM_SCALES


def _similarity(one: Tensor, other: Tensor) -> Tensor:
    count = one.shape[0]
    stacked = torch.cat([one, other, one * one, other * other, one * other])
    means = local_mean(stacked, _SSIM_WINDOW).split(count)
    mean1, mean2 = means[0], means[1]
    variance1 = (means[2] - mean1**2).clamp_min(0)
    variance2 = (means[3] - mean2**2).clamp_min(0)
    covariance = means[4] - mean1 * mean2
    c1, c2 = (0.01 * _SSIM_RANGE) ** 2, (0.03 * _SSIM_RANGE) ** 2
    # As in the equation, but of intensities from black, 0, where luminance has its meaning.
    light1, light2 = mean1 + 1, mean2 + 1
    luminance = (2 * light1 * light2 + c1) / (light1**2 + light2**2 + c1)
    return luminance * (2 * covariance + c2) / (variance1 + variance2 + c2)


def local_mean(images: Tensor, window: int) -> Tensor:
    """Return the mean over a window around each pixel, smaller at the edges."""
    return functional.avg_pool2d(
        images, window, stride=1, padding=window // 2, count_include_pad=False
    )
