"""Two-stage tokens: trained, kept, resumed, and surprised where a phantom is not itself."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.detectors.two_stage import (
    LICENSED_WEIGHTS,
    QUESTIONS,
    Config,
    fit,
    measured,
    networks,
    scorer,
)
from models.detectors.two_stage_scoring import (
    checkerboard,
    healed,
    surprisal_partition,
    surprisal_published,
    visible_sets,
)
from models.detectors.two_stage_tokenizer import (
    Tokenizer,
    TokenizerTraining,
    structural_distance,
)
from models.detectors.two_stage_transformer import (
    TokenTransformer,
    rotary_angles,
    rotated,
    training_masks,
)
from models.errors import ModelError, NotAssessable
from models.grid import Canonical, canonical
from models.prepare import Prepared
from models.scoring import Example
from models.training.loop import Run
from models.volume import Volume

SIZE = 32
TINY = Config(
    levels=4,
    rows=SIZE,
    columns=SIZE,
    patch=4,
    width=16,
    depth=1,
    heads=2,
    dropout=0.0,
    decoder=(16, 8, 8),
    decoder_blocks=1,
    codes=16,
    tokenizer_steps=6,
    tokenizer_batch=4,
    transformer_width=16,
    transformer_depth=1,
    transformer_heads=2,
    transformer_steps=6,
    transformer_batch=4,
    heal_steps=2,
)
TAUGHT = replace(
    TINY,
    transformer_width=32,
    transformer_depth=2,
    tokenizer_steps=150,
    tokenizer_batch=12,
    tokenizer_rate=3e-3,
    transformer_steps=300,
    transformer_batch=12,
    transformer_rate=4e-3,
    warm_up=10,
    degrees=0.0,
    shift=0.0,
    zoom=0.0,
    gamma=1.0,
)
SQUARE = (slice(20, 28), slice(12, 20))
"""Where a foreign square is planted: in brain, four tokens."""


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Generator[None]:
    """Take one processor: sums then come in the same order every time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def source() -> Canonical:
    """Return a scan of no content, for what judges only the working grid."""
    array = np.zeros((4, SIZE, SIZE), np.float32)
    return canonical(Volume(array, np.diag([1.0, 1.0, 1.0, 1.0]), "MR", "BRAIN", "T1"))


def phantom(seed: int) -> Prepared:
    """Return a head: a rim, striped tissue, and two ventricles that widen with the level."""
    chance = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    images = np.full((4, SIZE, SIZE), -1.0, np.float32)
    brain = np.zeros((4, SIZE, SIZE), np.bool_)
    size = 14.0 + chance.uniform(-0.2, 0.2)
    for level in range(4):
        radius = np.hypot(y / 1.05, x)
        inside = radius < size
        tissue = 0.25 + 0.25 * np.sign(np.sin(2 * np.pi * y / 8))
        tissue = np.where(radius > size - 3, -0.2, tissue)
        wide = 1.0 + level + chance.uniform(-0.1, 0.1)
        tissue[np.hypot((np.abs(x) - 5) / wide, y / 5) < 1] = -0.8
        tissue = tissue + chance.normal(0, 0.02, tissue.shape)
        images[level] = np.where(inside, tissue, -1.0)
        brain[level] = inside
    return prepared(images, brain)


def prepared(images: NDArray[np.float32], brain: NDArray[np.bool_]) -> Prepared:
    """Return images as a normalised scan."""
    positions = (np.arange(4.0), np.arange(float(SIZE)), np.arange(float(SIZE)))
    return Prepared(images, brain, positions, source())


def spoiled(whole: Prepared) -> Prepared:
    """Return the scan with a square in one slice that is as dark as the ventricles."""
    images = whole.images.copy()
    images[2][SQUARE] = -0.8
    return prepared(images, whole.brain)


def examples(count: int) -> list[Example]:
    """Return healthy phantoms, each of its own subject."""
    usable = np.ones(4, np.bool_)
    return [Example(f"s{seed:02d}", "", phantom(seed), usable) for seed in range(count)]


@pytest.fixture(scope="module")
def tiny() -> dict[str, Tensor]:
    """Return what a few steps give."""
    return fit(examples(3), TINY, Run(seed=3))


@pytest.fixture(scope="module")
def taught() -> tuple[Tokenizer, TokenTransformer]:
    """Return both stages after a short training on healthy phantoms."""
    return networks(fit(examples(12), TAUGHT, Run(seed=1)), TAUGHT, "cpu")


def tokens_of(tokenizer: Tokenizer, scan: Prepared) -> Tensor:
    """Return a scan's tokens."""
    with torch.inference_mode():
        return tokenizer.tokens(tokenizer.features(torch.from_numpy(scan.images)[:, None])).clone()


