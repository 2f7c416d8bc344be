"""The token detector's settings, orderings, networks and losses; see `vq_autoregressive`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional

from models.errors import ModelError
from models.prepare import GridConfig

ORDERINGS = ("raster", "transposed", "reversed", "transposed_reversed")
"""Row by row from the back, column by column from the left, and both backwards."""
_DEAD_CODE = 1.0
"""A code that fewer tokens a batch choose, in the moving average, starts anew."""


@dataclass(frozen=True, slots=True)
class Config(GridConfig):
    """Settings; the published value in brackets where it differs.

    Attributes:
        channels: of the VQ-VAE's convolutions, each halving the image; three of them make
            160 x 128 pixels 20 x 16 tokens [up to 32 x 32].
        residual_layers: residual units after each.
        codes: in the codebook [32 to 256].
        code_size: numbers a code.
        commitment: weight of the commitment loss.
        decay: of the codebook's moving averages; fast, as there are few steps.
        tokeniser_steps: optimiser steps of the VQ-VAE.
        tokeniser_batch_size: slices a step.
        tokeniser_rate: learning rate.
        width: of the transformer.
        depth: layers.
        heads: of its attention.
        dropout: on its input.
        copies: differently augmented copies of each slice whose tokens it learns from.
        prior_steps: optimiser steps of the transformer.
        prior_batch_size: sequences a step.
        prior_rate: learning rate.
        orderings: of the tokens, averaged; out of `ORDERINGS`.
        threshold: tokens less likely than this are replaced [0.005].
        map: ``likelihood``: smoothed negative log-likelihood, nothing replaced.
            ``restored``: plus `residual_weight` times the residual after each unlikely token is
            replaced by the most likely one given the others as they are, in one step.
            ``resampled``: the published map: unlikely tokens sampled one after the other, each
            given those healed before it; residual times the smoothed mask, averaged over
            `samplings`. Takes one pass of the transformer for each
            unlikely token of a slice and sampling: seconds to minutes a scan on a processor.
        restored_slices: only in this many slices, those with most unlikely tokens, are tokens
            replaced; the residual of the others counts as 0.
        samplings: of ``resampled`` [20].
        smoothing: standard deviation in pixels [6]: enough to hide the cells.
        residual_weight: nats a unit of intensity.
    """

    channels: tuple[int, ...] = (32, 64, 64)
    residual_layers: int = 1
    codes: int = 128
    code_size: int = 32
    commitment: float = 0.25
    decay: float = 0.95
    tokeniser_steps: int = 2000
    tokeniser_batch_size: int = 8
    tokeniser_rate: float = 1e-3
    width: int = 128
    depth: int = 4
    heads: int = 4
    dropout: float = 0.1
    copies: int = 8
    prior_steps: int = 3000
    prior_batch_size: int = 16
    prior_rate: float = 1e-3
    orderings: tuple[str, ...] = ("raster", "transposed", "reversed", "transposed_reversed")
    threshold: float = 0.005
    map: str = "restored"
    restored_slices: int = 8
    samplings: int = 8
    smoothing: float = 4.0
    residual_weight: float = 4.0

    @property
    def grid(self) -> tuple[int, int]:
        """Return the rows and columns of tokens."""
        scale = 2 ** len(self.channels)
        return self.rows // scale, self.columns // scale


def order(name: str, rows: int, columns: int) -> Tensor:
    """Return the place in raster order of each token of an ordering, (rows * columns,).

    Raises:
        ModelError: if the ordering is not known.
    """
    if name not in ORDERINGS:
        raise ModelError(f"the ordering {name!r} is not known")
    raster = torch.arange(rows * columns).view(rows, columns)
    places = (raster.T if name.startswith("transposed") else raster).flatten()
    return places.flip(0) if name.endswith("reversed") else places


class Tokeniser(nn.Module):
    """MONAI's VQ-VAE, with codes that nothing chooses set to encodings of the current batch.

    The codebook follows its encodings by moving averages (van den Oord 2017, appendix A.1); it
    starts from encodings, since all its codes are unused then (revival as in Dhariwal et al.,
    Jukebox, 2020).
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        from monai.networks.nets.vqvae import VQVAE

        depth = len(config.channels)
        # MONAI is not typed closely enough: Any.
        self.inner: Any = VQVAE(
            spatial_dims=2,
            in_channels=1,
            out_channels=1,
            channels=config.channels,
            num_res_layers=config.residual_layers,
            num_res_channels=config.channels,
            downsample_parameters=((2, 4, 1, 1),) * depth,
            upsample_parameters=((2, 4, 1, 1, 0),) * depth,
            num_embeddings=config.codes,
            embedding_dim=config.code_size,
            commitment_cost=config.commitment,
            decay=config.decay,
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the reconstruction, (n, 1, rows, columns), and the commitment loss."""
        encodings = self.inner.encode(images)  # (n, code size, token rows, token columns)
        if self.training:
            self._revive(encodings.detach().float())
        quantised, commitment = self.inner.quantize(encodings)
        # Channels last: less time on a processor.
        quantised = quantised.contiguous(memory_format=torch.channels_last)
        return self.inner.decode(quantised), commitment

    def tokens(self, images: Tensor) -> Tensor:
        """Return the codes of images in raster order, (n, tokens)."""
        found = cast("Tensor", self.inner.index_quantize(images))
        return found.flatten(1)

    def decode(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return the images, (n, 1, rows, columns), of tokens in raster order."""
        return cast("Tensor", self.inner.decode_samples(tokens.unflatten(1, grid)))

    def _revive(self, encodings: Tensor) -> None:
        codebook = self.inner.quantizer.quantizer
        size, total = codebook.ema_cluster_size, codebook.ema_w
        flat = encodings.movedim(1, -1).flatten(0, -2)  # (n * tokens, code size)
        pick = torch.randint(len(flat), (len(size),)).to(flat.device)
        dead = size < _DEAD_CODE
        fresh = len(flat) / len(size)  # as if chosen as often as an average code
        weight = codebook.embedding.weight
        weight.data.copy_(torch.where(dead[:, None], flat[pick], weight))
        total.copy_(torch.where(dead[:, None], flat[pick] * fresh, total))
        size.copy_(torch.where(dead, fresh, size))
        if distributed.is_initialized():
            for tensor in (weight.data, total, size):
                distributed.broadcast(tensor, 0)


class Prior(nn.Module):
    """MONAI's causal transformer, told the place of each token and of the one to foresee."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        from monai.networks.nets.transformer import DecoderOnlyTransformer

        self.codes = config.codes
        self.places = math.prod(config.grid)
        # Start tokens, one a level, come after the codes, their place after the grid's.
        self.inner: Any = DecoderOnlyTransformer(
            num_tokens=config.codes + config.levels,
            max_seq_len=self.places + 1,
            attn_layers_dim=config.width,
            attn_layers_depth=config.depth,
            attn_layers_heads=config.heads,
            embedding_dropout_rate=config.dropout,
            use_flash_attention=True,
        )
        self.next_place = nn.Embedding(self.places, config.width)
        # Small, as in GPT-2, so that all codes are about alike likely before training.
        for layer in (
            self.inner.token_embeddings,
            self.inner.position_embeddings.embedding,
            self.next_place,
            self.inner.to_logits,
        ):
            nn.init.normal_(layer.weight, std=0.02)
        for name, parameter in self.named_parameters():
            if "norm_cross_attn" in name:  # never used without a context
                parameter.requires_grad = False

    def forward(self, tokens: Tensor, level: Tensor, places: Tensor) -> Tensor:
        """Return the logits of the first tokens of an ordering given those before each.

        Args:
            tokens: (n, tokens) in raster order.
            level: (n,) of the slice.
            places: (n, length): the ordering, or how it starts.

        Returns:
            (n, length, codes), in the ordering's order.
        """
        inner = self.inner
        before = tokens.gather(1, places)[:, :-1]
        read = torch.cat([self.codes + level[:, None], before], 1)
        start = torch.full_like(places[:, :1], self.places)
        here = inner.position_embeddings.embedding(torch.cat([start, places[:, :-1]], 1))
        state = inner.token_embeddings(read) + here + self.next_place(places)
        state = inner.embedding_dropout(state)  # (n, length, width)
        for block in inner.blocks:
            state = block(state)
        return cast("Tensor", inner.to_logits(state)[..., : self.codes])

    def log_probabilities(self, tokens: Tensor, level: Tensor, ordering: Tensor) -> Tensor:
        """Return log p of every code at every place, (n, tokens, codes), in raster order."""
        logits = self(tokens, level, ordering.expand(len(tokens), -1))
        return logits.float().log_softmax(-1)[:, ordering.argsort()]


def tokeniser_loss(network: nn.Module, images: Tensor) -> Tensor:
    """Return mean |x - x_hat| plus the commitment loss."""
    reconstruction, commitment = network(images)
    return functional.l1_loss(reconstruction, images) + commitment


def prior_loss(network: nn.Module, tokens: Tensor, level: Tensor, places: Tensor) -> Tensor:
    """Return the mean -log p of a token given those before it in its ordering, in nats."""
    logits = network(tokens, level, places)
    return functional.cross_entropy(logits.flatten(0, 1), tokens.gather(1, places).flatten())
