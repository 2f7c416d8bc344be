"""Several classes: each against the rest, and their macro and micro averages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.intervals import area, scores


@dataclass(frozen=True, slots=True)
class Averages:
    """A measure of each class and its averages.

    Attributes:
        classes: by name.
        macro: plain mean over classes: rare classes count as much as common ones.
        micro: of all decisions together: common classes count more.
    """

    classes: Mapping[str, float]
    macro: float
    micro: float


def one_against_rest(
    values: NDArray[np.float64], truth: Sequence[str], names: Sequence[str]
) -> Averages:
    """Return the AUROC of each class against the rest.

    Args:
        values: (patients, classes): each patient's score for each class.
        truth: each patient's class.
        names: the classes, in the order of the columns.

    Raises:
        ValueError: if a class has no patient, or all of them.
    """
    member = _members(truth, names)
    areas = {
        name: area(scores(values[~own, column]), scores(values[own, column]))
        for column, (name, own) in enumerate(zip(names, member.T, strict=True))
    }
    return Averages(
        areas,
        float(np.mean(list(areas.values()))),
        area(values[~member], values[member]),
    )


def f1(decisions: Sequence[str], truth: Sequence[str], names: Sequence[str]) -> Averages:
    """Return the F1 of each class: 2 TP / (2 TP + FP + FN); 0 where a class never occurs."""
    decided, member = _members(decisions, names), _members(truth, names)
    both = (decided & member).sum(axis=0)
    total = decided.sum(axis=0) + member.sum(axis=0)
    each = np.where(total > 0, 2 * both / np.maximum(total, 1), 0.0)
    return Averages(
        dict(zip(names, each.tolist(), strict=True)),
        float(each.mean()),
        float(2 * both.sum() / total.sum()),
    )


def _members(labels: Sequence[str], names: Sequence[str]) -> NDArray[np.bool_]:
    """Return bool (patients, classes).

    Raises:
        ValueError: if a label is none of the classes.
    """
    if not set(labels) <= set(names):
        raise ValueError("a label is none of the classes")
    return np.asarray(labels)[:, None] == np.asarray(names)[None, :]