def untrained() -> TokenTransformer:
    """Return a transformer that knows nothing."""
    torch.manual_seed(0)
    return TokenTransformer((8, 8), 4, 16, 16, 1, 2, 0.0, 25_000.0).eval()


def test_kept_weights_give_the_same_judgement(tiny: dict[str, Tensor], tmp_path: Path) -> None:
    """A detector read from safetensors judges as the one fitted, and answers each level."""
    save_file(tiny, tmp_path / "weights.safetensors")
    kept = load_file(tmp_path / "weights.safetensors")

    before = scorer(tiny, TINY, "cpu").judge(phantom(7))
    after = scorer(kept, TINY, "cpu").judge(phantom(7))

    assert before.scores == after.scores
    assert set(before.scores) == set(QUESTIONS)
    assert all(math.isfinite(score) for score in before.scores.values())
    np.testing.assert_array_equal(before.map, after.map)
    assert before.map.dtype == np.float32
    assert before.map.shape == (4, SIZE, SIZE)
    assert not before.map[~phantom(7).brain].any()
    assert before.map[phantom(7).brain].min() > 0
    assert LICENSED_WEIGHTS == ()


def test_network_weights_are_kept_in_half_precision(tiny: dict[str, Tensor]) -> None:
    """Both networks are float16; what is usual is float32, as `standardised` needs it."""
    for name, tensor in tiny.items():
        expected = torch.float32 if name.startswith("reference.") else torch.float16
        assert tensor.dtype == expected, name


def test_settings_survive_a_manifest() -> None:
    """Settings written as a dictionary with lists are read back the same."""
    assert Config.from_dict(TINY.as_dict()) == TINY
    assert Config.from_dict(Config.published().as_dict()).decoder == (512, 256, 128, 64)


def test_same_seed_same_weights(tiny: dict[str, Tensor]) -> None:
    """A second fit with the seed gives every tensor again; another seed does not."""
    again = fit(examples(3), TINY, Run(seed=3))
    other = fit(examples(3), TINY, Run(seed=4))

    assert all(torch.equal(again[name], tiny[name]) for name in tiny)
    assert not torch.equal(other["tokenizer.codebooks"], tiny["tokenizer.codebooks"])


@pytest.mark.parametrize("stopped", [("tokenizer", 4), ("transformer", 3)])
def test_a_resumed_run_gives_the_weights_of_an_unbroken_one(
    tiny: dict[str, Tensor], tmp_path: Path, stopped: tuple[str, int]
) -> None:
    """Stopped in either stage and started again, the training ends where it would have."""

    def stop(name: str, done: int, total: int) -> None:
        if (name, done) == stopped:
            raise KeyboardInterrupt

    run = Run(seed=3, checkpoints=tmp_path, checkpoint_seconds=0.0)
    with pytest.raises(KeyboardInterrupt):
        fit(examples(3), TINY, replace(run, progress=stop))
    resumed = fit(examples(3), TINY, run)

    assert all(torch.equal(resumed[name], tiny[name]) for name in tiny)


def test_slices_that_may_not_stand_for_normal_train_nothing(tiny: dict[str, Tensor]) -> None:
    """What a reference scan shows at an unusable level changes no weight."""
    usable = np.array([True, True, False, True])
    clean = [replace(example, usable=usable) for example in examples(3)]
    marked = [replace(one, prepared=spoiled(one.prepared)) for one in clean]

    one, other = fit(clean, TINY, Run(seed=3)), fit(marked, TINY, Run(seed=3))

    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not torch.equal(one["tokenizer.codebooks"], tiny["tokenizer.codebooks"])


@pytest.mark.parametrize("rate", [0.82, 0.75, 0.9])
@pytest.mark.parametrize("grid", [(20, 16), (8, 8)])
def test_a_partition_asks_every_token_equally_often(rate: float, grid: tuple[int, int]) -> None:
    """Each token is in one set; the sets fill the image evenly and mask what was wished."""
    sets = visible_sets(grid, rate)
    count = round(1 / (1 - rate))
    sizes = torch.bincount(sets.flatten(), minlength=count)

    assert sets.shape == grid
    assert len(sizes) == count
    assert int(sizes.min()) > 0
    tokens = grid[0] * grid[1]
    assert sizes.double().div(tokens).sub(1 / count).abs().max() < 0.08
    masked = torch.stack([sets != number for number in range(count)]).sum(0)
    assert bool((masked == count - 1).all())


