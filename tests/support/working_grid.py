"""Phantoms on the working grid, for detectors that are trained within a test."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.grid import canonical
from models.prepare import Prepared
from models.scoring import Example
from models.volume import Volume

LEVELS, SIZE = 3, 32


def prepared(images: NDArray[np.float32], brain: NDArray[np.bool_]) -> Prepared:
    """Return images of a phantom as a scan on the working grid."""
    source = canonical(Volume(images, np.eye(4), "MR", "BRAIN", "T1"))
    positions = tuple(np.arange(size, dtype=np.float64) for size in images.shape)
    return Prepared(images, brain, (positions[0], positions[1], positions[2]), source)


def ellipse(seed: int, *, texture: float, narrow: float, noise: float) -> Prepared:
    """Return an ellipse with a bright rim and a dark centre, a little different for each seed.

    Args:
        seed: of size and noise.
        texture: height of a fine pattern inside.
        narrow: least width over the image's half.
        noise: its standard deviation.
    """
    random = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    radius = np.hypot(y / random.uniform(0.8, 0.9), x / random.uniform(narrow, narrow + 0.1))
    levels = [
        np.where(radius > 0.75, 0.8, 0.2)
        - 0.9 * (radius < 0.25 + 0.05 * level)
        + texture * np.sin(14 * x) * np.sin(14 * y)
        for level in range(LEVELS)
    ]
    brain = np.broadcast_to(radius < 1, (LEVELS, SIZE, SIZE)).copy()
    noisy = np.stack(levels) + random.normal(scale=noise, size=brain.shape)
    return prepared(np.where(brain, noisy, -1).astype(np.float32), brain)


def reference(scans: list[Prepared]) -> list[Example]:
    """Return scans as reference scans, each of its own subject."""
    usable = np.ones(LEVELS, np.bool_)
    return [Example(f"s{number}", "", scan, usable) for number, scan in enumerate(scans)]
