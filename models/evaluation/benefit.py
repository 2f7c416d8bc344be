"""Benefit: what a decision by the detector is worth, and what a new one adds to an old one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from models.evaluation.intervals import Figure, Values, scores
from models.evaluation.patients import Z95


@dataclass(frozen=True, slots=True)
class NetBenefit:
    """One point of a decision curve (Vickers and Elkin, Medical Decision Making 2006).

    Attributes:
        threshold: probability t at which acting is worth it: a missed case weighs (1 - t) / t
            times as much as a needless action.
        model: net benefit of acting where the stated probability is at least t, in true positives
            a patient: TP / n - FP / n * t / (1 - t).
        all: of acting on everybody.
        none: of acting on nobody, 0.
    """

    threshold: float
    model: float
    all: float
    none: float = 0.0


def decision_curve(
    probabilities: Values,
    truth: Sequence[bool] | NDArray[np.bool_],
    thresholds: Values,
    prevalence: float | None = None,
) -> tuple[NetBenefit, ...]:
    """Return the net benefit at each threshold probability.

    Args:
        probabilities: calibrated: net benefit of a mere score means nothing.
        truth: which patients are abnormal.
        thresholds: inside (0, 1).
        prevalence: of the place of use, where the set's own is not it (case-control sets).

    Raises:
        ValueError: if a threshold is not inside (0, 1), or one kind of patient is missing.
    """
    stated, abnormal = _checked(probabilities, truth)
    part = float(abnormal.mean()) if prevalence is None else prevalence
    found: list[NetBenefit] = []
    for threshold in thresholds:
        if not 0 < threshold < 1:
            raise ValueError("a threshold probability lies inside (0, 1)")
        odds = threshold / (1 - threshold)
        acted = stated >= threshold
        sensitivity, fpr = float(acted[abnormal].mean()), float(acted[~abnormal].mean())
        found.append(
            NetBenefit(
                threshold,
                sensitivity * part - fpr * (1 - part) * odds,
                part - (1 - part) * odds,
            )
        )
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Improvement:
    """A new model against an old one: an index, its two parts, and the test that it is zero.

    Attributes:
        total: events + non-events, with its 95 % interval.
        events: the part from abnormal patients.
        nonevents: the part from normal patients.
        z: under no improvement.
        p_value: two-sided.
    """

    total: Figure
    events: float
    nonevents: float
    z: float
    p_value: float


def reclassification(
    old: Values, new: Values, truth: Sequence[bool] | NDArray[np.bool_], cuts: Values = ()
) -> Improvement:
    """Return the net reclassification improvement.

    (P(up | event) - P(down | event)) + (P(down | non-event) - P(up | non-event)), with the z of
    Pencina et al. (Statistics in Medicine 2008, eq. 9): the variance under no improvement is
    (up + down) / n^2 on each side. The interval uses the variance at the estimate.

    Args:
        old: probabilities of the old model.
        new: probabilities of the new one, for the same patients.
        truth: which patients are abnormal.
        cuts: between risk categories, ascending; a probability at a cut is above it. None for the
            category-free index: every change counts (Pencina et al., Statistics in Medicine 2011).
    """
    first, abnormal = _checked(old, truth)
    second, _ = _checked(new, truth)
    if cuts:
        edges = np.asarray(cuts, dtype=np.float64)
        move = np.sign(
            np.searchsorted(edges, second, side="right")
            - np.searchsorted(edges, first, side="right")
        )
    else:
        move = np.sign(second - first)
    events, nonevents = move[abnormal].astype(np.float64), -move[~abnormal].astype(np.float64)
    null = float((events**2).sum() / len(events) ** 2 + (nonevents**2).sum() / len(nonevents) ** 2)
    own = float(events.var() / len(events) + nonevents.var() / len(nonevents))
    return _improvement(float(events.mean()), float(nonevents.mean()), null, own)


def discrimination(
    old: Values, new: Values, truth: Sequence[bool] | NDArray[np.bool_]
) -> Improvement:
    """Return the integrated discrimination improvement.

    The gain in mean probability of abnormal patients plus the loss in that of normal ones: the
    difference of the two models' discrimination slopes (Pencina et al. 2008, eq. 13 and 14).
    """
    first, abnormal = _checked(old, truth)
    second, _ = _checked(new, truth)
    change = second - first
    events, nonevents = change[abnormal], -change[~abnormal]
    if len(events) < 2 or len(nonevents) < 2:
        raise ValueError("the variance needs two patients of each kind")
    variance = float(events.var(ddof=1) / len(events) + nonevents.var(ddof=1) / len(nonevents))
    return _improvement(float(events.mean()), float(nonevents.mean()), variance, variance)


def _improvement(events: float, nonevents: float, null: float, own: float) -> Improvement:
    total = events + nonevents
    half = Z95 * sqrt(own)
    z = total / sqrt(null) if null > 0 else (0.0 if total == 0 else np.copysign(inf, total))
    return Improvement(
        Figure(total, total - half, total + half),
        events,
        nonevents,
        float(z),
        float(2 * stats.norm.sf(abs(z))),
    )


def _checked(
    probabilities: Values, truth: Sequence[bool] | NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    stated = scores(probabilities)
    abnormal = np.asarray(truth, dtype=np.bool_)
    if len(stated) != len(abnormal):
        raise ValueError("every probability needs its truth")
    if not 0 < int(abnormal.sum()) < len(abnormal):
        raise ValueError("both kinds of patient are needed")
    return stated, abnormal