def test_a_mask_rate_without_a_partition_is_refused() -> None:
    """Hiding nothing, or all, divides no image."""
    with pytest.raises(ModelError, match="partition"):
        visible_sets((8, 8), 0.2)
    with pytest.raises(ModelError, match="partition"):
        visible_sets((8, 8), 1.0)


def test_an_untrained_head_is_as_surprised_as_chance() -> None:
    """With nothing learned, -log p is close to log(codes), by either procedure."""
    transformer = untrained()
    tokens = torch.randint(0, 16, (4, 8, 8, 2), generator=torch.Generator().manual_seed(0))
    heights = torch.arange(4)

    ours = surprisal_partition(transformer, tokens, heights)
    theirs = surprisal_published(transformer, tokens, heights, draws=5)

    assert float(ours.mean()) == pytest.approx(math.log(16), rel=0.05)
    assert float(theirs[theirs > 0].mean()) == pytest.approx(math.log(16), rel=0.05)


def test_both_procedures_find_the_same_tokens_strange(
    taught: tuple[Tokenizer, TokenTransformer],
) -> None:
    """Six passes rank the tokens of a spoiled scan nearly as a hundred random masks do."""
    tokenizer, transformer = taught
    tokens, heights = tokens_of(tokenizer, spoiled(phantom(50))), torch.arange(4)

    ours = surprisal_partition(transformer, tokens, heights).flatten()
    theirs = surprisal_published(transformer, tokens, heights, draws=40).flatten()

    assert torch.corrcoef(torch.stack([ours, theirs]))[0, 1] > 0.9
    assert torch.equal(ours, surprisal_partition(transformer, tokens, heights).flatten())


def test_bfloat16_changes_surprisal_little(taught: tuple[Tokenizer, TokenTransformer]) -> None:
    """Scoring in bfloat16 gives other numbers, by less than a tenth of a nat on average."""
    tokenizer, transformer = taught
    tokens, heights = tokens_of(tokenizer, phantom(54)), torch.arange(4)

    exact = surprisal_partition(transformer, tokens, heights)
    short = surprisal_partition(transformer, tokens, heights, bf16=True)

    assert 0 < float((exact - short).abs().mean()) < 0.1


def test_a_foreign_square_is_more_surprising_than_the_rest(
    taught: tuple[Tokenizer, TokenTransformer],
) -> None:
    """The planted square stands out from the brain and from itself before; chance does not tell."""
    tokenizer, transformer = taught
    whole = phantom(51)
    found = {
        name: measured(scan, tokenizer, network, TAUGHT)
        for name, scan, network in (
            ("clean", whole, transformer),
            ("spoiled", spoiled(whole), transformer),
            ("untrained", spoiled(whole), untrained()),
        )
    }
    covered = found["clean"].covered.clone()
    square = torch.zeros_like(covered)
    square[2, 5:7, 3:5] = True
    inside = {name: float(one.surprisal[square].mean()) for name, one in found.items()}
    rest = {name: float(one.surprisal[covered & ~square].mean()) for name, one in found.items()}

    assert inside["spoiled"] > 1.4 * rest["spoiled"]
    assert inside["spoiled"] > 2 * inside["clean"]
    assert inside["untrained"] < 1.2 * rest["untrained"]


def test_stage_1_draws_a_scan_it_has_not_seen(
    taught: tuple[Tokenizer, TokenTransformer],
) -> None:
    """The reconstruction of a new phantom is far nearer to it than the mean image is."""
    scan = phantom(52)
    images = torch.from_numpy(scan.images)[:, None]
    brain = torch.from_numpy(scan.brain)[:, None]

    with torch.inference_mode():
        drawn = taught[0](images)

    error = (drawn - images).abs()[brain].mean()
    flat = (images[brain].median() - images).abs()[brain].mean()
    assert error < 0.6 * flat


def test_our_quantiser_is_the_one_that_was_trained() -> None:
    """Without the training library, tokens and reconstruction are those of the library."""
    torch.manual_seed(0)
    training = TokenizerTraining(
        networks_untrained(), decay=0.85, orthogonal=0.1, commitment=0.25, dead_code=1.0
    )
    images = torch.from_numpy(phantom(1).images)[:, None]
    training.train()(images)
    training.eval()
    with torch.inference_mode():
        expected, _ = training(images)
        drawn = training.finish()(images)

    assert torch.allclose(drawn, expected, atol=1e-5)
    assert not torch.allclose(drawn, torch.zeros_like(drawn), atol=1e-3)


def networks_untrained() -> Tokenizer:
    """Return a tokenizer before any training."""
    return Tokenizer((8, 8), 4, 16, 1, 2, 0.0, (16, 8, 8), 1, 16)


