"""Tokens and their likelihood: what the detector promises, on small phantoms."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.working_grid import ellipse, reference
from torch import Tensor

from models.detectors.vq_autoregressive import (
    ORDERINGS,
    QUESTIONS,
    Config,
    Prior,
    Tokeniser,
    fit,
    order,
    prior_loss,
    scorer,
)
from models.errors import ModelError
from models.prepare import Prepared
from models.scoring import Example
from models.training.loop import Run, seeded

TINY = Config(
    levels=3,
    rows=32,
    columns=32,
    channels=(16, 16),
    codes=16,
    code_size=8,
    width=32,
    depth=2,
    heads=2,
    dropout=0.0,
    tokeniser_steps=2,
    tokeniser_rate=3e-3,
    prior_steps=2,
    prior_rate=3e-3,
    copies=2,
    smoothing=1.5,
    samplings=2,
)
TRAINED = replace(TINY, tokeniser_steps=120, prior_steps=120, copies=4)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Several threads would cost more than they gain on images this small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def phantom(seed: int) -> Prepared:
    """Return an ellipse."""
    return ellipse(seed, texture=0.0, narrow=0.7, noise=0.02)


def examples() -> list[Example]:
    """Return a reference of eight phantoms."""
    return reference([phantom(seed) for seed in range(8)])


@pytest.fixture(scope="module")
def trained() -> dict[str, Tensor]:
    """Return both networks trained for a few seconds."""
    return fit(examples(), TRAINED, Run())


@pytest.fixture(scope="module")
def untrained() -> dict[str, Tensor]:
    """Return networks that have seen next to nothing."""
    return fit(examples(), TINY, Run())


def prior() -> Prior:
    """Return a transformer of random weights."""
    with seeded(0):
        return Prior(TINY).eval()


@pytest.mark.parametrize("way", ["likelihood", "restored", "resampled"])
def test_a_stored_detector_judges_as_the_fitted_one(
    way: str, trained: dict[str, Tensor], tmp_path: Path
) -> None:
    """Scores and map are the same after a way through safetensors; one score a question."""
    # A threshold so high that some tokens are replaced.
    config = replace(TRAINED, map=way, threshold=0.2)
    save_file(trained, tmp_path / "tensors.safetensors")

    before = scorer(trained, config, "cpu").judge(phantom(90))
    after = scorer(load_file(tmp_path / "tensors.safetensors"), config, "cpu").judge(phantom(90))

    assert before.scores == after.scores
    assert before.scores.keys() == QUESTIONS.keys()
    assert np.array_equal(before.map, after.map)
    assert before.map.dtype == np.float32
    assert before.map.any()
    assert not before.map[~phantom(90).brain].any()


def test_the_same_seed_gives_the_same_networks(untrained: dict[str, Tensor]) -> None:
    """Weights are equal for equal seeds, and differ for others."""
    again, other = (fit(examples(), TINY, Run(seed=seed)) for seed in (0, 1))

    assert all(torch.equal(untrained[key], again[key]) for key in again)
    assert not torch.equal(untrained["prior.next_place.weight"], other["prior.next_place.weight"])


class Stopped(Exception):
    """The training was stopped."""


@pytest.mark.parametrize("stage", ["vq-tokeniser", "vq-prior"])
def test_a_resumed_training_gives_the_unbroken_networks(stage: str, tmp_path: Path) -> None:
    """Stopped in either stage and started again, the weights are the same, codebook included."""
    config = replace(TINY, tokeniser_steps=4, prior_steps=4, dropout=0.2)

    def stop(name: str, done: int, _total: int) -> None:
        if name == stage and done == 3:
            raise Stopped

    run = Run(checkpoints=tmp_path, checkpoint_seconds=0.0)
    with pytest.raises(Stopped):
        fit(examples(), config, replace(run, progress=stop))
    resumed = fit(examples(), config, run)
    unbroken = fit(examples(), config, Run())

    assert all(torch.equal(resumed[key], unbroken[key]) for key in unbroken)


@pytest.mark.parametrize("way", ["likelihood", "restored", "resampled"])
def test_a_foreign_square_is_the_maximum_of_the_map(way: str, trained: dict[str, Tensor]) -> None:
    """After a short training, a bright square is where the map is largest, and raises scores."""
    clean = phantom(91)
    images = clean.images.copy()
    images[1, 12:20, 12:20] = 1.5
    found = scorer(trained, replace(TRAINED, map=way), "cpu")

    judged = found.judge(replace(clean, images=images))
    level, row, column = np.unravel_index(judged.map.argmax(), judged.map.shape)

    assert level == 1
    assert 10 <= row < 22
    assert 10 <= column < 22
    usual = found.judge(clean).scores
    assert all(judged.scores[name] > usual[name] for name in usual)


def test_an_untrained_transformer_finds_all_codes_alike_likely() -> None:
    """Its -log p is about the log of the number of codes."""
    tokens = torch.randint(16, (32, 64), generator=torch.Generator().manual_seed(0))
    places = order("raster", 8, 8).expand(32, -1)
    with torch.no_grad():
        loss = prior_loss(prior(), tokens, torch.zeros(32, dtype=torch.long), places)

    assert float(loss) == pytest.approx(math.log(16), rel=0.1)


@pytest.mark.parametrize("name", ORDERINGS)
def test_a_later_token_leaves_earlier_likelihoods(name: str) -> None:
    """In its ordering, a changed token changes what comes after it, and nothing before or at it."""
    network, places = prior(), order(name, 8, 8)
    tokens = torch.randint(16, (1, 64), generator=torch.Generator().manual_seed(1))
    changed = tokens.clone()
    changed[0, places[40]] = (tokens[0, places[40]] + 1) % 16
    level = torch.ones(1, dtype=torch.long)
    with torch.no_grad():
        before = network.log_probabilities(tokens, level, places)[:, places]
        after = network.log_probabilities(changed, level, places)[:, places]

    torch.testing.assert_close(before[:, :41], after[:, :41])
    assert not torch.allclose(before[:, 41:], after[:, 41:])


def test_the_height_of_the_slice_matters_from_the_first_token() -> None:
    """The same tokens at another level have other likelihoods."""
    tokens, places = torch.zeros((2, 64), dtype=torch.long), order("raster", 8, 8)
    with torch.no_grad():
        found = prior().log_probabilities(tokens, torch.tensor([0, 2]), places)
    assert not torch.allclose(found[0, 0], found[1, 0])


def test_every_ordering_visits_every_place_once() -> None:
    """Orderings are permutations, and differ."""
    orders = [order(name, 5, 4) for name in ORDERINGS]
    assert all(sorted(each.tolist()) == list(range(20)) for each in orders)
    assert len({tuple(each.tolist()) for each in orders}) == len(ORDERINGS)
    assert order("transposed", 5, 4)[:3].tolist() == [0, 4, 8]
    with pytest.raises(ModelError, match="not known"):
        order("spiral", 5, 4)


def test_only_tokens_under_the_mask_are_resampled(trained: dict[str, Tensor]) -> None:
    """All others stay; after a short training, a foreign token is drawn anew as another."""
    found = scorer(trained, TRAINED, "cpu")
    with torch.inference_mode():
        tokens = found.tokeniser.tokens(torch.from_numpy(phantom(92).images)[:, None]).clone()
    mask = torch.zeros_like(tokens, dtype=torch.bool)
    mask[0, [0, 9, 63]] = True
    mask[2, 5] = True
    foreign = tokens.clone()
    foreign[0, 0] = tokens[0, 27]
    generator = torch.Generator().manual_seed(0)

    healed = found.resampled(foreign, mask, torch.arange(3), "reversed", generator)

    assert torch.equal(healed[~mask], tokens[~mask])
    assert healed[0, 0] != foreign[0, 0]


def test_codes_that_nothing_chooses_start_anew() -> None:
    """After one step every code lies among the batch's encodings, so more than a few are used."""
    with seeded(0):
        network = Tokeniser(TINY).train()
        network(torch.from_numpy(np.concatenate([phantom(s).images for s in range(4)]))[:, None])
    with torch.no_grad():
        tokens = network.eval().tokens(torch.from_numpy(phantom(5).images)[:, None])
    assert tokens.shape == (3, 64)
    assert len(tokens.unique()) >= 4


def test_wrong_shapes_are_refused(untrained: dict[str, Tensor]) -> None:
    """Tensors, scans and settings that do not fit are a ModelError."""
    with pytest.raises(ModelError, match="shape"):
        scorer(untrained, replace(TINY, codes=17), "cpu")
    with pytest.raises(ModelError, match="missing"):
        some = {k: v for k, v in untrained.items() if k != "prior.next_place.weight"}
        scorer(some, TINY, "cpu")
    with pytest.raises(ModelError, match="grid"):
        small = phantom(99)
        scorer(untrained, TINY, "cpu").judge(replace(small, images=small.images[:, :16]))
    with pytest.raises(ModelError, match="multiples"):
        fit(examples(), replace(TINY, rows=34), Run())
    with pytest.raises(ModelError, match="orderings"):
        fit(examples(), replace(TINY, orderings=("spiral",)), Run())
    with pytest.raises(ModelError, match="map"):
        scorer(untrained, replace(TINY, map="healed"), "cpu")
    nothing = [replace(example, usable=np.zeros(3, np.bool_)) for example in examples()]
    with pytest.raises(ModelError, match="no slice"):
        fit(nothing, TINY, Run())
