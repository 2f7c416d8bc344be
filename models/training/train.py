"""Training: reference scans in, a calibrated bundle out. Same seed and data, same bytes."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import brain_extraction, shared_weights, synthetic_share
from models.assessor import level_name
from models.brain_extraction import BrainNet
from models.calibration import Surprise
from models.detector import Method, method
from models.errors import ModelError, NotAssessable
from models.grid import Canonical
from models.prepare import GridConfig, Prepared, located, normalised, resampled
from models.scan import Scan, Synthetic
from models.scoring import Example
from models.sources import open_source
from models.stated import like
from models.synthesis.completion import share, sheet_of
from models.training import bundle
from models.training.calibrate import (
    HeldOut,
    cross_fit,
    fit_apart,
    map_threshold,
    normal_map,
    placed,
    stacked,
    subject_scores,
    surprises,
)
from models.training.loop import Progress, Run, is_first_process, join_processes
from models.training.recipes import DEFAULT, MEMBERS, MemberRecipe, Profile

FEWEST_SUBJECTS = 3


@dataclass(frozen=True, slots=True)
class Plan:
    """What is trained on what.

    Attributes:
        detector: a detector, or a set of members of `recipes.MEMBERS`.
        profile: whose bundle it is, with everything it must say of itself.
        data: folder of the reference set, or one that contains it.
        out: folder in which the bundle's folder is written.
        folds: of cross-fitting; 1 holds subjects out for good; 0 takes the detector's own number.
        name: of the bundle; empty for the profile's name, and the detector's unless that is the
            default.
        split: of the reference set.
        form: of the reference set; None to recognise it.
        scans: yields the reference scans, where `data` is not of a form in `models.sources`.
        settings: of the detector, in place of its own; of one member where the name starts with
            that member's and a dot.
        completed: folder of synthetic scans that `models.synthesis.completion` wrote: fitted on,
            never calibrated on.
        completed_alone: whether those alone are fitted on; all scans of `data` then calibrate.
    """

    detector: str
    profile: Profile
    data: Path
    out: Path
    folds: int = 0
    name: str = ""
    split: str = "train"
    form: str | None = None
    scans: Callable[[], Iterable[Scan]] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    completed: Path | None = None
    completed_alone: bool = False

    @property
    def bundle_name(self) -> str:
        """The name of the bundle and of its folder."""
        usual = self.profile.name if self.is_default else f"{self.profile.name}-{self.detector}"
        return self.name or usual

    @property
    def is_default(self) -> bool:
        """Whether the bundle answers for its profile where a site has chosen no other."""
        return self.detector == DEFAULT


@dataclass(frozen=True, slots=True, eq=False)
class _Raw:
    """A reference scan on the grid of each member, intensities as they are."""

    subject: str
    site: str
    normal: NDArray[np.bool_]
    grids: list[Prepared]
    synthetic: Synthetic | None


@dataclass(frozen=True, slots=True, eq=False)
class _Fitted:
    recipe: MemberRecipe
    module: Method
    config: GridConfig
    held_out: list[HeldOut]
    surprise: Surprise
    file: dict[str, Any]


def train(plan: Plan, run: Run) -> Path:
    """Fit, calibrate and write a bundle; return its folder.

    The intensity landmarks are learned once from all subjects; everything else is fitted anew for
    each fold.

    Raises:
        ModelError: if the detector is not known, too few scans could be used, or training failed.
    """
    join_processes(run.device)
    if plan.detector not in MEMBERS:
        raise ModelError(
            f"no recipe for detector {plan.detector!r}; there are: {', '.join(MEMBERS)}"
        )
    recipes = MEMBERS[plan.detector]
    modules = [method(recipe.detector) for recipe in recipes]
    grids = _configs(plan, recipes, modules)
    raw: list[_Raw] = []
    extractor = brain_extraction.from_weights(shared_weights.read(shared_weights.BRAIN_EXTRACTION))
    for seen, scan in enumerate(_scans(plan)):
        run.progress("read scans", seen, 0)
        if (found := _on_grids(scan, grids, extractor)) is not None:
            raw.append(_Raw(scan.subject, scan.site, scan.normal, found, scan.synthetic))
    names = sorted({one.subject for one in raw if one.synthetic is None})
    if len(names) < FEWEST_SUBJECTS:
        raise ModelError(f"{len(names)} subjects could be read; at least {FEWEST_SUBJECTS} needed")
    fitted = [
        _fit(plan, recipe, module, grid, raw, i, run)
        for i, (recipe, module, grid) in enumerate(zip(recipes, modules, grids, strict=True))
    ]
    folder = plan.out / plan.bundle_name
    if is_first_process():
        _write(plan, folder, fitted, names, raw, run)
    return folder


def _configs(
    plan: Plan, recipes: Sequence[MemberRecipe], modules: Sequence[Method]
) -> list[GridConfig]:
    """Return each member's settings: its own, the recipe's, the profile's, then the plan's.

    Raises:
        ModelError: if a setting is of no member, or has a value of another kind.
    """
    configs: list[GridConfig] = []
    used: set[str] = set()
    for recipe, module in zip(recipes, modules, strict=True):
        config = module.Config(**(recipe.settings | plan.profile.settings_for(recipe.detector)))
        for one in fields(config):
            for key in (one.name, f"{recipe.name}.{one.name}"):
                if key not in plan.settings:
                    continue
                used.add(key)
                value = like(getattr(config, one.name), one.name, plan.settings[key])
                config = replace(config, **{one.name: value})
        configs.append(config)
    if unknown := sorted(set(plan.settings) - used):
        names = sorted({one.name for config in configs for one in fields(config)})
        raise ModelError(
            f"detector {plan.detector} has no setting {unknown[0]!r}; there are: {', '.join(names)}"
        )
    return configs


def _scans(plan: Plan) -> Iterator[Scan]:
    """Yield the reference scans, then the completed ones."""
    if plan.completed_alone and plan.completed is None:
        raise ModelError("there is nothing to fit on alone: name a folder of completed scans")
    for scan in _real(plan):
        scan.refuse_synthetic("calibration: name the folder of completed scans as such")
        yield scan
    if plan.completed is None:
        return
    mark = sheet_of(plan.completed)
    wanted = str(plan.profile.statements["profile"]["sequence"])
    for scan in open_source(plan.completed, "nifti").read(plan.completed, "all"):
        if scan.synthetic is None or scan.synthetic.digest != mark.digest:
            raise ModelError(f"{plan.completed}: {scan.name} is not drawn by {mark.model}")
        if wanted and scan.volume.sequence != wanted:
            raise ModelError(f"{plan.completed}: {scan.name} is no {wanted}")
        yield scan


def _real(plan: Plan) -> Iterable[Scan]:
    if plan.scans is not None:
        return plan.scans()
    inside = plan.data / plan.profile.folder
    folder = inside if plan.profile.folder and inside.is_dir() else plan.data
    return open_source(folder, plan.form).read(folder, plan.split)


def _on_grids(
    scan: Scan, grids: Sequence[GridConfig], extractor: BrainNet
) -> list[Prepared] | None:
    """Return the scan on each grid, its source let go; None where it cannot be judged."""
    try:
        found = located(scan.volume, grids[0].anatomy, extractor)
        prepared = [resampled(found, grid) for grid in grids]
    except NotAssessable:
        return None
    return [replace(one, source=_without_voxels(one.source)) for one in prepared]


def _without_voxels(source: Canonical) -> Canonical:
    """Return a source of the same shape and place that takes no memory."""
    return replace(source, array=np.broadcast_to(np.float32(0), source.array.shape))


def _fit(
    plan: Plan,
    recipe: MemberRecipe,
    module: Method,
    grid: GridConfig,
    raw: Sequence[_Raw],
    index: int,
    run: Run,
) -> _Fitted:
    fitted_on = [one for one in raw if one.synthetic is not None or not plan.completed_alone]
    quantiles = np.stack([one.grids[index].quantiles() for one in fitted_on])
    landmarks = (quantiles / quantiles[:, -1:]).mean(axis=0)
    config = replace(grid, landmarks=tuple(round(float(value), 6) for value in landmarks))
    examples: list[Example] = []
    for one in raw:
        prepared = one.grids[index]
        usable = one.normal[np.round(prepared.positions[0]).astype(np.intp)]
        if usable.any():
            seen = normalised(prepared, config)
            examples.append(Example(one.subject, one.site, seen, usable, one.synthetic))
    inner = run
    if run.checkpoints is not None:
        inner = replace(run, checkpoints=run.checkpoints / recipe.name)
    real = [one for one in examples if one.synthetic is None]
    synthetic = [one for one in examples if one.synthetic is not None]
    if plan.completed_alone:
        held_out, tensors = fit_apart(module, synthetic, real, config, inner)
    else:
        folds = plan.folds or recipe.folds
        held_out, tensors = cross_fit(module, real, config, folds, inner, synthetic)
    normal = normal_map(held_out) if recipe.map_by_place else None
    held_out = placed(held_out, normal)
    surprise = surprises(held_out)
    file = tensors | stacked(surprise, normal)
    return _Fitted(recipe, module, config, held_out, surprise, file)


def _write(
    plan: Plan,
    folder: Path,
    fitted: Sequence[_Fitted],
    names: list[str],
    raw: Sequence[_Raw],
    run: Run,
) -> None:
    profile = plan.profile
    drawn = [one.subject for one in raw if one.synthetic is not None]
    real = [one.subject for one in raw if one.synthetic is None]
    synthetic: dict[str, Any] = {}
    if plan.completed is not None:
        fitted_on = [] if plan.completed_alone else real
        synthetic = share(plan.completed, profile.statements, drawn, fitted_on)
    scores: dict[str, list[float]] = {}
    calibrated: list[str] = []
    for one in fitted:
        calibrated, own = subject_scores(one.held_out)
        for level, values in own.items():
            scores[level_name(one.recipe.name, level, len(fitted))] = values
    deciding = [
        level_name(one.recipe.name, level, len(fitted))
        for one in fitted
        for level in (one.recipe.deciding or tuple(one.module.QUESTIONS))
    ]
    threshold = map_threshold(
        [(one.config, one.recipe.map_weight, one.surprise, one.held_out) for one in fitted]
    )
    folds = plan.folds or fitted[0].recipe.folds
    shared = {name for one in fitted for name in one.module.LICENSED_WEIGHTS}
    bundle.write(
        folder,
        {f"{one.recipe.name}.safetensors": one.file for one in fitted},
        profile.statements
        | {
            "name": plan.bundle_name,
            "version": profile.version,
            "detector": plan.detector,
            "default": plan.is_default,
            "architecture": "; ".join(one.module.ARCHITECTURE for one in fitted),
            "members": [
                {
                    "name": one.recipe.name,
                    "detector": one.recipe.detector,
                    "map_weight": one.recipe.map_weight,
                    "settings": one.config.as_dict(),
                }
                for one in fitted
            ],
            "deciding": deciding,
            "data": profile.statements["data"]
            | {"subjects": len(names), "scans": len(real), "split": plan.split},
            "recipe": {
                "command": _command(plan, folds, run),
                "seed": run.seed,
                "folds": folds,
                "steps_scale": run.steps_scale,
                "subjects": sorted({*names, *drawn}),
                "packages": bundle.packages(),
            },
            "calibration": {
                "method": _APART if plan.completed_alone else _METHODS[min(folds, 2)],
                "subjects": calibrated,
                "n": len(calibrated),
                "scores": scores,
                "description": f"{len(calibrated)} subjects, each scored by a model fitted without "
                f"it: {profile.statements['data']['name']}{synthetic_share.told(synthetic)}",
                "map_threshold": threshold,
            },
            "site_calibrations": [],
            "tolerated_defects": sorted(profile.statements.get("tolerated_defects", [])),
            "metrics": {},
            "shared_weights": {
                name: shared_weights.digest(name)
                for name in sorted(shared | {shared_weights.BRAIN_EXTRACTION})
            },
        }
        | synthetic,
    )


def _command(plan: Plan, folds: int, run: Run) -> str:
    """Return what to type to train the same again; data and folders are the reader's own."""
    words = ["gatekeeper model train", plan.detector, "--profile", plan.profile.name]
    words += ["--seed", str(run.seed), "--folds", str(folds)]
    words += [f"--set {shlex.quote(f'{k}={json.dumps(v)}')}" for k, v in plan.settings.items()]
    words += ["--completed FOLDER"] if plan.completed is not None else []
    words += ["--completed-alone"] if plan.completed_alone else []
    words += ["--steps-scale", str(run.steps_scale)] if run.steps_scale != 1 else []
    words += ["--device", run.device] if run.device != "cpu" else []
    words += ["--bf16"] if run.bf16 else []
    words += ["--compile"] if run.compiled else []
    return " ".join(words)


_APART = (
    "split conformal: fitted on synthetic scans alone, calibrated on scans of scanners; one score "
    "a subject, the largest of its scans"
)
_METHODS = {
    1: "split conformal: subjects held out for good; one score a subject, the largest of its scans",
    2: "cross-fitted by subject; one score a subject, the largest of its scans; final model fitted "
    "on all (jackknife-style)",
}

__all__ = ["Plan", "Progress", "Run", "train"]
