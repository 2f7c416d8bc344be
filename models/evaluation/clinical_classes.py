"""Clinical classes: several classes at once, each with intervals over patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.classes import Averages, decided, one_against_rest
from models.evaluation.clustered import Rows, draws
from models.evaluation.intervals import RESAMPLES, Figure, percentile

MACRO, MICRO = "macro average", "micro average"


@dataclass(frozen=True, slots=True)
class Classes:
    """Each class against the rest.

    Attributes:
        names: the classes.
        counts: rows of each.
        measures: measure -> class, `MACRO` or `MICRO` -> figure. Sensitivity, specificity,
            precision and F1 are of the class with the largest score.
    """

    names: tuple[str, ...]
    counts: Mapping[str, int]
    measures: Mapping[str, Mapping[str, Figure]]


def several(
    values: NDArray[np.float64],
    truth: Sequence[str],
    names: Sequence[str],
    patients: Sequence[str],
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Classes:
    """Return the measures of several classes, intervals from resampled patients.

    Args:
        values: (rows, classes): the score of each class; ties go to the first class.
        truth: each row's class.
        names: the classes, in the order of the columns.
        patients: whose row it is.
        seed: of the resampling.
        resamples: how many; one in which a class has no row is left out.

    Raises:
        ValueError: if there are fewer than three classes, a score is NaN, a label is none of the
            classes, or a class has fewer than two patients.
    """
    if len(names) < 3:
        raise ValueError("fewer than three classes are a matter of yes and no: one score tells")
    if np.isnan(values).any():
        raise ValueError("every row needs a score of each class")
    for name in names:
        own = {who for who, label in zip(patients, truth, strict=True) if label == name}
        if len(own) < 2:
            raise ValueError(f"at least 2 patients of each class are needed: {name} has {len(own)}")
    labels = np.asarray(truth)
    said = np.asarray(names)[values.argmax(axis=1)]
    keys = [*names, MACRO, MICRO]
    measures = ("AUROC", "sensitivity", "specificity", "precision", "F1")

    def statistics(rows: Rows) -> list[float]:
        own = labels[rows].tolist()
        if len(set(own)) < len(names):
            return [np.nan] * (len(measures) * len(keys))
        areas = one_against_rest(values[rows], own, names)
        one = decided(said[rows].tolist(), own, names)
        found = (areas, one.sensitivity, one.specificity, one.precision, one.f1)
        return [value for each in found for value in _flat(each, names)]

    point = statistics(np.arange(len(labels)))
    drawn = draws(statistics, patients, seed, resamples)
    figures = [percentile(value, drawn[:, column]) for column, value in enumerate(point)]
    return Classes(
        tuple(names),
        {name: int((labels == name).sum()) for name in names},
        {
            measure: dict(zip(keys, figures[row * len(keys) : (row + 1) * len(keys)], strict=True))
            for row, measure in enumerate(measures)
        },
    )


def _flat(found: Averages, names: Sequence[str]) -> list[float]:
    return [*(found.classes[name] for name in names), found.macro, found.micro]
