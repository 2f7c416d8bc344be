"""Roll-out: from which tokens what is known of each token has come, through all layers.

Abnar and Zuidema, Quantifying attention flow in transformers, ACL 2020 (arXiv 2005.00928): each
layer's attention, heads averaged, is mixed half and half with the identity for the residual
connection, its rows made to sum to 1, and the layers multiplied. It follows attention alone: what
values, feed-forward layers and heads do with what was fetched is not in it, and it has no sign.

Under a causal mask an early token can be fetched by all later ones and at every layer, so its mass
grows whatever was learned. `times_even` divides by the roll-out of even attention under the same
mask: 1 is what the place in the order alone gives.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from models.errors import ModelError


def rollout(attentions: Sequence[Tensor]) -> Tensor:
    """Return how much of each token (row) comes from each input token (column), (n, t, t).

    Args:
        attentions: of each layer, first layer first, heads averaged, (n, t, t); rows sum to 1.

    Raises:
        ModelError: if there is no layer.
    """
    if not attentions:
        raise ModelError("a roll-out needs at least one layer of attention")
    own = torch.eye(attentions[0].shape[-1], dtype=torch.float64)
    found = own.expand(attentions[0].shape)
    for attention in attentions:
        mixed = 0.5 * attention.double() + 0.5 * own
        found = mixed / mixed.sum(-1, keepdim=True) @ found
    return found


def even(tokens: int, layers: int, *, causal: bool) -> Tensor:
    """Return the roll-out of attention that looks at everything it may alike, (t, t)."""
    may = torch.ones(tokens, tokens, dtype=torch.float64)
    may = may.tril() if causal else may
    return rollout([(may / may.sum(-1, keepdim=True))[None]] * layers)[0]


def times_even(found: Tensor, layers: int, *, causal: bool) -> Tensor:
    """Return a roll-out, (n, t, t), as multiples of even attention's; 0 where it may not look."""
    usual = even(found.shape[-1], layers, causal=causal)
    return torch.where(usual > 0, found / usual.clamp_min(1e-12), 0.0)
