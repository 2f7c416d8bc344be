"""Looking: at which tokens of a slice a transformer looked when it judged some of them.

Attention rolled out through all layers (`models.attribution.rollout`), from the tokens judged to
the tokens that could tell something, as a multiple of what even attention would give: 1 is a place
that was looked at as if nothing had been learned about where to look.

- Masked transformer (two-stage): the passes of `surprisal_partition`; in each, one set of tokens is
  seen. Of the tokens judged, those hidden in the pass; of the places looked at, those seen, as a
  masked token tells no more than where it is. Every token is seen in one pass, so that the passes
  together cover the slice.
- Causal transformer (VQ-VAE and prior): every ordering; a token is judged from the start token and
  those before it. The division by even attention under the same mask takes out the advantage that
  early tokens have by being early.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.attribution.attention import of_mix, of_sablock, watched
from models.attribution.rollout import even, rollout
from models.detectors.two_stage_scoring import visible_sets
from models.detectors.two_stage_transformer import COARSE, TokenTransformer
from models.detectors.vq_networks import Prior, order


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """Where a transformer looked in one slice.

    Attributes:
        times: (token rows, token columns), multiples of even attention; 0 where nothing judged
            could look.
        reached: bool, like it: where something judged could look.
        seen: part of the mass off the judged token itself that lies on tokens that tell something;
            for the causal transformer, on the start token, which tells the height alone.
        seen_even: the same of even attention.
    """

    times: NDArray[np.float64]
    reached: NDArray[np.bool_]
    seen: float
    seen_even: float


def masked(
    transformer: TokenTransformer,
    tokens: Tensor,
    height: int,
    judged: NDArray[np.bool_],
    mask_rate: float,
) -> Looked:
    """Return where the masked transformer looked.

    Args:
        transformer: stage 2, in evaluation mode.
        tokens: int64, (token rows, token columns, 2).
        height: the slice's level.
        judged: bool, (token rows, token columns): the tokens asked about; at least one.
        mask_rate: as in scoring.
    """
    rows, columns = tokens.shape[:2]
    sets = visible_sets((rows, columns), mask_rate)
    passes = int(sets.max()) + 1
    hidden = torch.stack([sets != number for number in range(passes)])
    shown = torch.full((passes, rows, columns, tokens.shape[-1]), transformer.codes)
    shown[..., COARSE] = tokens[..., COARSE].masked_fill(hidden, transformer.codes)
    heights = torch.full((passes,), height)
    blocks = list(transformer.blocks)
    with torch.inference_mode(), watched(blocks, of_mix, causal=False) as seen:
        transformer.hidden(shown, torch.full_like(heights, COARSE), heights)
    found = rollout(seen)  # (passes, tokens, tokens)
    usual = even(rows * columns, len(blocks), causal=False)
    asked = torch.from_numpy(judged).flatten()
    mass, expected = torch.zeros(rows * columns).double(), torch.zeros(rows * columns).double()
    told: list[tuple[float, float]] = []
    for number in range(passes):
        out = hidden[number].flatten()
        judging = asked & out
        if not bool(judging.any()):
            continue
        some, same = found[number][judging], usual[judging]
        mass += (some * ~out).sum(0)
        expected += (same * ~out).sum(0)
        own = found[number].diagonal()[judging].sum()
        own_even = usual.diagonal()[judging].sum()
        told.append(
            (
                float(some[:, ~out].sum() / (some.sum() - own)),
                float(same[:, ~out].sum() / (same.sum() - own_even)),
            )
        )
    return _looked(mass, expected, (rows, columns), told)


def causal(
    prior: Prior,
    tokens: Tensor,
    height: int,
    judged: NDArray[np.bool_],
    orderings: Sequence[str],
) -> Looked:
    """Return where the causal transformer looked, over its orderings.

    Args:
        prior: in evaluation mode, on the processor.
        tokens: int64, (tokens,), in raster order.
        height: the slice's level.
        judged: bool, (token rows, token columns): the tokens asked about; at least one.
        orderings: of the tokens.
    """
    rows, columns = judged.shape
    blocks = [block.attn for block in prior.inner.blocks]
    usual = even(rows * columns, len(blocks), causal=True)
    asked = torch.from_numpy(judged).flatten()
    mass, expected = torch.zeros(rows * columns).double(), torch.zeros(rows * columns).double()
    told: list[tuple[float, float]] = []
    for name in orderings:
        places = order(name, rows, columns)
        with torch.inference_mode(), watched(blocks, of_sablock, causal=True) as seen:
            prior(tokens[None], torch.tensor([height]), places[None])
        # Row i foresees the token at places[i]; column j > 0 read the one at places[j - 1].
        judging = asked[places]
        some, same = rollout(seen)[0][judging], usual[judging]
        mass[places[:-1]] += some[:, 1:].sum(0)
        expected[places[:-1]] += same[:, 1:].sum(0)
        told.append((float(some[:, 0].mean()), float(same[:, 0].mean())))
    return _looked(mass, expected, (rows, columns), told)


def masked_layers(transformer: TokenTransformer) -> tuple[str, ...]:
    """Return the names of the masked transformer's layers, last first."""
    blocks = [f"blocks.{n}" for n in reversed(range(len(transformer.blocks)))]
    return ("heads", "norm", *blocks, "heights", "tasks", "inputs")


def causal_layers(prior: Prior) -> tuple[str, ...]:
    """Return the names of the causal transformer's layers, last first."""
    blocks = [f"inner.blocks.{n}" for n in reversed(range(len(prior.inner.blocks)))]
    embeddings = ("next_place", "inner.position_embeddings", "inner.token_embeddings")
    return ("inner.to_logits", *blocks, *embeddings)


def _looked(
    mass: Tensor, expected: Tensor, grid: tuple[int, int], told: Sequence[tuple[float, float]]
) -> Looked:
    times = torch.where(expected > 0, mass / expected.clamp_min(1e-12), 0.0)
    seen, seen_even = (float(np.mean(part)) for part in zip(*told, strict=True))
    return Looked(times.view(grid).numpy(), (expected > 0).view(grid).numpy(), seen, seen_even)
