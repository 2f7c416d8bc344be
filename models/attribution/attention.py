"""Attention weights of the transformers, read beside their own forward pass, which is not changed.

The blocks use fused attention, which gives no weights. A hook before each block takes the block's
own input, and the weights are made from it again: softmax(q k' / sqrt(size)) with the block's own
projections. That weights times values is what the block itself adds is what a test holds.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from models.detectors.two_stage_transformer import Mix

Parts = tuple[Tensor, Tensor, Tensor]
"""Queries, keys and values, (n, heads, tokens, size)."""


def weights(queries: Tensor, keys: Tensor, *, causal: bool) -> Tensor:
    """Return attention weights, (n, heads, tokens, tokens); rows sum to 1."""
    score = queries.float() @ keys.float().transpose(-1, -2) / queries.shape[-1] ** 0.5
    if causal:
        may = torch.ones(score.shape[-2:], dtype=torch.bool, device=score.device).tril()
        score = score.masked_fill(~may, float("-inf"))
    return score.softmax(-1)


def of_mix(block: Mix, inputs: Sequence[Tensor]) -> Parts:
    """Return the parts of a block of the masked transformer, from its inputs."""
    return block.parts(inputs[0], inputs[1])


def of_sablock(block: Any, inputs: Sequence[Tensor]) -> Parts:
    """Return the parts of MONAI's `SABlock`, from its input, (n, tokens, width)."""
    x = inputs[0]
    if block.use_combined_linear:
        q, k, v = block.input_rearrange(block.qkv(x))
        return q, k, v
    made = [block.input_rearrange(one(x)) for one in (block.to_q, block.to_k, block.to_v)]
    return made[0], made[1], made[2]


@contextmanager
def watched(
    blocks: Sequence[nn.Module],
    parts: Callable[[Any, Sequence[Tensor]], Parts],
    *,
    causal: bool,
) -> Generator[list[Tensor]]:
    """Give a list to which each pass adds every block's attention, heads averaged, (n, t, t).

    Args:
        blocks: in the order in which they run.
        parts: `of_mix` or `of_sablock`.
        causal: whether a token sees only itself and those before it.
    """
    seen: list[Tensor] = []

    def before(block: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        q, k, _ = parts(block, inputs)
        seen.append(weights(q, k, causal=causal).mean(1).cpu())

    handles = [block.register_forward_pre_hook(cast("Any", before)) for block in blocks]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
