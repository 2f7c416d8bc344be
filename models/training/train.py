"""Training: reference scans in, a calibrated bundle out. Same seed and data, same bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import Tensor

from models import brain_extraction
from models.errors import ModelError, NotAssessable
from models.features import backbone, model
from models.features.backbone import Backbone
from models.features.config import FeaturesConfig
from models.features.detector import NETWORKS, WEIGHTS
from models.features.model import Reference
from models.features.prepare import Prepared, normalised, sampled
from models.registry import SHARED_WEIGHTS
from models.tensors import read_tensors
from models.training import bundle
from models.training.calibrate import Calibrated, calibrate, stacked
from models.training.fit import Described, coresets, fit
from models.training.recipes import RECIPES, Recipe

Progress = Callable[[str, int, int], None]
"""Called with (step, done, total)."""
FEWEST_SUBJECTS = 3


def train(
    detector: str, profile: str, data: Path, out: Path, seed: int, progress: Progress
) -> Path:
    """Fit, calibrate and write a bundle.

    The intensity landmarks are learned once from all subjects; means, covariance, patch scale and
    memory are fitted anew for each subject left out.

    Args:
        detector: ``features``.
        profile: ``mr-brain-t1`` or ``mr-brain-flair``.
        data: folder of the reference sets.
        out: folder in which the bundle's folder is written.
        seed: of the coresets' first patches.
        progress: called with (step, done, total).

    Returns:
        The bundle's folder.

    Raises:
        ModelError: if the detector or profile is not known, or too few scans could be used.
    """
    if detector != "features" or profile not in RECIPES:
        raise ModelError(f"no recipe for detector {detector!r} and profile {profile!r}")
    recipe = RECIPES[profile]
    networks = {name: _shared(name) for name in NETWORKS}
    extractor = brain_extraction.from_weights(networks["brain-extraction"][0])
    network = backbone.from_weights(networks["efficientnet-lite0"][0])
    found = _read(recipe, data, extractor, progress)
    quantiles = np.stack([prepared.quantiles() for _, prepared, _ in found])
    landmarks = (quantiles / quantiles[:, -1:]).mean(axis=0)
    config = replace(recipe.config, landmarks=tuple(round(float(value), 6) for value in landmarks))
    scans = _describe(found, network, config, progress)
    chosen = coresets(scans, config, recipe.memory, seed)
    calibrated = calibrate(
        scans, chosen, config, lambda done, total: progress("calibrate", done, total)
    )
    reference = fit(scans, chosen, config)
    folder = out / profile
    bundle.write(
        folder,
        WEIGHTS,
        _tensors(reference) | stacked(calibrated.surprise),
        recipe.statements
        | {
            "name": profile,
            "version": recipe.version,
            "detector": detector,
            "architecture": "EfficientNet-lite0 to block 8, frozen; Mahalanobis distance of the "
            "mean offset; nearest patches in memory",
            "preprocessing": config.as_dict(),
            "data": recipe.statements["data"]
            | {"subjects": len(calibrated.subjects), "scans": len(scans)},
            "recipe": {
                "command": f"gatekeeper model train {detector} --profile {profile} --seed {seed}",
                "seed": seed,
                "packages": bundle.packages(),
            },
            "calibration": _calibration(calibrated, recipe),
            "metrics": {},
            "shared_weights": {name: networks[name][1] for name in NETWORKS},
        },
    )
    return folder


def _read(
    recipe: Recipe, data: Path, extractor: brain_extraction.BrainNet, progress: Progress
) -> list[tuple[str, Prepared, np.ndarray[tuple[int], np.dtype[np.bool_]]]]:
    """Return (subject, sampled scan, usable levels) of each scan with a normal level."""
    found: list[tuple[str, Prepared, np.ndarray[tuple[int], np.dtype[np.bool_]]]] = []
    for count, scan in enumerate(recipe.read(data, "train")):
        progress("read", count, 0)
        try:
            prepared = sampled(
                scan.volume, recipe.config, extractor, spacing_known=recipe.spacing_known
            )
        except NotAssessable:
            continue
        usable = scan.normal[np.round(prepared.positions[0]).astype(np.intp)]
        if usable.any():
            found.append((scan.subject, prepared, usable))
    if len({subject for subject, _, _ in found}) < FEWEST_SUBJECTS:
        raise ModelError(f"fewer than {FEWEST_SUBJECTS} subjects could be read")
    return found


def _describe(
    found: list[tuple[str, Prepared, np.ndarray[tuple[int], np.dtype[np.bool_]]]],
    network: Backbone,
    config: FeaturesConfig,
    progress: Progress,
) -> list[Described]:
    scans: list[Described] = []
    for subject, prepared, usable in found:
        progress("describe", len(scans), len(found))
        description = model.describe(normalised(prepared, config), network, config, usable)
        scans.append(Described(subject, description))
    return scans


def _shared(name: str) -> tuple[dict[str, Tensor], str]:
    """Return a shared network's weights and their digest."""
    folder = SHARED_WEIGHTS / name
    sha = str(json.loads((folder / "card.json").read_text(encoding="utf-8"))["sha256"])
    return read_tensors(folder / "weights.safetensors", sha), sha


def _tensors(reference: Reference) -> dict[str, Tensor]:
    return {
        "level_mean": reference.level_mean,
        "precision": reference.precision,
        "patch_mean": reference.patch_mean,
        "patch_scale": reference.patch_scale,
        "memory": reference.memory,
    }


def _calibration(calibrated: Calibrated, recipe: Recipe) -> dict[str, object]:
    count = len(calibrated.subjects)
    return {
        "method": "leave one subject out; one score a subject, the largest of its scans; final "
        "model fitted on all (jackknife-style)",
        "subjects": calibrated.subjects,
        "n": count,
        "scores": calibrated.scores,
        "description": f"{count} subjects, each scored by a model fitted without it: "
        f"{recipe.statements['data']['name']}",
        "map_threshold": calibrated.map_threshold,
    }
