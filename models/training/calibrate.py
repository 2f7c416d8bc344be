"""Calibration by cross-fitting: what the reference's own scans score in models that never saw them.

The subjects are dealt into folds; each fold is judged by a model fitted on the others. The scores
are those of slightly smaller models and are used for the model of all, as the jackknife does
(Barber et al., Predictive inference with the jackknife+, Ann Stat 2021): close to, but not quite,
split conformal's guarantee. With one fold a part of the subjects is held out for good and the
model is fitted on the rest alone: split conformal as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from models.assessor import standardised_map
from models.calibration import Surprise
from models.detector import Method
from models.errors import ModelError
from models.grid import stretched
from models.prepare import GridConfig
from models.scoring import Example, restricted
from models.training.loop import Run

REGIONS_IN_AT_MOST = 0.1
"""About this part of the normal subjects may show a region above the map's threshold."""
LEVEL_SPAN_MM = 130.0
"""Height of an adult brain, over which the levels are spread."""
HELD_OUT = 0.3
"""Part of the subjects held out for calibration when there is one fold."""
_THRESHOLDS = np.arange(1.0, 8.0, 0.1)
_MAP_CELL = 4


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """A reference scan as a model judged it that had not seen its subject."""

    subject: str
    scores: dict[str, float]
    map: NDArray[np.float32]
    inside: NDArray[np.bool_]


def subjects(examples: Iterable[Example]) -> list[str]:
    """Return the subjects, sorted, each once."""
    return sorted({example.subject for example in examples})


def folds_of(names: Sequence[str], folds: int, seed: int) -> list[list[str]]:
    """Return the subjects to hold out, fold by fold.

    Args:
        names: the subjects.
        folds: 2 or more to hold out every subject once; 1 to hold out `HELD_OUT` of them, once.
        seed: of the dealing.
    """
    dealt = cast("list[int]", np.random.default_rng(seed).permutation(len(names)).tolist())
    order = [names[index] for index in dealt]
    if folds == 1:
        return [sorted(order[: max(1, round(HELD_OUT * len(order)))])]
    count = min(folds, len(order))
    return [sorted(order[start::count]) for start in range(count)]


def cross_fit(
    module: Method,
    examples: Sequence[Example],
    config: GridConfig,
    folds: int,
    run: Run,
    synthetic: Sequence[Example] = (),
) -> tuple[list[HeldOut], dict[str, Tensor]]:
    """Return the held-out judgements and the final model's tensors.

    Args:
        module: the detector.
        examples: reference scans of scanners; each is judged once.
        config: the detector's settings.
        folds: of the subjects.
        run: how.
        synthetic: further scans to fit on, in every fold but that of their subject; never judged.

    Raises:
        ModelError: if too few subjects are left to fit on, a score is not finite, or a scan that
            would calibrate is synthetic.
    """
    _refuse_synthetic(examples)
    found: list[HeldOut] = []
    dealt = folds_of(subjects(examples), folds, run.seed)
    tensors: dict[str, Tensor] = {}
    for number, held_out in enumerate(dealt):
        run.progress(f"fold of {len(dealt)}", number, len(dealt))
        kept = [one for one in (*examples, *synthetic) if one.subject not in held_out]
        if not kept:
            raise ModelError("no subject is left to fit on")
        tensors = module.fit(kept, config, _of_fold(run, number, len(dealt)))
        judged = [one for one in examples if one.subject in held_out]
        found += _judged(module, tensors, judged, config, run)
    run.progress(f"fold of {len(dealt)}", len(dealt), len(dealt))
    if folds > 1:
        tensors = module.fit([*examples, *synthetic], config, run)
    return found, tensors


def fit_apart(
    module: Method,
    fitted: Sequence[Example],
    examples: Sequence[Example],
    config: GridConfig,
    run: Run,
) -> tuple[list[HeldOut], dict[str, Tensor]]:
    """Return the judgements of scans by a model of other subjects, and that model's tensors.

    Args:
        module: the detector.
        fitted: what it is fitted on, synthetic or not.
        examples: scans of scanners, each judged once.
        config: the detector's settings.
        run: how.

    Raises:
        ModelError: if a subject is on both sides, a scan that would calibrate is synthetic, or a
            score is not finite.
    """
    _refuse_synthetic(examples)
    if both := sorted(set(subjects(fitted)) & set(subjects(examples))):
        raise ModelError(f"{both[0]} is fitted on, so no scan of that subject calibrates")
    tensors = module.fit(fitted, config, run)
    return _judged(module, tensors, examples, config, run), tensors


def _refuse_synthetic(examples: Sequence[Example]) -> None:
    for one in examples:
        if one.synthetic is not None:
            raise ModelError(
                f"a scan of {one.subject} is synthetic ({one.synthetic}): calibration takes only "
                "scans of scanners"
            )


def _judged(
    module: Method,
    tensors: dict[str, Tensor],
    examples: Sequence[Example],
    config: GridConfig,
    run: Run,
) -> list[HeldOut]:
    scorer = module.scorer(tensors, config, run.device)
    found: list[HeldOut] = []
    for example in examples:
        seen = restricted(example)
        judgement = scorer.judge(seen)
        if not all(np.isfinite(value) for value in judgement.scores.values()):
            raise ModelError("a reference scan has a score that is not a number")
        scores = dict(judgement.scores)
        found.append(HeldOut(example.subject, scores, judgement.map, seen.brain))
    return found


