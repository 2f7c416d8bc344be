"""Roll-out: weights that are the transformers' own, mass that adds up, and order that is kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from models.attribution import looking, sanity
from models.attribution.attention import of_mix, of_sablock, watched, weights
from models.attribution.rollout import even, rollout, times_even
from models.detectors.two_stage_transformer import COARSE, Mix, TokenTransformer, rotary_angles
from models.detectors.vq_networks import Config, Prior
from models.errors import ModelError
from models.training.loop import seeded

GRID = (4, 6)
CODES = 8
CAUSAL = replace(
    Config(), levels=3, rows=32, columns=48, channels=(4, 4, 4), codes=CODES, width=16, depth=2,
    heads=2, dropout=0.0,
)  # fmt: skip


def drawn(*shape: int, seed: int = 0) -> Tensor:
    """Return normal numbers, the same for the same seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def transformer() -> TokenTransformer:
    """Return a masked transformer whose attention is far from even."""
    with seeded(1):
        made = TokenTransformer(GRID, 3, CODES, 16, 2, 2, 0.0, 100.0).eval()
    for block in made.blocks:
        assert isinstance(block, Mix)
        block.qkv.weight.data *= 4
    return made


def prior() -> Prior:
    """Return a causal transformer over the same grid."""
    with seeded(1):
        return Prior(CAUSAL).eval()


def codes(*shape: int) -> Tensor:
    """Return tokens."""
    return torch.randint(0, CODES, shape, generator=torch.Generator().manual_seed(2))


def test_the_masked_transformers_weights_are_its_own() -> None:
    """Weights times values, through the block's own output, are what attention adds there."""
    with seeded(0):
        block = Mix(16, 2, 0.0).eval()
    places = torch.cartesian_prod(torch.arange(4), torch.arange(6)).float()
    x, angles = drawn(2, 24, 16), rotary_angles(places, 8, 100.0)
    block.narrow.weight.data.zero_()  # the block then adds what attention fetched alone
    with torch.inference_mode():
        q, k, v = of_mix(block, (x, angles))
        own = weights(q, k, causal=False)
        added = block.out((own @ v).transpose(1, 2).flatten(2))
        assert torch.allclose(block(x, angles), x + added, atol=1e-5)
    assert torch.allclose(own.sum(-1), torch.ones(2, 2, 24), atol=1e-5)


def test_the_causal_transformers_weights_are_its_own() -> None:
    """The same of MONAI's block, under its causal mask."""
    block = prior().inner.blocks[0].attn
    x = drawn(2, 24, 16)
    with torch.inference_mode():
        q, k, v = of_sablock(block, (x,))
        own = weights(q, k, causal=True)
        fetched = block.out_proj(block.out_rearrange(own @ v))
        assert torch.allclose(block(x), fetched, atol=1e-5)
    assert float(own.triu(1).abs().max()) == 0.0


def test_watching_changes_no_score() -> None:
    """Logits are the same bits while weights are read; no hook is left behind."""
    network, tokens = transformer(), codes(2, *GRID, 2)
    heights = torch.tensor([0, 1])
    with torch.inference_mode():
        before = network.logits(tokens, COARSE, heights)
        with watched(list(network.blocks), of_mix, causal=False) as seen:
            assert torch.equal(network.logits(tokens, COARSE, heights), before)
        network.logits(tokens, COARSE, heights)
    assert [tuple(one.shape) for one in seen] == [(2, 24, 24)] * 2


def test_rows_of_a_roll_out_sum_to_one_and_no_layer_is_lost() -> None:
    """Each token's knowledge comes from somewhere; one layer is half its attention, half itself."""
    layers = [drawn(1, 5, 5, seed=n).softmax(-1) for n in range(3)]
    found = rollout(layers)
    assert torch.allclose(found.sum(-1), torch.ones(1, 5, dtype=torch.float64), atol=1e-6)
    one = rollout(layers[:1])
    assert torch.allclose(one, 0.5 * layers[0].double() + 0.5 * torch.eye(5).double(), atol=1e-6)
    assert torch.allclose(found, rollout(layers[2:]) @ rollout(layers[:2]), atol=1e-6)
    with pytest.raises(ModelError, match="at least one layer"):
        rollout([])


