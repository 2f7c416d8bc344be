"""Assess: what a synthesis network draws of slices that it was not trained on, beside floors.

With several subjects each is drawn by a network of the others. With one subject the brain is cut
into slabs of neighbouring slices, and each slab is drawn by a network of the others, less a gap on
either side. Then nothing is known of other people and other scanners, and the figures say so: they
are given slab by slab, without an interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import log10
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from models.errors import ModelError
from models.evaluation.intervals import RESAMPLES
from models.scan import Scan
from models.synthesis import anomalies, floors
from models.synthesis.anomalies import NETWORK, Anomaly, Drawn
from models.synthesis.config import Config
from models.synthesis.pairs import Pair
from models.synthesis.training import drawn, fit, slices_of
from models.training.calibrate import folds_of
from models.training.loop import Run

Part = tuple[NDArray[np.bool_], NDArray[np.bool_]]
"""Of one scan, each bool, (levels,): which levels are drawn, and which are not learned from."""
_RANGE = 2.0
"""Images run from -1 (black) to 1 (the 99th percentile of the brain)."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """How near what was drawn is to what was acquired, in brain away from lesions.

    Attributes:
        error: mean absolute difference; 1 is the 99th percentile of the brain.
        psnr: of that range, decibels.
        ssim: structural similarity (Wang et al. 2004), slice by slice, mean over those voxels.
    """

    error: float
    psnr: float
    ssim: float


@dataclass(frozen=True, slots=True, eq=False)
class Assessment:
    """What was found.

    Attributes:
        subjects: how many.
        parts: slabs of one subject, or folds of several.
        likeness: method -> of each part in turn.
        overall: method -> the mean of the parts.
        inside: method -> (mean of acquired less drawn in lesions, away from lesions).
        anomalies: map -> how well it ranks lesion voxels; empty without lesions.
        prevalence: lesion voxels among those of the head.
        unit: what is resampled for the intervals of `anomalies`.
        drawn: every scan.
    """

    subjects: int
    parts: int
    likeness: Mapping[str, tuple[Likeness, ...]]
    overall: Mapping[str, Likeness]
    inside: Mapping[str, tuple[float, float]]
    anomalies: Mapping[str, Anomaly]
    prevalence: float
    unit: str
    drawn: tuple[Drawn, ...] = field(repr=False)

    def as_json(self) -> dict[str, Any]:
        """Return the figures, to four decimals."""
        return {
            "subjects": self.subjects,
            "parts": self.parts,
            "likeness": {
                name: {
                    "overall": _rounded(self.overall[name]),
                    "parts": [_rounded(one) for one in parts],
                }
                for name, parts in self.likeness.items()
            },
            "acquired_less_drawn": {
                name: {"in_lesions": round(inside, 4), "elsewhere": round(outside, 4)}
                for name, (inside, outside) in self.inside.items()
            },
            "prevalence": round(self.prevalence, 5),
            "intervals_over": self.unit,
            "anomalies": {
                name: {
                    "ap": one.ap.as_list(),
                    "auroc": one.auroc.as_list(),
                    "ap_less_raw": one.less_raw.as_list(),
                    "ap_less_alike": one.less_alike.as_list() if one.less_alike else None,
                }
                for name, one in self.anomalies.items()
            },
        }


def _rounded(one: Likeness) -> dict[str, float]:
    return {"mae": round(one.error, 4), "psnr": round(one.psnr, 2), "ssim": round(one.ssim, 4)}


def slabs(brain: NDArray[np.bool_], count: int, gap: int) -> list[Part]:
    """Return for each slab which levels are in it, and which are in it or in its gaps.

    Args:
        brain: bool, (levels, rows, columns); slabs have about equal numbers of its levels.
        count: of slabs.
        gap: levels on either side.

    Raises:
        ModelError: if a slab and its gaps leave nothing to learn from.
    """
    levels = np.flatnonzero(brain.any(axis=(1, 2)))
    found: list[Part] = []
    for own in np.array_split(levels, count):
        if not len(own):
            raise ModelError(f"{len(levels)} slices of brain do not make {count} slabs")
        index = np.arange(len(brain))
        inside = (index >= own[0]) & (index <= own[-1])
        near = (index >= own[0] - gap) & (index <= own[-1] + gap)
        if near[levels].all():
            raise ModelError(f"a slab and its gaps of {gap} slices leave nothing to learn from")
        found.append((inside, near))
    return found


def cross_fit(
    pairs: Sequence[Pair], config: Config, run: Run, count: int, gap_mm: float
) -> list[Drawn]:
    """Return every scan drawn by the network and by the floors, each part by models without it.

    Args:
        pairs: all scans, of one or more subjects.
        config: settings, with landmarks.
        run: how.
        count: parts: folds of subjects, or slabs of one.
        gap_mm: between a slab and what is learned from.

    Raises:
        ModelError: if too little is left to learn from.
    """
    images: list[dict[str, NDArray[np.float32]]] = [{} for _ in pairs]
    part = [np.zeros(len(pair.brain), dtype=np.intp) for pair in pairs]
    for number, plan in enumerate(_plans(pairs, config, count, gap_mm)):
        run.progress("parts", number, count)
        slices = slices_of(pairs, config, [near for _, near in plan])
        network = fit(slices, config, run, f"synthesis-{number}")
        simple = floors.fitted(*_voxels(pairs, plan))
        for index, (pair, (inside, _)) in enumerate(zip(pairs, plan, strict=True)):
            if not inside.any():
                continue
            part[index][inside] = number
            made = {NETWORK: drawn(network, pair.inputs, pair.brain, config)}
            flat = pair.inputs[:, pair.brain]
            for name, floor in simple.items():
                image = np.full(pair.brain.shape, -1.0, dtype=np.float32)
                image[pair.brain] = floor(flat)
                made[name] = image
            for name, image in made.items():
                whole = images[index].setdefault(name, np.full_like(image, -1.0))
                whole[inside] = image[inside]
    run.progress("parts", count, count)
    return [Drawn(*one) for one in zip(pairs, images, part, strict=True)]


def _plans(pairs: Sequence[Pair], config: Config, count: int, gap_mm: float) -> list[list[Part]]:
    """Return for each part and scan which levels are drawn and which are not learned from."""
    names = sorted({pair.subject for pair in pairs})
    if len(names) == 1:
        gap = round(gap_mm / config.slice_mm)
        every = [slabs(pair.brain, count, gap) for pair in pairs]
        return [[own[number] for own in every] for number in range(count)]
    plans: list[list[Part]] = []
    for held_out in folds_of(names, count, 0):
        out = [np.full(len(pair.brain), pair.subject in held_out) for pair in pairs]
        plans.append([(one, one) for one in out])
    return plans


def _voxels(
    pairs: Sequence[Pair], plan: Sequence[Part]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    inputs: list[NDArray[np.float32]] = []
    target: list[NDArray[np.float32]] = []
    for pair, (_, near) in zip(pairs, plan, strict=True):
        kept = pair.learned & ~near[:, None, None]
        inputs.append(pair.inputs[:, kept])
        target.append(pair.target[kept])
    return np.concatenate(inputs, axis=1), np.concatenate(target)


def likeness(
    acquired: NDArray[np.float32], made: NDArray[np.float32], counted: NDArray[np.bool_]
) -> Likeness:
    """Return how near `made` is to `acquired`, each (levels, rows, columns), where counted."""
    difference = (made - acquired)[counted].astype(np.float64) / _RANGE
    squared = float(np.mean(difference**2))
    similar: list[NDArray[np.float32]] = []
    for real, own, inside in zip(acquired, made, counted, strict=True):
        if inside.any():
            _, whole = cast(
                "tuple[float, NDArray[np.float32]]",
                structural_similarity(real, own, data_range=_RANGE, full=True),
            )
            similar.append(whole[inside])
    return Likeness(
        float(np.abs(difference).mean()),
        10 * log10(1.0 / max(squared, 1e-12)),
        float(np.concatenate(similar).mean()),
    )


def assess(
    scans: Sequence[tuple[Scan, Pair]],
    config: Config,
    run: Run,
    *,
    count: int = 4,
    gap_mm: float = 8.0,
    smoothing_mm: float = 2.0,
    resamples: int = RESAMPLES,
) -> Assessment:
    """Return what a network of these settings draws, and how well its error finds lesions.

    Args:
        scans: each with its contrasts on the working grid.
        config: settings, with landmarks.
        run: how; its seed is that of training and of the intervals.
        count: parts.
        gap_mm: between a slab and what is learned from.
        smoothing_mm: standard deviation of the Gaussian on each map of the anomalies.
        resamples: of the intervals.

    Raises:
        ModelError: if there is no scan, or too little to learn from.
    """
    if not scans:
        raise ModelError("there is no scan to measure on")
    found = cross_fit([pair for _, pair in scans], config, run, count, gap_mm)
    names = list(found[0].images)
    several = len({pair.subject for _, pair in scans}) > 1
    parts = {
        name: tuple(
            likeness(one.pair.target, one.images[name], counted)
            for one in found
            for number in ([None] if several else range(count))
            if (counted := _counted(one, number)).any()
        )
        for name in names
    }
    inside = {name: _inside(found, name) for name in names}
    maps, prevalence = anomalies.measure(
        [scan for scan, _ in scans],
        found,
        config,
        run.seed,
        smoothing_mm,
        by_subject=several,
        resamples=resamples,
    )
    return Assessment(
        len({pair.subject for _, pair in scans}),
        count,
        parts,
        {name: _mean(own) for name, own in parts.items()},
        inside,
        maps,
        prevalence,
        "subjects" if several else f"blocks of {anomalies.BLOCK_MM:g} mm of one subject",
        tuple(found),
    )


def _counted(one: Drawn, number: int | None) -> NDArray[np.bool_]:
    learned = one.pair.learned
    return learned if number is None else learned & (one.part == number)[:, None, None]


def _mean(parts: Sequence[Likeness]) -> Likeness:
    rows = np.array([(one.error, one.psnr, one.ssim) for one in parts]).mean(axis=0)
    return Likeness(*(float(value) for value in rows))


def _inside(found: Sequence[Drawn], name: str) -> tuple[float, float]:
    """Return the mean of acquired less drawn in lesions and away from them; NaN without any."""
    lesion = [((o.pair.target - o.images[name]) / _RANGE)[o.pair.lesion] for o in found]
    normal = [((o.pair.target - o.images[name]) / _RANGE)[o.pair.learned] for o in found]
    inside = np.concatenate(lesion)
    return (
        float(inside.mean()) if len(inside) else float("nan"),
        float(np.concatenate(normal).mean()),
    )
