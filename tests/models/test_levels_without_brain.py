"""Levels without brain say nothing, in any detector.

Reference scans may have levels that may not stand for normal; in calibration these count as without
brain. A score that took them for something would make new scans, which have all levels, look
either strange or usual by comparison.
"""

from __future__ import annotations

from dataclasses import replace
from math import isfinite
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.detector import DETECTORS, method
from models.grid import Canonical, canonical
from models.prepare import Prepared
from models.quality import quality_metrics
from models.scoring import Example, restricted
from models.training.loop import Run
from models.volume import Volume

LEVELS, SIZE = 16, 64
GRID: dict[str, Any] = {"levels": LEVELS, "rows": SIZE, "columns": SIZE}
SMALL: dict[str, dict[str, Any]] = {
    "features": {"blocks": (2, 4), "global_block": 4, "memory": 400},
    "intensity": {},
    "atlas": {},
    "quality": {},
    "two-stage": {
        "width": 16,
        "depth": 1,
        "heads": 2,
        "decoder": (16, 8, 8, 8),
        "codes": 32,
        "tokenizer_steps": 20,
        "transformer_width": 16,
        "transformer_depth": 1,
        "transformer_heads": 2,
        "transformer_steps": 20,
        "heal_steps": 1,
    },
    "vq-autoregressive": {
        "channels": (8, 16, 16),
        "codes": 16,
        "code_size": 8,
        "tokeniser_steps": 20,
        "width": 16,
        "depth": 1,
        "heads": 2,
        "copies": 1,
        "prior_steps": 20,
        "map": "likelihood",
    },
    "autoencoder": {"channels": (8, 8, 16), "bottleneck": 4, "latent": 8, "steps": 60},
    "siamese": {"steps": 30, "sample": 40, "location": 32},
}
HALF = np.arange(LEVELS) < LEVELS // 2
LARGEST = {"artefacts", "largest"}
"""Scores that are the largest of all levels: of fewer, the largest is smaller."""


def source() -> Canonical:
    """Return a scan of no content, for what judges only the working grid."""
    return canonical(Volume(np.zeros((LEVELS, SIZE, SIZE), np.float32), np.eye(4), "MR"))


def phantom(seed: int) -> Prepared:
    """Return a textured disc with two dark ventricles, alike at every level."""
    chance = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    disc = np.hypot(y / 28, x / 24) < 1
    images = np.full((LEVELS, SIZE, SIZE), -1.0, np.float32)
    for level in range(LEVELS):
        tissue = 0.2 + 0.15 * np.sin(y / 3) * np.sin(x / 3)
        tissue[np.hypot((np.abs(x) - 8) / 4, y / 9) < 1] = -0.6
        images[level] = np.where(disc, tissue + chance.normal(0, 0.05, tissue.shape), -1.0)
    brain = np.broadcast_to(disc, images.shape).copy()
    positions = (np.arange(float(LEVELS)), np.arange(float(SIZE)), np.arange(float(SIZE)))
    return Prepared(images, brain, positions, source(), acquired=images + 1)


def half(scan: Prepared, images: NDArray[np.float32] | None = None) -> Prepared:
    """Return the scan with brain at every second level only."""
    kept = restricted(Example("s", "", scan, HALF))
    return kept if images is None else replace(kept, images=images, acquired=images + 1)


@pytest.mark.parametrize("name", DETECTORS)
def test_half_the_levels_are_scored_as_all_are(name: str) -> None:
    """Scores stay in their range, and do not know what the other levels show."""
    module = method(name)
    config = module.Config(**(GRID | SMALL[name]))
    usable = np.ones(LEVELS, np.bool_)
    examples = [Example(f"s{seed}", "", phantom(seed), usable) for seed in range(8)]
    torch.set_num_threads(1)
    found = module.scorer(module.fit(examples, config, Run(seed=1)), config, "cpu")

    scans = [phantom(seed) for seed in range(20, 24)]
    foreign = [
        np.where(HALF[:, None, None], scan.images, np.float32(0.9)).astype(np.float32)
        for scan in scans
    ]
    whole = [found.judge(scan).scores for scan in scans]
    fewer = [found.judge(half(scan)).scores for scan in scans]
    other = [found.judge(half(scan, own)).scores for scan, own in zip(scans, foreign, strict=True)]

    for level in module.QUESTIONS:
        usual, seen = (np.mean([one[level] for one in scores]) for scores in (whole, fewer))
        # The mean of half as many levels varies more, and so its distance grows, but not beyond.
        assert (0.4 if level in LARGEST else 0.6) * usual - 0.05 < seen < 4 * usual + 0.05, level
        assert [one[level] for one in other] == pytest.approx(
            [one[level] for one in fewer], rel=1e-3, abs=1e-5
        ), level


@pytest.mark.parametrize("kept", [1, 2, 3])
def test_a_scan_of_few_levels_is_measured(kept: int) -> None:
    """Every measure is finite where one level alone may stand for normal."""
    few = np.arange(LEVELS) < kept
    scan = restricted(Example("s", "", phantom(1), few))

    assert all(isfinite(value) for value in quality_metrics(scan).values())
