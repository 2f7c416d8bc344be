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


@dataclass(frozen=True, slots=True)
class Decisions:
    """Each class against the rest, of decisions for one class a patient.

    Attributes:
        sensitivity: TP / (TP + FN), also called recall.
        specificity: TN / (TN + FP).
        precision: TP / (TP + FP); 0 where a class is never decided, as scikit-learn counts it.
        f1: see `f1`.

    With one decision a patient, micro sensitivity, precision and F1 are all the accuracy.
    """

    sensitivity: Averages
    specificity: Averages
    precision: Averages
    f1: Averages


def decided(decisions: Sequence[str], truth: Sequence[str], names: Sequence[str]) -> Decisions:
    """Return the measures of decisions (Sokolova and Lapalme, Inf. Processing & Management 2009).

    Raises:
        ValueError: if a label is none of the classes, or a class has no patient or all of them.
    """
    said, member = _members(decisions, names), _members(truth, names)
    if not (member.any(axis=0) & ~member.all(axis=0)).all():
        raise ValueError("every class needs a patient, and a patient outside it")
    true, false = (said & member).sum(axis=0), (said & ~member).sum(axis=0)
    inside, outside = member.sum(axis=0), (~member).sum(axis=0)
    return Decisions(
        _averaged(names, true, inside),
        _averaged(names, outside - false, outside),
        _averaged(names, true, true + false),
        f1(decisions, truth, names),
    )


def _averaged(names: Sequence[str], hits: NDArray[np.int64], of: NDArray[np.int64]) -> Averages:
    each = np.where(of > 0, hits / np.maximum(of, 1), 0.0)
    return Averages(
        dict(zip(names, each.tolist(), strict=True)),
        float(each.mean()),
        float(hits.sum() / of.sum()),
    )


def _members(labels: Sequence[str], names: Sequence[str]) -> NDArray[np.bool_]:
    """Return bool (patients, classes).

    Raises:
        ValueError: if a label is none of the classes.
    """
    if not set(labels) <= set(names):
        raise ValueError("a label is none of the classes")
    return np.asarray(labels)[:, None] == np.asarray(names)[None, :]
