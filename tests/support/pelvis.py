"""Small pelvis series that the bundle of `support.small_bundle` judges, normal or degraded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from work.phantoms import encoded, image

from support.small_bundle import SHAPE, SPACING, body, small_bundle

FALSE_HOLD_RATE = "0.25"
"""What four reference subjects allow."""
BUNDLE = "site-pelvis"
SPOT = (9, 15, 11)
"""Slice, row and column of the middle of a spot."""


def judging_bundle(folder: Path) -> Path:
    """Fit the bundle that answers for these series, and return the folder to search it in."""
    small_bundle(folder, BUNDLE, default=True)
    return folder


def pelvis(
    study: str, seed: int = 0, *, degraded: bool = False, spot: bool = False, number: int = 1
) -> list[Dataset]:
    """Return one series of a made-up body; degraded, its brightness is nothing a body has.

    With a spot, a ball in it is brighter than any part of a body: a heatmap shows where.
    """
    values = body(seed)
    if spot:
        place = np.meshgrid(*(np.arange(size) for size in SHAPE), indexing="ij")
        away = sum((axis - middle) ** 2 for axis, middle in zip(place, SPOT, strict=True))
        values = np.where(away <= 25, 20 * values, values)
    if degraded:
        noise = np.random.default_rng(seed).random(SHAPE)
        values = np.where(noise > 0.5, 40 * values, 0.0)
    pixels = np.clip(values * 10, 0, 65535).astype("<u2")
    return [
        image(
            index,
            study=study,
            number=number,
            description="t2_tse",
            position=(0.0, 0.0, SPACING * index),
            shape=(SHAPE[1], SHAPE[2]),
            BodyPartExamined="PELVIS",
            PixelSpacing=[SPACING, SPACING],
            SliceThickness=SPACING,
            PixelData=pixels[index].tobytes(),
        )
        for index in range(SHAPE[0])
    ]


def written(datasets: Sequence[Dataset], folder: Path) -> list[Path]:
    """Write a series as files and return them in order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for dataset in datasets:
        path = folder / f"{dataset.SOPInstanceUID}.dcm"
        path.write_bytes(encoded(dataset))
        paths.append(path)
    return paths
