"""A bundle in a second: the intensity floor fitted to a few made-up bodies."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.registry import BundleInfo, read_bundle
from models.scan import Scan
from models.training.bundle import write_manifest
from models.training.recipes import Profile
from models.training.train import Plan, Run, train
from models.volume import Volume

SHAPE = (18, 28, 28)
SPACING = 4.0
PROFILE: dict[str, Any] = {
    "name": "mr-pelvis-t2",
    "version": "1.0.0",
    "settings": {
        "anatomy": "body",
        "levels": 6,
        "rows": 32,
        "columns": 32,
        "pixel_mm": 4.0,
        "resolution_mm": 4.0,
    },
    "profile": {
        "modality": "MR",
        "body_part": "PELVIS",
        "body_part_aliases": ["PROSTATE"],
        "sequence": "T2",
        "sequence_aliases": ["T2W"],
        "body_part_from_content": False,
    },
    "data": {"name": "made-up bodies"},
    "intended_use": "Tests.",
    "not_tested_on": ["people"],
    "weights_licence": "Apache-2.0",
}
"""What a site's own profile file states."""


def body(seed: int, brightness: float = 1.0) -> NDArray[np.float32]:
    """Return an ellipsoid of noise, (slices, rows, columns)."""
    random = np.random.default_rng(seed)
    place = np.meshgrid(*(np.linspace(-1, 1, size) for size in SHAPE), indexing="ij")
    size = 0.8 + 0.05 * random.random()
    inside = (place[1] / size) ** 2 + (place[2] / size) ** 2 + 0.1 * place[0] ** 2 < 1
    values = 100 + 8 * random.standard_normal(SHAPE) + 20 * place[1]
    return np.where(inside, brightness * values, random.random(SHAPE)).astype(np.float32)


def scan(seed: int, *, subject: str = "", device: str = "", protocol: str = "") -> Scan:
    """Return one normal scan of a made-up body."""
    volume = Volume(
        body(seed),
        np.diag([SPACING, SPACING, SPACING, 1.0])[[2, 1, 0, 3]],
        "MR",
        "PELVIS",
        "T2",
        device=device,
        protocol=protocol,
    )
    return Scan(
        f"scan-{seed}",
        subject or f"subject-{seed}",
        volume,
        np.ones(SHAPE[0], np.bool_),
        np.zeros(SHAPE, np.bool_),
    )


def scans(seeds: Iterable[int], **known: str) -> list[Scan]:
    """Return one scan a seed, each of its own subject."""
    return [scan(seed, **known) for seed in seeds]


def small_bundle(
    out: Path, name: str = "", detector: str = "intensity", **statements: Any
) -> BundleInfo:
    """Fit a bundle into the folder `out` and return it; `statements` go into its manifest."""
    stated = {key: PROFILE[key] for key in PROFILE if key not in ("name", "version", "settings")}
    profile = Profile(PROFILE["name"], PROFILE["version"], "", PROFILE["settings"], {}, stated)
    reference = scans(range(4))
    plan = Plan(detector, profile, out, out, folds=2, name=name, scans=lambda: reference)
    folder = train(plan, Run())
    write_manifest(folder, {**read_bundle(folder).manifest, **statements})
    return read_bundle(folder)