def test_even_attention_is_looked_at_once() -> None:
    """Without learning every place counts 1, with and without order, and early mass is no news."""
    causal = even(6, 3, causal=True)
    assert float(causal.triu(1).abs().max()) == 0.0
    assert float(causal[-1, 0]) > 2 * float(causal[-1, -2])  # the bias that is divided out
    for ordered, usual in ((True, causal), (False, even(6, 3, causal=False))):
        found = times_even(usual[None], 3, causal=ordered)[0]
        assert torch.allclose(found[usual > 0], torch.ones(1, dtype=torch.float64))


def test_nothing_comes_from_what_is_later_in_the_order() -> None:
    """A causal roll-out of a real pass is lower triangular, and so is what is read from it."""
    network, tokens = prior(), codes(24)
    judged = np.zeros(GRID, dtype=np.bool_)
    judged[1, 2] = True  # in raster order, the row of the picture before it and two of its own
    found = looking.causal(network, tokens, 1, judged, ("raster",))
    before = np.arange(24).reshape(GRID) < 8
    assert np.array_equal(found.reached, before)
    assert float(np.abs(found.times[~before]).max()) == 0.0
    assert float(found.times[before].min()) > 0
    assert 0 < found.seen < 1


def test_hidden_tokens_are_no_place_to_look_at() -> None:
    """A judged token's own set is hidden with it; judged tokens of two sets reach everything."""
    network, tokens = transformer(), codes(*GRID, 2)
    judged = np.zeros(GRID, dtype=np.bool_)
    judged[0, 0] = True
    one = looking.masked(network, tokens, 1, judged, 0.75)
    assert not one.reached[0, 0]
    assert one.reached.mean() == pytest.approx(0.75, abs=0.1)
    judged[:2, :3] = True
    assert looking.masked(network, tokens, 1, judged, 0.75).reached.all()


@pytest.mark.parametrize("kind", ["masked", "causal"])
def test_even_attention_shows_nothing(kind: str) -> None:
    """With queries of zero a transformer looks everywhere alike: every place reached counts 1."""
    judged = np.zeros(GRID, dtype=np.bool_)
    judged[1:3, 2:4] = True
    if kind == "masked":
        network = transformer()
        for block in network.blocks:
            assert isinstance(block, Mix)
            block.qkv.weight.data[:16] = 0.0
        found = looking.masked(network, codes(*GRID, 2), 1, judged, 0.75)
    else:
        other = prior()
        for block in other.inner.blocks:
            block.attn.to_q.weight.data.zero_()
        found = looking.causal(other, codes(24), 1, judged, CAUSAL.orderings)
    assert np.allclose(found.times[found.reached], 1.0, atol=1e-5)
    assert found.seen == pytest.approx(found.seen_even, abs=1e-5)


def test_the_roll_out_knows_nothing_of_the_head_and_follows_the_blocks() -> None:
    """Its blind spot is in the report: drawing the head anew changes nothing, the blocks do."""
    network, tokens = transformer(), codes(*GRID, 2)
    judged = np.zeros(GRID, dtype=np.bool_)
    judged[1:3, 2:4] = True
    found = sanity.check(
        lambda n: looking.masked(n, tokens, 1, judged, 0.75).times[None],
        network, looking.masked_layers(network), draws=1,
    )  # fmt: skip
    cascade = {name: float(rank[0]) for name, rank in zip(found.layers, found.ranks, strict=True)}
    assert cascade["heads"] == pytest.approx(1.0)
    assert cascade["norm"] == pytest.approx(1.0)
    assert cascade["inputs"] < 0.95
    assert found.changes_at not in ("heads", "norm")
    layers = looking.causal_layers(prior())
    assert all(prior().get_submodule(name) is not None for name in layers)
