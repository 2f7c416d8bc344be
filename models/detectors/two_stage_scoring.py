"""Two questions put to the tokens of a slice: how surprising is each, and what would heal it?

Surprisal hides most tokens and asks how likely each hidden one is, given those that are seen;
healing hides half of them, lets the transformer fill them in, and draws the image anew (Catching
MRI outliers, arXiv 2605.24609). All functions take slices as a batch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from models.detectors.two_stage_tokenizer import Tokenizer, structural_distance
from models.detectors.two_stage_transformer import COARSE, FINE, TokenTransformer
from models.errors import ModelError

_SEQUENCES = 32
"""Sequences in one pass of the transformer, so that memory does not grow with the slices."""


def surprisal_published(
    transformer: TokenTransformer,
    tokens: Tensor,
    heights: Tensor,
    *,
    mask_rate: float = 0.82,
    draws: int = 100,
    seed: int = 0,
    bf16: bool = False,
) -> Tensor:
    """Return the mean of -log p(first code | seen) over independent random masks, nats.

    As published: each slice and each mask is a pass of its own. A token that no mask hides has
    surprisal 0.

    Args:
        transformer: stage 2, in evaluation mode.
        tokens: int64, (n, token rows, token columns, 2).
        heights: int64, (n,): each slice's level.
        mask_rate: part of the tokens hidden; 0.82 for brain, 0.90 for pelvis.
        draws: masks a slice; 100 for brain, 50 for pelvis.
        seed: of the masks.
        bf16: whether the transformer runs in bfloat16.

    Returns:
        float32, (n, token rows, token columns).
    """
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(tokens.shape[:3], device=tokens.device)
    count = torch.zeros_like(total)
    hidden = round(mask_rate * total[0].numel())
    for number in range(len(tokens)):
        one = tokens[number : number + 1]
        for _ in range(draws):
            order = torch.rand(total[0].numel(), generator=generator).argsort()
            mask = torch.zeros(len(order), dtype=torch.bool)
            mask[order[:hidden]] = True
            mask = mask.view(total[0].shape).to(tokens.device)
            found = _surprisal(transformer, one, heights[number : number + 1], mask[None], bf16)
            total[number] += found[0] * mask
            count[number] += mask
    return total / count.clamp_min(1)


def visible_sets(grid: tuple[int, int], mask_rate: float, seed: int = 0) -> Tensor:
    """Return which of k disjoint sets each token belongs to, int64, (token rows, token columns).

    k = round(1 / (1 - mask_rate)), 6 for 0.82: with one set seen and all others hidden, the part
    hidden is that of the published masks as nearly as it can be, each token is seen in exactly one
    pass and scored in k - 1, never twice from the same context. The sets are dealt out within
    tiles of k tokens, so that each is spread evenly over the image: the mean over these passes
    varies less than over as many independent masks.

    Raises:
        ModelError: if the mask rate leaves fewer than two sets, or more sets than tokens.
    """
    sets = round(1 / max(1 - mask_rate, 1e-6))
    if not 2 <= sets <= grid[0] * grid[1]:
        raise ModelError(f"a mask rate of {mask_rate} gives no partition of the tokens")
    rows = max(side for side in range(1, math.isqrt(sets) + 1) if sets % side == 0)
    tile = (rows, sets // rows)
    cells = (-(-grid[0] // tile[0]), -(-grid[1] // tile[1]))
    generator = torch.Generator().manual_seed(seed)
    dealt = torch.rand((*cells, sets), generator=generator).argsort(-1)
    whole = dealt.view(*cells, *tile).permute(0, 2, 1, 3).flatten(2).flatten(0, 1)
    return whole[: grid[0], : grid[1]].contiguous()


def surprisal_partition(
    transformer: TokenTransformer,
    tokens: Tensor,
    heights: Tensor,
    *,
    mask_rate: float = 0.82,
    rounds: int = 1,
    seed: int = 0,
    bf16: bool = False,
) -> Tensor:
    """Return the mean of -log p(first code | seen) over `rounds` partitions, nats.

    What `surprisal_published` estimates, with the masks of `visible_sets`: 6 passes a round instead
    of 100, all slices and masks in batches, and the same for the same scan.

    Args:
        transformer: stage 2, in evaluation mode.
        tokens: int64, (n, token rows, token columns, 2).
        heights: int64, (n,): each slice's level.
        mask_rate: as published.
        rounds: partitions; each adds 1 / (1 - mask_rate) passes.
        seed: of the partitions.
        bf16: whether the transformer runs in bfloat16.

    Returns:
        float32, (n, token rows, token columns).
    """
    count, *grid = tokens.shape[:3]
    masks: list[Tensor] = []
    for turn in range(rounds):
        sets = visible_sets((grid[0], grid[1]), mask_rate, seed + turn)
        masks += [sets != number for number in range(int(sets.max()) + 1)]
    stacked = torch.stack(masks).to(tokens.device)  # (passes, token rows, token columns)
    slices = torch.arange(count, device=tokens.device).repeat_interleave(len(masks))
    passes = torch.arange(len(masks), device=tokens.device).repeat(count)
    total = torch.zeros(tokens.shape[:3], device=tokens.device)
    for who, how in zip(slices.split(_SEQUENCES), passes.split(_SEQUENCES), strict=True):
        mask = stacked[how]
        found = _surprisal(transformer, tokens[who], heights[who], mask, bf16)
        total.index_add_(0, who, found * mask)
    return total / stacked.sum(0)


def _surprisal(
    transformer: TokenTransformer, tokens: Tensor, heights: Tensor, mask: Tensor, bf16: bool
) -> Tensor:
    """Return -log p of every first code with the masked hidden, and every second code."""
    shown = torch.full_like(tokens, transformer.codes)
    shown[..., COARSE] = tokens[..., COARSE].masked_fill(mask, transformer.codes)
    with torch.inference_mode(), torch.autocast(tokens.device.type, torch.bfloat16, enabled=bf16):
        logits = transformer.logits(shown, COARSE, heights)
    wanted = tokens[..., COARSE]
    return functional.cross_entropy(logits.permute(0, 3, 1, 2), wanted, reduction="none")


def checkerboard(grid: tuple[int, int], side: int) -> Tensor:
    """Return every second block of `side` x `side` tokens, bool, (token rows, token columns)."""
    row, column = torch.arange(grid[0]) // side, torch.arange(grid[1]) // side
    return (row[:, None] + column[None, :]) % 2 == 0


def healed(
    transformer: TokenTransformer,
    tokens: Tensor,
    heights: Tensor,
    mask: Tensor,
    *,
    steps: tuple[int, int] = (6, 1),
    temperature: float = 0.0,
    generator: torch.Generator | None = None,
    bf16: bool = False,
) -> Tensor:
    """Return tokens with those under `mask` filled in by the transformer.

    First codes, then second codes; at each step the ceil(left / steps left) tokens of which the
    transformer is surest are kept.

    Args:
        transformer: stage 2, in evaluation mode.
        tokens: int64, (n, token rows, token columns, 2).
        heights: int64, (n,).
        mask: bool, (token rows, token columns).
        steps: for the first codes and for the second; 6 and 6 for brain as published.
        temperature: 0 takes the likeliest code; the paper says 0.9 for brain, 0.3 for pelvis.
        generator: draws the codes where the temperature is not 0; on the tokens' device.
        bf16: whether the transformer runs in bfloat16.
    """
    filled = tokens.clone()
    filled[:, mask] = transformer.codes
    shown = filled.clone()
    shown[..., FINE] = transformer.codes
    for level in (COARSE, FINE):
        left = mask.expand(tokens.shape[:3]).flatten(1).clone()
        for step in range(steps[level]):
            hidden = int(left[0].sum())
            if not hidden:
                break
            with (
                torch.inference_mode(),
                torch.autocast(tokens.device.type, torch.bfloat16, enabled=bf16),
            ):
                logits = transformer.logits(shown, level, heights).flatten(1, 2)
            codes, sure = _chosen(logits, temperature, generator)
            sure = sure.masked_fill(~left, -1.0)
            kept = sure.topk(-(-hidden // (steps[level] - step)), dim=1).indices
            shown[..., level].view(left.shape).scatter_(1, kept, codes.gather(1, kept))
            left.scatter_(1, kept, value=False)
        if level == COARSE:
            shown[..., FINE] = filled[..., FINE]
    return shown


def _chosen(
    logits: Tensor, temperature: float, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Return a code for each token, (n, tokens), and its probability."""
    if temperature <= 0:
        sure, codes = logits.softmax(-1).max(-1)
        return codes, sure
    chances = (logits / temperature).softmax(-1)
    codes = torch.multinomial(chances.flatten(0, 1), 1, generator=generator)
    codes = codes.view(chances.shape[:2])
    return codes, chances.gather(-1, codes[..., None])[..., 0]


