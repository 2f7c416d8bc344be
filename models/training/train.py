"""Training: reference scans in, a calibrated bundle out. Same seed and data, same bytes."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor

from models import brain_extraction
from models.calibration import Surprise
from models.errors import ModelError, NotAssessable
from models.features import backbone, model
from models.features.config import FeaturesConfig
from models.features.detector import WEIGHTS
from models.features.model import Reference
from models.features.prepare import prepare
from models.registry import MANIFEST, SHARED_WEIGHTS
from models.tensors import read_tensors
from models.training import sources
from models.training.fit import Described, coresets, fit, subjects

Progress = Callable[[str, int, int], None]
SHARED = ("brain-extraction", "efficientnet-lite0")


def train(
    detector: str, profile: str, data: Path, out: Path, seed: int, progress: Progress
) -> Path:
    """Fit, calibrate and write a bundle.

    Args:
        detector: ``features``.
        profile: ``mr-brain-t1``.
        data: folder of the reference sets.
        out: folder in which the bundle's folder is written.
        seed: of the coreset's first patch.
        progress: called with (step, done, total).

    Returns:
        The bundle's folder.

    Raises:
        ModelError: if the detector or profile is not known, or no scan could be used.
    """
    if detector != "features" or profile not in RECIPES:
        raise ModelError(f"no recipe for detector {detector!r} and profile {profile!r}")
    recipe = RECIPES[profile]
    config = recipe.config
    networks = {name: _shared(name) for name in SHARED}
    extractor = brain_extraction.from_weights(networks["brain-extraction"][0])
    network = backbone.from_weights(networks["efficientnet-lite0"][0])
    scans: list[Described] = []
    for scan in sources.oasis(data, "train"):
        progress("describe", len(scans), 0)
        try:
            prepared = prepare(scan.volume, config, extractor)
        except NotAssessable:
            continue
        scans.append(Described(scan.subject, model.describe(prepared, network, config)))
    names = subjects(scans)
    if len(names) < 2:
        raise ModelError("fewer than two subjects could be read")
    chosen = coresets(scans, config, recipe.memory, seed)
    scores: dict[str, list[float]] = {"global": [], "focal": []}
    normal: list[NDArray[np.float32]] = []
    for done, name in enumerate(names):
        progress("calibrate", done, len(names))
        reference = fit([scan for scan in scans if scan.subject != name], chosen, config)
        own = [scan.description for scan in scans if scan.subject == name]
        focal = [model.focal_distances(description, reference, config) for description in own]
        scores["global"].append(
            max(model.global_score(model.global_distances(d, reference)) for d in own)
        )
        scores["focal"].append(max(model.focal_score(d, config) for d in focal))
        normal.append(torch.cat(focal).numpy())
    surprise = Surprise.fit(normal)
    tensors = _tensors(fit(scans, chosen, config), surprise)
    content = save(tensors)
    manifest = recipe.manifest(scans) | {
        "name": profile,
        "version": recipe.version,
        "detector": detector,
        "preprocessing": config.as_dict(),
        "recipe": {
            "command": f"gatekeeper model train --detector {detector} --profile {profile} --seed {seed}",
            "seed": seed,
            "packages": {
                name: metadata.version(name)
                for name in ("numpy", "scikit-learn", "scipy", "torch")
            }
            | {"python": platform.python_version()},
        },
        "calibration": {
            "method": "leave one subject out",
            "subjects": names,
            "n": len(names),
            "scores": {name: [round(v, 6) for v in values] for name, values in scores.items()},
            "description": f"{len(names)} healthy adults of OASIS-1, leave-one-subject-out",
            "map_threshold": 3.0,
        },
        "weights": {WEIGHTS: hashlib.sha256(content).hexdigest()},
        "shared_weights": {name: networks[name][1] for name in SHARED},
    }
    folder = out / profile
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS).write_bytes(content)
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    return folder


def _shared(name: str) -> tuple[dict[str, Tensor], str]:
    folder = SHARED_WEIGHTS / name
    sha = str(json.loads((folder / "card.json").read_text())["sha256"])
    return read_tensors(folder / "weights.safetensors", sha), sha


def _tensors(reference: Reference, surprise: Surprise) -> dict[str, Tensor]:
    return {
        "level_mean": reference.level_mean.contiguous(),
        "precision": reference.precision.contiguous(),
        "patch_mean": reference.patch_mean.contiguous(),
        "patch_scale": reference.patch_scale.contiguous(),
        "memory": reference.memory.contiguous(),
        "surprise_distances": torch.from_numpy(surprise.distances),
        "surprise_decades": torch.from_numpy(surprise.decades),
    }


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a profile is trained with and for."""

    version: str
    config: FeaturesConfig
    memory: int
    profile: dict[str, Any]

    def manifest(self, scans: list[Described]) -> dict[str, Any]:
        """Return the parts of the manifest that the recipe states."""
        return {"profile": self.profile, "data": {"scans": len(scans)}}


RECIPES = {
    "mr-brain-t1": Recipe(
        "0.1.0",
        FeaturesConfig(),
        9500,
        {
            "modality": "MR",
            "body_part": "BRAIN",
            "body_part_aliases": ["HEAD", "SKULL", "NEURO"],
            "sequence": "T1",
            "sequence_aliases": ["T1W", "MPRAGE"],
            "body_part_from_content": True,
        },
    )
}