def _of_fold(run: Run, number: int, folds: int) -> Run:
    """Return the run of one fold, with checkpoints of its own when there are several."""
    if run.checkpoints is None or folds == 1:
        return run
    return replace(run, checkpoints=run.checkpoints / f"fold-{number}")


def subject_scores(held_out: Sequence[HeldOut]) -> tuple[list[str], dict[str, list[float]]]:
    """Return the subjects and, for each level, one score a subject: the largest of its scans."""
    names = sorted({one.subject for one in held_out})
    scores: dict[str, list[float]] = {}
    for level in held_out[0].scores:
        scores[level] = [
            round(max(one.scores[level] for one in held_out if one.subject == name), 6)
            for name in names
        ]
    return names, scores


def normal_map(held_out: Sequence[HeldOut]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean and deviation of the maps at each place, on cells of 4 x 4 pixels.

    Places that hardly any scan covers have the overall mean and deviation.
    """
    total, square, count = (np.zeros(1), np.zeros(1), np.zeros(1))
    for one in held_out:
        inside = one.inside.astype(np.float64)
        count = count + _pooled(inside)
        total = total + _pooled(one.map * inside)
        square = square + _pooled(one.map.astype(np.float64) ** 2 * inside)
    everywhere = total.sum() / count.sum()
    spread = float(np.sqrt(max(square.sum() / count.sum() - everywhere**2, 1e-12)))
    prior = 2.0  # as good as two scans that cover the place
    mean = (total + prior * everywhere) / (count + prior)
    moment = (square + prior * (everywhere**2 + spread**2)) / (count + prior)
    deviation = np.sqrt(np.maximum(moment - mean**2, (0.2 * spread) ** 2))
    smooth = [ndimage.gaussian_filter(part, (0.7, 1, 1)) for part in (mean, deviation)]
    return smooth[0].astype(np.float32), smooth[1].astype(np.float32)


def _pooled(array: NDArray[np.float64]) -> NDArray[np.float64]:
    levels, rows, columns = array.shape
    cells = array.reshape(levels, rows // _MAP_CELL, _MAP_CELL, columns // _MAP_CELL, _MAP_CELL)
    return cells.mean(axis=(2, 4))


def surprises(held_out: Sequence[HeldOut]) -> Surprise:
    """Return the scale of the maps, every subject weighing the same."""
    by_subject: dict[str, list[NDArray[np.float32]]] = {}
    for one in held_out:
        by_subject.setdefault(one.subject, []).append(one.map[one.inside])
    return Surprise.fit([np.concatenate(own) for own in by_subject.values()])


def placed(
    held_out: Sequence[HeldOut], normal: tuple[NDArray[np.float32], NDArray[np.float32]] | None
) -> list[HeldOut]:
    """Return the judgements with their maps standardised by place."""
    return [replace(one, map=standardised_map(one.map, one.inside, normal)) for one in held_out]


def map_threshold(
    members: Sequence[tuple[GridConfig, float, Surprise, Sequence[HeldOut]]],
) -> float:
    """Return the lowest threshold above which regions are rare in normal subjects.

    Args:
        members: grid, map weight, scale and held-out judgements of each member, the judgements of
            all members in the same order of scans.
    """
    weighted = [member for member in members if member[1] > 0]
    total = sum(weight for _, weight, _, _ in weighted)
    grid = weighted[0][0]
    voxel_ml = grid.pixel_mm**2 * LEVEL_SPAN_MM / grid.levels / 1000.0
    largest: dict[str, NDArray[np.float64]] = {}
    for index, first in enumerate(weighted[0][3]):
        decades = np.zeros(first.map.shape, dtype=np.float32)
        for _, weight, surprise, held_out in weighted:
            one = held_out[index]
            own = np.where(one.inside, surprise(one.map), 0.0).astype(np.float32)
            decades += np.float32(weight / total) * stretched(own, first.map.shape)
        sizes = np.array([_largest(decades > threshold) for threshold in _THRESHOLDS]) * voxel_ml
        largest[first.subject] = np.maximum(largest.get(first.subject, 0.0), sizes)
    shown = np.stack(list(largest.values())) >= grid.smallest_region_ml
    allowed = max(1, round(REGIONS_IN_AT_MOST * len(shown)))
    rare = np.flatnonzero(shown.sum(axis=0) <= allowed)
    return round(float(_THRESHOLDS[rare[0]] if rare.size else _THRESHOLDS[-1]), 2)


def _largest(above: NDArray[np.bool_]) -> int:
    """Return the voxels of the largest component."""
    if not above.any():
        return 0
    labels, _ = cast("tuple[NDArray[np.int32], int]", ndimage.label(above))
    return int(np.bincount(labels.ravel())[1:].max())


def stacked(
    surprise: Surprise, normal: tuple[NDArray[np.float32], NDArray[np.float32]] | None
) -> dict[str, Tensor]:
    """Return what calibration learned of a map as tensors for a bundle."""
    tensors = {
        "surprise_distances": torch.from_numpy(surprise.distances),
        "surprise_decades": torch.from_numpy(surprise.decades),
    }
    if normal is not None:
        tensors["map_mean"] = torch.from_numpy(normal[0])
        tensors["map_deviation"] = torch.from_numpy(normal[1])
    return tensors
