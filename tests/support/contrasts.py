"""Made-up bodies in two contrasts, one of which depends on where a voxel lies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from models.scan import Scan
from models.synthesis.config import Config
from models.volume import Volume
from support.small_bundle import SHAPE, SPACING, body

AFFINE = np.diag([SPACING, SPACING, SPACING, 1.0])[[2, 1, 0, 3]]
SMALL = Config(
    inputs=("T1",),
    output="T2",
    anatomy="body",
    rows=32,
    columns=32,
    pixel_mm=4.0,
    slice_mm=4.0,
    base=4,
    depth=2,
    crop=24,
    steps=60,
    batch_size=6,
    learning_rate=1e-2,
)


def both(seed: int, *, lesion: bool = False) -> Scan:
    """Return a body as T2 with its T1: noise in T1, a bright core in T2, and maybe a lesion."""
    first = body(seed)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, size) for size in SHAPE), indexing="ij")
    core = y**2 + x**2 < 0.35**2
    second = np.where(first > 10, np.where(core, 160.0, 80.0), 0.0).astype(np.float32)
    marked = np.zeros(SHAPE, np.bool_)
    if lesion:
        marked = ((y - 0.5) ** 2 + x**2 + z**2 < 0.18**2) & (first > 10)
        second[marked] = 200.0
    volume = Volume(second, AFFINE, "MR", "PELVIS", "T2")
    normal = np.asarray(~marked.any(axis=(1, 2)), np.bool_)
    return Scan(f"scan-{seed}", f"patient-{seed}", volume, normal, marked, companions={"T1": first})


def first_alone(seed: int) -> Scan:
    """Return the T1 of a body without its T2."""
    scan = both(seed)
    volume = replace(scan.volume, array=scan.companions["T1"], sequence="T1")
    return replace(scan, volume=volume, companions={})
