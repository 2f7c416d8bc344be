"""Stage 2: what each token should be, given the others that can be seen.

A bidirectional transformer over the grid of tokens (Chang et al., MaskGIT, CVPR 2022), with RMSNorm
(Zhang and Sennrich 2019), SwiGLU (Shazeer 2020) and rotary positions (Su et al., RoFormer 2021) in
two dimensions. Layout, masks and loss follow Catching MRI outliers, arXiv 2605.24609; the learned
embedding of the slice's height stands in for the rotary third dimension it uses where anatomy
changes from slice to slice.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.detectors.two_stage_tokenizer import QUANTISERS
from models.errors import ModelError

COARSE, FINE = 0, 1
"""Tasks: tell the first code of a token with every second code hidden; tell the second code with
every first code seen."""
BLOCKS = (2, 4)
"""Sides of a masked block, in tokens."""
LEAST_MASKED, MOST_MASKED = 0.15, 0.75


def rotary_angles(places: Tensor, size: int, base: float) -> Tensor:
    """Return the angle by which each pair of a head's channels is turned, (tokens, size / 2).

    The first half of the pairs turns with the row, the second with the column, pair i of m by
    base^(-i / m) radians a token.

    Args:
        places: row and column of each token, (tokens, 2).
        size: channels of a head; a multiple of 4.
        base: 25,000 as published.

    Raises:
        ModelError: if `size` is not a multiple of 4.
    """
    if size % 4:
        raise ModelError("a head's channels do not divide into pairs for rows and columns")
    pairs = size // 4
    speed = base ** (-torch.arange(pairs) / pairs)
    return torch.cat([places[:, :1] * speed, places[:, 1:] * speed], dim=1)


def rotated(x: Tensor, angles: Tensor) -> Tensor:
    """Return queries or keys, (n, heads, tokens, size), turned by their angles."""
    first, second = x.chunk(2, dim=-1)
    cosine, sine = angles.cos(), angles.sin()
    turned = torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=-1)
    return turned.to(x.dtype)


class Mix(nn.Module):
    """Self-attention with rotary positions, then SwiGLU, each after RMSNorm, with residuals."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        hidden = 8 * round(width / 3)
        self.heads = heads
        self.norm1 = nn.RMSNorm(width, eps=1e-6)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.norm2 = nn.RMSNorm(width, eps=1e-6)
        self.gates = nn.Linear(width, 2 * hidden, bias=False)
        self.narrow = nn.Linear(hidden, width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def parts(self, x: Tensor, angles: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries and keys, turned, and values, (n, heads, tokens, width / heads) each."""
        qkv = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        return rotated(q, angles), rotated(k, angles), v

    def forward(self, x: Tensor, angles: Tensor) -> Tensor:
        """Return (n, tokens, width) of the same and (tokens, width / heads / 2) angles."""
        mixed = functional.scaled_dot_product_attention(*self.parts(x, angles))
        x = x + self.dropout(self.out(mixed.transpose(1, 2).flatten(2)))
        gate, value = self.gates(self.norm2(x)).chunk(2, dim=-1)
        return x + self.dropout(self.narrow(functional.silu(gate) * value))


class TokenTransformer(nn.Module):
    """A fitted stage 2.

    Args:
        grid: token rows and columns.
        levels: slices of a scan; each has its own embedding.
        codes: in each codebook; the number `codes` itself stands for a masked token.
        width, depth, heads, dropout: the transformer's.
        base: of the rotary positions.
    """

    angles: Tensor

    def __init__(
        self,
        grid: tuple[int, int],
        levels: int,
        codes: int,
        width: int,
        depth: int,
        heads: int,
        dropout: float,
        base: float,
    ) -> None:
        super().__init__()
        self.codes = codes
        self.inputs = nn.ModuleList([nn.Embedding(codes + 1, width) for _ in range(QUANTISERS)])
        self.tasks = nn.Embedding(QUANTISERS, width)
        self.heights = nn.Embedding(levels, width)
        for embedding in (*self.inputs, self.tasks, self.heights):
            nn.init.normal_(cast("nn.Embedding", embedding).weight, std=0.02)
        self.blocks = nn.ModuleList([Mix(width, heads, dropout) for _ in range(depth)])
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.heads = nn.ModuleList([nn.Linear(width, codes) for _ in range(QUANTISERS)])
        for head in self.heads:
            nn.init.normal_(cast("nn.Linear", head).weight, std=0.02)
            nn.init.zeros_(cast("nn.Linear", head).bias)
        places = torch.cartesian_prod(torch.arange(grid[0]), torch.arange(grid[1]))
        angles = rotary_angles(places.float(), width // heads, base)
        self.register_buffer("angles", angles, persistent=False)

    def hidden(self, tokens: Tensor, task: Tensor, heights: Tensor) -> Tensor:
        """Return what is known of each token, (n, token rows, token columns, width).

        Args:
            tokens: int64, (n, token rows, token columns, 2); `codes` where masked.
            task: int64, (n,), `COARSE` or `FINE`.
            heights: int64, (n,): the slice's level.
        """
        x = (self.tasks(task) + self.heights(heights))[:, None]
        for level, embedding in enumerate(self.inputs):
            x = x + embedding(tokens[..., level].flatten(1))
        for block in self.blocks:
            x = block(x, self.angles)
        return self.norm(x).unflatten(1, tokens.shape[1:3])

    def logits(self, tokens: Tensor, task: int, heights: Tensor) -> Tensor:
        """Return the logits of one task, float32, (n, token rows, token columns, codes)."""
        hidden = self.hidden(tokens, torch.full_like(heights, task), heights)
        return self.heads[task](hidden).float()

    def forward(self, tokens: Tensor, task: Tensor, heights: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of the first and of the second code, as `hidden` takes them."""
        hidden = self.hidden(tokens, task, heights)
        return self.heads[COARSE](hidden), self.heads[FINE](hidden)


def transformer_loss(
    network: nn.Module,
    tokens: Tensor,
    heights: Tensor,
    mask: Tensor,
    *,
    codes: int,
    fine_weight: float,
    smoothing: float,
) -> Tensor:
    """Return the cross-entropy of the masked first codes plus `fine_weight` that of the second.

    The second codes are asked for in a quarter of the images: the same expected loss for less work.

    Args:
        network: a `TokenTransformer`, perhaps wrapped.
        tokens: int64, (n, token rows, token columns, 2).
        heights: int64, (n,).
        mask: bool, (n, token rows, token columns): what is hidden; at least one token.
        codes: in each codebook.
        fine_weight: of the second codes.
        smoothing: of the labels.
    """
    some = max(1, len(tokens) // 4)
    coarse = tokens.clone()
    coarse[..., 0][mask] = codes
    coarse[..., 1] = codes
    fine = tokens[:some].clone()
    fine[..., 1][mask[:some]] = codes
    task = torch.full((len(tokens) + some,), COARSE, device=tokens.device)
    task[len(tokens) :] = FINE
    first, second = cast(
        "tuple[Tensor, Tensor]",
        network(torch.cat([coarse, fine]), task, torch.cat([heights, heights[:some]])),
    )
    first, second = first[: len(tokens)][mask], second[len(tokens) :][mask[:some]]
    wanted, wanted_fine = tokens[..., 0][mask], tokens[:some][..., 1][mask[:some]]
    return functional.cross_entropy(
        first.float(), wanted, label_smoothing=smoothing
    ) + fine_weight * functional.cross_entropy(
        second.float(), wanted_fine, label_smoothing=smoothing
    )


def training_masks(count: int, grid: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Return what to hide in each image, bool, (count, token rows, token columns).

    Half of the images lose single tokens, half lose blocks of 2x2 or 4x4; the part hidden follows
    Beta(4, 4), clipped to 0.15 to 0.75.
    """
    # The median of seven uniform numbers is distributed as Beta(4, 4).
    part = torch.rand((count, 7), generator=generator).median(dim=1).values
    part = part.clamp(LEAST_MASKED, MOST_MASKED)
    kinds = torch.randint(0, 2 * len(BLOCKS), (count,), generator=generator)
    masks: list[Tensor] = []
    for ratio, kind in zip(part.tolist(), kinds.tolist(), strict=True):
        side = BLOCKS[kind] if kind < len(BLOCKS) else 1
        cells = (-(-grid[0] // side), -(-grid[1] // side))
        order = torch.rand(cells[0] * cells[1], generator=generator).argsort()
        mask = torch.zeros(len(order), dtype=torch.bool)
        mask[order[: max(1, round(ratio * len(order)))]] = True
        whole = mask.view(cells).repeat_interleave(side, 0).repeat_interleave(side, 1)
        masks.append(whole[: grid[0], : grid[1]])
    return torch.stack(masks)
