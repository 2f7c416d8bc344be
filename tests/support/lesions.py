"""Lesions made for tests: bright discs in air, small and faint if benign, large if not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.lesion.config import Config
from models.lesion.lesions import Lesion

SMALL = Config(
    size=16,
    base=2,
    latent=4,
    steps=6,
    batch_size=8,
    rounds=1,
    joint_steps=2,
    classifier_steps=20,
    hidden=4,
)
"""A network that trains in a moment."""


def disc(shape: int, radius: float, brightness: float = 40.0) -> NDArray[np.float32]:
    """Return a slice of air, (shape, shape) in HU, with a disc in its middle."""
    rows, columns = np.ogrid[:shape, :shape]
    away = np.hypot(rows - shape // 2, columns - shape // 2)
    return np.where(away <= radius, brightness, -850.0).astype(np.float32)


def made(patients: int, each: int = 2, seed: int = 0, size: int = 16) -> list[Lesion]:
    """Return patches of so many patients, every second malignant: larger and denser."""
    generator = np.random.default_rng(seed)
    found: list[Lesion] = []
    for patient in range(patients):
        malignant = patient % 2 == 1
        for number in range(each):
            radius = generator.uniform(4, 6) if malignant else generator.uniform(1.5, 3)
            image = disc(size, radius, 60.0 if malignant else -100.0)
            mask = image > -800
            noisy = image + generator.normal(0, 20, image.shape).astype(np.float32)
            found.append(
                Lesion(
                    f"patient-{patient:02d}",
                    f"lesion-{patient}-{number}",
                    malignant,
                    noisy[None].astype(np.float32),
                    mask,
                    generator.normal(size=(size, size)).astype(np.float32),
                    tuple(generator.normal(size=5)),
                    float(radius),
                )
            )
    return found