def healing_distance(
    tokenizer: Tokenizer,
    transformer: TokenTransformer,
    tokens: Tensor,
    heights: Tensor,
    *,
    side: int = 4,
    steps: tuple[int, int] = (6, 1),
    temperature: float = 0.0,
    generator: torch.Generator | None = None,
    bf16: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return how unlike their reconstructions the healed slices look, and the healed tokens.

    Both halves of the checkerboard are healed in turn, each from the other, so that every token is
    questioned once; the distance of each pixel is that of the two passes, averaged.

    Returns:
        The distance, `structural_distance`, (n, 1, rows, columns); the tokens, each as it was
        healed, like `tokens`.
    """
    first = checkerboard((tokens.shape[1], tokens.shape[2]), side).to(tokens.device)
    whole = tokens.clone()
    distances: list[Tensor] = []
    drawn = _decoded(tokenizer, tokens, bf16)
    for mask in (first, ~first):
        filled = healed(
            transformer,
            tokens,
            heights,
            mask,
            steps=steps,
            temperature=temperature,
            generator=generator,
            bf16=bf16,
        )
        whole[:, mask] = filled[:, mask]
        distances.append(structural_distance(_decoded(tokenizer, filled, bf16), drawn))
    return torch.stack(distances).mean(0), whole


def _decoded(tokenizer: Tokenizer, tokens: Tensor, bf16: bool) -> Tensor:
    with torch.inference_mode(), torch.autocast(tokens.device.type, torch.bfloat16, enabled=bf16):
        return tokenizer.decode(tokens).float()
