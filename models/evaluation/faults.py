"""Faults: what can be wrong with a series, in three strengths, for measuring a quality gate.

Three families: faults simulated in k-space (`models.artefacts`), the same kinds as torchio makes
them, at settings used in publications (`models.evaluation.fault_torchio`), and faults of the whole
series (`models.evaluation.fault_series`). Mild is just visible, strong is gross.

A fault is the same for the same seed, and its strengths share their place, so that they differ in
degree only; the k-space faults draw anew for each strength.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from models import artefacts
from models.artefacts import Kind, Strength
from models.evaluation import fault_series, fault_torchio
from models.evaluation.fault_torchio import BiasField, Blur, Ghosting, Motion, Noise, Spike
from models.volume import Volume

Make = Callable[[Volume, Strength, int], Volume]
"""(clean scan, strength, seed) -> the scan with the fault."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        name: short name, for example ``motion``.
        settings: what each strength is, in words.
        apply: makes it, from the scan, the strength and a seed.
    """

    name: str
    settings: Mapping[Strength, str]
    apply: Make


TORCHIO: dict[str, tuple[fault_torchio.Setting, fault_torchio.Setting, fault_torchio.Setting]] = {
    "ghosting": (Ghosting(4, 0.3), Ghosting(4, 0.7), Ghosting(4, 2.0)),
    "motion": (Motion(2, 2.0, 2.0), Motion(4, 6.0, 6.0), Motion(10, 30.0, 50.0)),
    "spike": (Spike(1, 0.15), Spike(3, 0.4), Spike(7, 0.95)),
    "noise": (Noise(0.06), Noise(0.15), Noise(0.4)),
    "blur": (Blur((1.0, 0.0, 1.0)), Blur((2.5, 1.0, 2.5)), Blur((6.0, 2.0, 6.0))),
    "bias_field": (BiasField(0.3), BiasField(0.6), BiasField(1.0)),
}
"""Mild, moderate and strong settings of each torchio fault."""

REVERSED = (0.2, 0.4, 1.0)
MISSING = (1, 3, 8)
TWICE = (1, 3, 8)
CUT = (0.08, 0.2, 0.35)
PARTS = (1 / 3, 2 / 3, 1.0)
_PARTS_IN_WORDS = ("a third", "two thirds", "all")


def wrong_body_part(source: Volume | Callable[[int], Volume]) -> Fault:
    """Return the fault of a series that shows something else than its header says.

    Args:
        source: a scan of another body part, or a function from seed to one. Its modality, body part
            and sequence are replaced by those of the scan it stands in for.
    """

    def make(volume: Volume, strength: Strength, seed: int) -> Volume:
        other = source if isinstance(source, Volume) else source(seed)
        return fault_series.replaced(volume, other, PARTS[_grade(strength)])

    return _fault(
        "wrong_body_part",
        [f"{part} of the slices show another body part" for part in _PARTS_IN_WORDS],
        make,
    )


def _fault(name: str, words: list[str], make: Make) -> Fault:
    return Fault(name, dict(zip(Strength, words, strict=True)), make)


def _grade(strength: Strength) -> int:
    return tuple(Strength).index(strength)


def _generator(name: str, seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, *name.encode()])


def _torchio(name: str) -> Fault:
    def make(volume: Volume, strength: Strength, seed: int) -> Volume:
        setting = TORCHIO[name][_grade(strength)]
        return fault_torchio.apply(volume, setting, _generator(name, seed))

    return _fault(name, [str(setting) for setting in TORCHIO[name]], make)


def _kspace(kind: Kind) -> Fault:
    words = [artefacts.statement(kind, strength) for strength in Strength]

    def make(volume: Volume, strength: Strength, seed: int) -> Volume:
        return artefacts.apply(volume, kind, strength, seed)

    return _fault(f"{kind}_kspace", words, make)


def _wrong_contrast(volume: Volume, strength: Strength, _seed: int) -> Volume:
    return fault_series.reversed_contrast(volume, REVERSED[_grade(strength)])


def _missing(volume: Volume, strength: Strength, seed: int) -> Volume:
    count = MISSING[_grade(strength)]
    return fault_series.without_slices(volume, count, _generator("missing_slices", seed))


def _twice(volume: Volume, strength: Strength, seed: int) -> Volume:
    count = TWICE[_grade(strength)]
    return fault_series.with_slices_twice(volume, count, _generator("duplicated_slices", seed))


def _cut(volume: Volume, strength: Strength, seed: int) -> Volume:
    part = CUT[_grade(strength)]
    return fault_series.cut(volume, part, _generator("cut_field_of_view", seed))


def _flipped(axis: int, volume: Volume, strength: Strength, _seed: int) -> Volume:
    return fault_series.flipped(volume, axis, PARTS[_grade(strength)])


FAULTS: dict[str, Fault] = {
    fault.name: fault
    for fault in (
        *(_torchio(name) for name in TORCHIO),
        *(_kspace(kind) for kind in Kind),
        _fault(
            "wrong_contrast",
            [f"{part:.0%} of the contrast reversed, as from T1 to T2" for part in REVERSED],
            _wrong_contrast,
        ),
        _fault(
            "missing_slices",
            [f"{count} neighbouring slices missing, the rest closed up" for count in MISSING],
            _missing,
        ),
        _fault(
            "duplicated_slices",
            [f"{count} slices with the pixels of the slice before" for count in TWICE],
            _twice,
        ),
        _fault(
            "cut_field_of_view",
            [f"{part:.0%} of the head outside the array, on one side" for part in CUT],
            _cut,
        ),
        _fault(
            "flipped_left_right",
            [f"{part} of the scan flipped left to right" for part in _PARTS_IN_WORDS],
            partial(_flipped, 0),
        ),
        _fault(
            "flipped_front_back",
            [f"{part} of the scan flipped front to back" for part in _PARTS_IN_WORDS],
            partial(_flipped, 1),
        ),
    )
}
"""Every fault that needs nothing but the scan. `wrong_body_part` needs another scan."""
