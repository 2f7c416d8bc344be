"""The floors and the quality measures as detectors: they learn what they say and no more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage
from support.phantoms import body, volume
from torch import Tensor

from models import brain_extraction, shared_weights
from models.detector import method
from models.errors import ModelError
from models.prepare import GridConfig, Prepared, normalised, sampled
from models.scoring import Example, Scorer
from models.training.loop import Run

GRID: dict[str, Any] = {
    "anatomy": "body",
    "levels": 16,
    "rows": 64,
    "columns": 64,
    "pixel_mm": 3.0,
    "resolution_mm": 3.0,
}
FLOORS = ("intensity", "atlas", "quality")
BALL = (slice(6, 10), slice(34, 42), slice(20, 28))


@pytest.fixture(scope="module")
def extractor() -> brain_extraction.BrainNet:
    """Return the extraction network, which bodies do not use."""
    return brain_extraction.from_weights(shared_weights.read(shared_weights.BRAIN_EXTRACTION))


def prepared(
    array: NDArray[np.float32], config: GridConfig, extractor: brain_extraction.BrainNet
) -> Prepared:
    """Return a body as a detector sees it."""
    return normalised(sampled(volume(array), config, extractor), config)


@pytest.fixture(scope="module")
def fitted(extractor: brain_extraction.BrainNet) -> dict[str, tuple[Any, dict[str, Tensor]]]:
    """Return each floor's settings and tensors, fitted to ten bodies."""
    made: dict[str, tuple[Any, dict[str, Tensor]]] = {}
    for name in FLOORS:
        module = method(name)
        config = module.Config(**GRID)
        examples: list[Example] = []
        for seed in range(10):
            seen = prepared(body(seed), config, extractor)
            examples.append(Example(f"s{seed}", "", seen, np.ones(config.levels, np.bool_)))
        made[name] = (config, module.fit(examples, config, Run()))
    return made


def scorer(fitted: Mapping[str, tuple[Any, dict[str, Tensor]]], name: str) -> Scorer:
    """Return a fitted floor."""
    config, tensors = fitted[name]
    return method(name).scorer(tensors, config, "cpu")


@pytest.mark.parametrize("name", FLOORS)
def test_a_floor_answers_every_question_on_its_grid(
    name: str, fitted: Any, extractor: brain_extraction.BrainNet
) -> None:
    """Scores are those of the questions, finite; the map has the grid's shape, 0 outside."""
    config = fitted[name][0]
    seen = prepared(body(50), config, extractor)

    judgement = scorer(fitted, name).judge(seen)

    assert set(judgement.scores) == set(method(name).QUESTIONS)
    assert all(np.isfinite(value) for value in judgement.scores.values())
    assert judgement.map.shape == seen.images.shape
    assert not judgement.map[~seen.brain].any()


@pytest.mark.parametrize("name", ["intensity", "atlas"])
def test_a_bright_ball_is_the_strangest_place(
    name: str, fitted: Any, extractor: brain_extraction.BrainNet
) -> None:
    """The map is largest inside the ball, and the score rises with it."""
    config = fitted[name][0]
    clean = body(51)
    foreign = clean.copy()
    foreign[BALL] = 280.0
    seen, bright = (prepared(array, config, extractor) for array in (clean, foreign))
    bright_only = replace(config, sign=1)
    judge = method(name).scorer(fitted[name][1], bright_only, "cpu").judge

    place = np.unravel_index(int(judge(bright).map.argmax()), bright.images.shape)

    level = "brightness" if name == "intensity" else "place"
    assert judge(bright).scores[level] > 1.3 * judge(seen).scores[level]
    difference = np.abs(bright.images - seen.images)
    assert difference[place] > 0.3 * difference.max()


def test_the_atlas_finds_what_is_ordinary_elsewhere_and_intensity_does_not(
    fitted: Any, extractor: brain_extraction.BrainNet
) -> None:
    """Grey of one tissue in the middle of another is strange only to whoever knows the place."""
    config = fitted["atlas"][0]
    foreign = body(52)
    foreign[4:14, 28:36, 38:46] = 100.0  # the outer tissue's grey, where the inner tissue lies
    seen = prepared(foreign, config, extractor)
    there = prepared(body(52), config, extractor).images - seen.images > 0.3

    alone = replace(config, own=0.0)
    atlas = method("atlas").scorer(fitted["atlas"][1], alone, "cpu").judge(seen).map
    intensity = scorer(fitted, "intensity").judge(seen).map

    inside = seen.brain & ~there
    share = [
        float((image[inside] > np.median(image[there])).mean()) for image in (atlas, intensity)
    ]
    assert share[0] < 0.25
    assert share[0] < 0.5 * share[1]


def blurred(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a body blurred in-plane."""
    return np.asarray(ndimage.gaussian_filter(array, (0, 1.5, 1.5)), np.float32)


def noisy(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a body with noise added."""
    noise = np.random.default_rng(0).standard_normal(array.shape)
    return (array + 25 * noise).astype(np.float32)


@pytest.mark.parametrize("fault", [blurred, noisy])
def test_quality_tells_blur_and_noise_from_clean_bodies(
    fault: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    fitted: Any,
    extractor: brain_extraction.BrainNet,
) -> None:
    """A blurred and a noisy body score higher than every one of eight clean ones."""
    config = fitted["quality"][0]
    judge = scorer(fitted, "quality").judge
    clean = [judge(prepared(body(seed), config, extractor)).scores for seed in range(60, 68)]
    faulty = judge(prepared(fault(body(60)), config, extractor)).scores

    assert faulty["measures"] > 2 * max(scores["measures"] for scores in clean)
    assert faulty["largest"] > max(scores["largest"] for scores in clean)


@pytest.mark.parametrize("name", FLOORS)
def test_tensors_that_do_not_fit_are_refused(name: str, fitted: Any) -> None:
    """A missing tensor and one of another shape are errors of the bundle."""
    config, tensors = fitted[name]
    first = next(iter(tensors))
    short = {**tensors, first: tensors[first][..., :-1]}
    missing = {key: value for key, value in tensors.items() if key != first}

    for wrong in (short, missing):
        with pytest.raises(ModelError):
            method(name).scorer(wrong, config, "cpu")


def test_an_atlas_with_a_negative_deviation_is_refused(fitted: Any) -> None:
    """A scale below zero would turn strange into ordinary."""
    config, tensors = fitted["atlas"]
    wrong = {**tensors, "deviation": -torch.ones_like(tensors["deviation"])}

    with pytest.raises(ModelError, match="negative"):
        method("atlas").scorer(wrong, config, "cpu")


def test_only_one_side_of_the_scale_counts_where_asked(
    fitted: Any, extractor: brain_extraction.BrainNet
) -> None:
    """With sign 1, as on FLAIR, a dark ball is nothing strange."""
    config, tensors = fitted["intensity"]
    dark = body(53)
    dark[BALL] = 0.0
    seen = prepared(dark, config, extractor)
    there = prepared(body(53), config, extractor).images - seen.images > 0.8

    bright_only = method("intensity").scorer(tensors, replace(config, sign=1), "cpu").judge(seen)
    both = method("intensity").scorer(tensors, config, "cpu").judge(seen)

    assert not bright_only.map[there & seen.brain].any()
    assert both.map[there & seen.brain].min() > 0