def test_rotary_positions_are_relative() -> None:
    """Attention scores do not change when all places move together, and do when one moves."""
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn((2, 1, 1, 9, 16), generator=generator)
    places = torch.cartesian_prod(torch.arange(3), torch.arange(3)).float()

    def scores(at: Tensor) -> Tensor:
        angles = rotary_angles(at, 16, 25_000.0)
        return rotated(q, angles) @ rotated(k, angles).transpose(-1, -2)

    moved = places + torch.tensor([5.0, -3.0])
    turned = places[:, [1, 0]]

    assert torch.allclose(scores(places), scores(moved), atol=1e-4)
    assert not torch.allclose(scores(places), scores(turned), atol=1e-2)


def test_healing_keeps_what_it_was_shown(taught: tuple[Tokenizer, TokenTransformer]) -> None:
    """Only masked tokens change, all of them are filled, and a seed fixes what is drawn."""
    tokenizer, transformer = taught
    tokens, heights = tokens_of(tokenizer, phantom(53)), torch.arange(4)
    mask = checkerboard((8, 8), 4)

    def drawn(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return healed(transformer, tokens, heights, mask, temperature=1.5, generator=generator)

    filled = healed(transformer, tokens, heights, mask, steps=(3, 2))

    assert torch.equal(filled[:, ~mask], tokens[:, ~mask])
    assert int(filled.max()) < 16
    assert torch.equal(drawn(0), drawn(0))
    assert not torch.equal(drawn(0), drawn(1))


def test_training_masks_follow_the_published_mixture() -> None:
    """Some masks are blocks, some single tokens; 15 to 75 % is hidden, half on average."""
    masks = training_masks(400, (20, 16), torch.Generator().manual_seed(0))
    part = masks.float().mean((1, 2))
    blocky = [bool((mask[::2, ::2] == mask[1::2, 1::2]).all()) for mask in masks]

    assert 0.45 < float(part.mean()) < 0.55
    assert float(part.min()) >= 0.14
    assert float(part.max()) <= 0.76
    assert 0.4 < np.mean(blocky) < 0.6


def test_structural_distance_sees_brightness_and_detail() -> None:
    """It is 0 of an image to itself and larger the brighter or the more blurred the copy."""
    image = torch.from_numpy(phantom(1).images)[:, None]
    blurred = torch.nn.functional.avg_pool2d(image, 5, 1, 2)

    assert float(structural_distance(image, image).abs().max()) < 1e-5
    assert float(structural_distance(image, image + 0.5).mean()) > 0.01
    assert float(structural_distance(image, blurred).mean()) > 0.05


def test_images_that_cannot_be_judged_are_refused(tiny: dict[str, Tensor]) -> None:
    """A wrong shape or a NaN is the installation's fault; a scan without brain is not judged."""
    detector = scorer(tiny, TINY, "cpu")
    whole = phantom(1)
    broken = whole.images.copy()
    broken[0, 0, 0] = np.nan

    with pytest.raises(ModelError, match="shape"):
        detector.judge(prepared(whole.images[:3], whole.brain[:3]))
    with pytest.raises(ModelError, match="not numbers"):
        detector.judge(prepared(broken, whole.brain))
    with pytest.raises(NotAssessable, match="brain"):
        detector.judge(prepared(whole.images, np.zeros_like(whole.brain)))


def test_weights_that_do_not_fit_are_refused(tiny: dict[str, Tensor]) -> None:
    """A tensor that is missing, of another shape, or not a number is named."""
    name = "transformer.heads.0.weight"
    missing = {key: value for key, value in tiny.items() if key != name}

    with pytest.raises(ModelError, match=f"{name} is missing"):
        scorer(missing, TINY, "cpu")
    with pytest.raises(ModelError, match="has shape"):
        scorer(tiny | {name: tiny[name][:-1]}, TINY, "cpu")
    with pytest.raises(ModelError, match="not finite"):
        scorer(tiny | {name: tiny[name] * torch.nan}, TINY, "cpu")
    with pytest.raises(ModelError, match="has shape"):
        scorer(tiny, replace(TINY, codes=32), "cpu")


def test_settings_that_make_no_network_are_refused(tiny: dict[str, Tensor]) -> None:
    """Images that do not divide into patches, and a decoder that does not lead to the pixel."""
    with pytest.raises(ModelError, match="patches"):
        scorer(tiny, replace(TINY, rows=34), "cpu")
    with pytest.raises(ModelError, match="pixel"):
        scorer(tiny, replace(TINY, decoder=(16, 8)), "cpu")
