"""Autoencoders: what they promise, on small phantoms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy import ndimage
from support.working_grid import ellipse, prepared, reference
from torch import Tensor

from models.detectors.autoencoder import (
    QUESTIONS,
    Autoencoder,
    Config,
    fit,
    objective,
    restored,
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
    channels=(8, 16, 16),
    bottleneck=4,
    latent=8,
    dropout=0.0,
    steps=30,
    batch_size=8,
    learning_rate=3e-3,
    median=(1, 3, 3),
    erosion=1,
)
TRAINED = replace(TINY, steps=150)


def phantom(seed: int) -> Prepared:
    """Return an ellipse with fine texture."""
    return ellipse(seed, texture=0.1, narrow=0.65, noise=0.03)


def examples() -> list[Example]:
    """Return a reference of eight phantoms."""
    return reference([phantom(seed) for seed in range(8)])


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Several threads would cost more than they gain on images this small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def trained() -> dict[str, Tensor]:
    """Return an autoencoder trained for a few seconds."""
    return fit(examples(), TRAINED, Run())


@pytest.mark.parametrize("kind", ["ae", "vae"])
def test_a_stored_autoencoder_judges_as_the_fitted_one(kind: str, tmp_path: Path) -> None:
    """Scores and map are the same after a way through safetensors; one score a question."""
    config = replace(TINY, kind=kind, steps=3)
    fitted = fit(examples(), config, Run())
    save_file(fitted, tmp_path / "tensors.safetensors")

    before = scorer(fitted, config, "cpu").judge(phantom(90))
    after = scorer(load_file(tmp_path / "tensors.safetensors"), config, "cpu").judge(phantom(90))

    assert before.scores == after.scores
    assert before.scores.keys() == QUESTIONS.keys()
    assert np.array_equal(before.map, after.map)
    assert before.map.dtype == np.float32
    assert not before.map[~phantom(90).brain].any()


def test_the_same_seed_gives_the_same_autoencoder() -> None:
    """Weights are equal for equal seeds, and differ for others."""
    config = replace(TINY, kind="vae", steps=3)
    first, again, other = (fit(examples(), config, Run(seed=seed)) for seed in (1, 1, 2))

    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["network.code.weight"], other["network.code.weight"])


class Stopped(Exception):
    """The training was stopped."""


def test_a_resumed_training_gives_the_unbroken_autoencoder(tmp_path: Path) -> None:
    """Stopped after a few steps and started again, the weights are the same."""
    config = replace(TINY, kind="vae", steps=8)

    def stop(_name: str, done: int, _total: int) -> None:
        if done == 4:
            raise Stopped

    run = Run(checkpoints=tmp_path, checkpoint_seconds=0.0)
    with pytest.raises(Stopped):
        fit(examples(), config, replace(run, progress=stop))
    resumed = fit(examples(), config, run)
    unbroken = fit(examples(), config, Run())

    assert all(torch.equal(resumed[key], unbroken[key]) for key in unbroken)


def test_a_foreign_square_is_the_maximum_of_the_map(trained: dict[str, Tensor]) -> None:
    """After a short training, a bright square is where the map is largest, and raises `focal`."""
    clean = phantom(91)
    images = clean.images.copy()
    images[1, 14:19, 20:25] = 1.5

    found = scorer(trained, TRAINED, "cpu")
    judged = found.judge(replace(clean, images=images))
    level, row, column = np.unravel_index(judged.map.argmax(), judged.map.shape)

    assert level == 1
    assert 14 <= row < 19
    assert 20 <= column < 25
    assert judged.scores["focal"] > found.judge(clean).scores["focal"]


def test_both_blur_and_noise_deviate(trained: dict[str, Tensor]) -> None:
    """Blur lowers the reconstruction error and noise raises it; `deviation` rises with both."""
    found = scorer(trained, TRAINED, "cpu")
    clean = [phantom(seed) for seed in range(92, 96)]
    random = np.random.default_rng(0)

    def blur(scan: Prepared) -> Prepared:
        smooth = ndimage.gaussian_filter(scan.images, (0, 1.2, 1.2))
        return replace(scan, images=np.where(scan.brain, smooth, -1).astype(np.float32))

    def disturb(scan: Prepared) -> Prepared:
        noise = random.normal(scale=0.3, size=scan.images.shape)
        return replace(
            scan, images=np.where(scan.brain, scan.images + noise, -1).astype(np.float32)
        )

    blurred, noisy = [blur(scan) for scan in clean], [disturb(scan) for scan in clean]
    score = {
        name: [found.judge(scan).scores for scan in scans]
        for name, scans in (("clean", clean), ("blurred", blurred), ("noisy", noisy))
    }

    usual = max(each["deviation"] for each in score["clean"])
    assert min(each["deviation"] for each in score["blurred"]) > usual
    assert min(each["deviation"] for each in score["noisy"]) > usual
    residual = {
        name: np.mean([each["residual"] for each in scans]) for name, scans in score.items()
    }
    assert residual["blurred"] < residual["clean"] < residual["noisy"]


@pytest.mark.parametrize("kind", ["ae", "vae"])
def test_restoration_lowers_its_objective(kind: str) -> None:
    """Every image ends lower than it started, unchanged outside the brain."""
    config = replace(TINY, kind=kind, restoration_steps=20)
    with seeded(0):
        network = Autoencoder(config).eval()
    scan = phantom(97)
    images = torch.from_numpy(scan.images)[:, None]
    inside = torch.from_numpy(scan.brain)[:, None]

    moved = restored(network, images, inside, 0.5, config)

    with torch.no_grad():
        before = objective(network, images, images, inside, 0.5)
        after = objective(network, moved, images, inside, 0.5)
    assert bool((after < before).all())
    assert torch.equal(moved[~inside], images[~inside])


def test_restoration_leaves_what_is_reproduced_perfectly_alone() -> None:
    """An image that is its own reconstruction does not move."""
    with seeded(0):
        network = Autoencoder(TINY).eval()
    last = network.up[-1]
    assert isinstance(last, torch.nn.Conv2d)
    assert last.bias is not None
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.constant_(last.bias, 0.25)
    image = torch.full((2, 1, 32, 32), 0.25)
    inside = torch.ones_like(image, dtype=torch.bool)

    assert torch.equal(restored(network, image, inside, 1.0, TINY), image)


def test_the_restoration_map_lies_inside_the_brain() -> None:
    """The slow map has the form of the quick one, and its weight is one of the candidates."""
    config = replace(TINY, kind="vae", map="restoration", restoration_steps=3, steps=3)
    fitted = fit(examples(), config, Run())

    judged = scorer(fitted, config, "cpu").judge(phantom(98))

    assert float(fitted["reference.tv_weight"]) in [pytest.approx(w) for w in config.tv_weights]
    assert judged.map.shape == (3, 32, 32)
    assert judged.map.max() > 0
    assert not judged.map[~phantom(98).brain].any()


def test_the_second_loss_trains() -> None:
    """Squares and structural similarity give finite weights."""
    fitted = fit(examples(), replace(TINY, loss="l2_ssim", steps=2), Run())
    assert all(bool(torch.isfinite(value).all()) for value in fitted.values())


def test_wrong_shapes_are_refused() -> None:
    """Tensors, scans and settings that do not fit are a ModelError."""
    config = replace(TINY, steps=1)
    fitted = fit(examples(), config, Run())
    with pytest.raises(ModelError, match="shape"):
        scorer(fitted, replace(config, latent=9), "cpu")
    with pytest.raises(ModelError, match="missing"):
        scorer({k: v for k, v in fitted.items() if k != "reference.mean"}, config, "cpu")
    with pytest.raises(ModelError, match="shape"):
        scorer(fitted | {"reference.log_error": torch.zeros(4)}, config, "cpu")
    with pytest.raises(ModelError, match="grid"):
        small = phantom(99)
        scorer(fitted, config, "cpu").judge(replace(small, images=small.images[:, :16]))
    with pytest.raises(ModelError, match="multiples"):
        fit(examples(), replace(config, rows=36), Run())
    with pytest.raises(ModelError, match="not known"):
        fit(examples(), replace(config, kind="gan"), Run())
    nothing = [replace(example, usable=np.zeros(3, np.bool_)) for example in examples()]
    with pytest.raises(ModelError, match="no slice"):
        fit(nothing, config, Run())


@pytest.mark.parametrize("map", ["residual", "restoration"])
def test_a_map_of_one_sign_shows_a_bright_spot_or_a_dark_one(
    trained: dict[str, Tensor], map: str
) -> None:
    """Sign 1 shows what is brighter than can be drawn, -1 what is darker, and 0 either."""
    whole = phantom(40)
    images = whole.images.copy()
    images[1, 7:12, 14:19] += 0.8
    images[1, 21:26, 14:19] -= 0.8
    spots = {"bright": (1, 9, 16), "dark": (1, 23, 16)}

    shown = {
        sign: scorer(trained, replace(TRAINED, map=map, sign=sign, restoration_steps=20), "cpu")
        .judge(prepared(images, whole.brain))
        .map
        for sign in (-1, 0, 1)
    }

    at = {(sign, name): shown[sign][spot] for sign in shown for name, spot in spots.items()}
    assert at[1, "dark"] == at[-1, "bright"] == 0
    assert at[1, "bright"] == at[0, "bright"] > 0
    assert at[-1, "dark"] == at[0, "dark"] > 0
