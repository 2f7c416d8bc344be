"""Clinical: the statistics of a score that says who is abnormal, as a clinical paper reports them.

Where each patient has one row, intervals are those of the literature (DeLong, Clopper and Pearson,
Mercaldo). Where a patient has several they would be too narrow: then every interval and p-value
comes from resampled patients (`models.evaluation.clustered`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import nan

import numpy as np
from numpy.typing import NDArray

from models.evaluation import benefit, diagnosis, reliability
from models.evaluation.clustered import Rows, draws
from models.evaluation.comparison import Comparison, bootstrap_p, delong_test
from models.evaluation.intervals import RESAMPLES, Figure, area, percentile
from models.evaluation.patients import average_precision, delong_auroc

THRESHOLDS = tuple(round(step / 100, 2) for step in range(1, 100))
"""Threshold probabilities of a decision curve."""
LEAST = 2
"""Patients of each kind without whom nothing has a variance."""


@dataclass(frozen=True, slots=True, eq=False)
class Cohort:
    """Rows of patients, normal and abnormal.

    Attributes:
        truth: bool, (n,): which are abnormal.
        score: (n,): larger is stranger.
        patients: whose row it is.
        probability: whether scores are probabilities of being abnormal, in [0, 1].
        against: scores of an older model for the same rows, on the same terms; None without.
    """

    truth: NDArray[np.bool_]
    score: NDArray[np.float64]
    patients: tuple[str, ...]
    probability: bool = False
    against: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        given = [self.score] if self.against is None else [self.score, self.against]
        if any(len(one) != len(self.truth) for one in (*given, self.patients)):
            raise ValueError("every row needs truth, score and patient")
        if any(np.isnan(one).any() for one in given):
            raise ValueError("every row needs a score")
        if self.probability and any(((one < 0) | (one > 1)).any() for one in given):
            raise ValueError("a probability lies in [0, 1]: name the column a score if it is none")
        for kind, rows in (("abnormal", self.truth), ("normal", ~self.truth)):
            count = len({self.patients[row] for row in np.flatnonzero(rows)})
            if count < LEAST:
                raise ValueError(f"at least {LEAST} {kind} patients are needed, there are {count}")

    @property
    def clustered(self) -> bool:
        """Whether a patient has several rows."""
        return len(set(self.patients)) < len(self.patients)


@dataclass(frozen=True, slots=True)
class Decided:
    """What a stated threshold does: rows at or above it are flagged.

    Attributes:
        threshold: as it was stated.
        table: the counts.
        sensitivity, specificity: with their intervals.
        accuracy: at the set's own prevalence.
        ratios: likelihood ratios; None where patients have several rows.
        predictive: at each stated prevalence.
    """

    threshold: float
    table: diagnosis.Table
    sensitivity: Figure
    specificity: Figure
    accuracy: Figure
    ratios: diagnosis.Ratios | None
    predictive: tuple[diagnosis.Predictive, ...]


@dataclass(frozen=True, slots=True)
class Calibrated:
    """Whether the probabilities come true.

    Attributes:
        brier: with its bootstrap interval over patients.
        parts: of which it is made.
        error: expected calibration error over `reliability.BINS` bins; above 0 by chance alone.
        curve: the reliability curve.
    """

    brier: Figure
    parts: reliability.BrierParts
    error: float
    curve: tuple[reliability.Bin, ...]


@dataclass(frozen=True, slots=True)
class Improved:
    """The new probabilities against the old ones.

    Attributes:
        categories: net reclassification between risk categories; None without cuts.
        continuous: category-free.
        discrimination: integrated discrimination improvement.
    """

    categories: benefit.Improvement | None
    continuous: benefit.Improvement
    discrimination: benefit.Improvement


@dataclass(frozen=True, slots=True)
class Clinical:
    """The statistics of a cohort.

    Attributes:
        auroc: area under the ROC curve.
        precision: average precision; by chance the set's prevalence.
        against: AUROC less that of the older model; None without.
        decided: at the stated threshold; None without.
        calibrated: None where scores are no probabilities.
        curve: net benefit at each threshold probability and the set's prevalence; empty likewise.
        curve_against: of the older model.
        improved: None without an older model, or where scores are no probabilities.
    """

    auroc: Figure
    precision: Figure
    against: Comparison | None
    decided: Decided | None
    calibrated: Calibrated | None
    curve: tuple[benefit.NetBenefit, ...]
    curve_against: tuple[benefit.NetBenefit, ...]
    improved: Improved | None


@dataclass(frozen=True, slots=True)
class Terms:
    """What is stated beforehand.

    Attributes:
        threshold: of the decision; None for none.
        prevalences: of the places of use.
        cuts: between risk categories, ascending.
        seed: of every resampling.
        resamples: how many.
    """

    threshold: float | None = None
    prevalences: tuple[float, ...] = ()
    cuts: tuple[float, ...] = ()
    seed: int = 0
    resamples: int = RESAMPLES

    def __post_init__(self) -> None:
        if any(not 0 < one < 1 for one in self.prevalences):
            raise ValueError("a prevalence lies inside (0, 1)")
        if list(self.cuts) != sorted(set(self.cuts)) or any(not 0 < one < 1 for one in self.cuts):
            raise ValueError("cuts between risk categories ascend inside (0, 1)")


def measured(cohort: Cohort, terms: Terms) -> Clinical:
    """Return the statistics of a cohort.

    Raises:
        ValueError: as `Cohort` and `Terms` do.
    """
    truth, score, old = cohort.truth, cohort.score, cohort.against
    resampled = _Resampled(cohort, terms)
    return Clinical(
        auroc=resampled.or_else("auroc", delong_auroc(score[~truth], score[truth])),
        precision=resampled.or_else(
            "precision",
            average_precision(score[~truth], score[truth], terms.seed, terms.resamples),
        ),
        against=None if old is None else _against(cohort, old, resampled),
        decided=None if terms.threshold is None else _decided(cohort, terms, resampled),
        calibrated=_calibrated(cohort, resampled) if cohort.probability else None,
        curve=_curve(cohort, score),
        curve_against=() if old is None else _curve(cohort, old),
        improved=_improved(cohort, old, terms, resampled)
        if old is not None and cohort.probability
        else None,
    )


class _Resampled:
    """Draws of every statistic over resampled patients."""

    def __init__(self, cohort: Cohort, terms: Terms) -> None:
        self.clustered = cohort.clustered
        # A cohort has both kinds of row; a resample that has one only is not defined.
        self._values = _statistics(cohort, terms, np.arange(len(cohort.truth)))
        self._names = tuple(self._values)

        def statistics(rows: Rows) -> list[float]:
            named = _statistics(cohort, terms, rows)
            return [named.get(name, nan) for name in self._names]

        if cohort.clustered or cohort.probability:
            self._draws = draws(statistics, cohort.patients, terms.seed, terms.resamples)

    def figure(self, name: str) -> Figure:
        """Return the statistic with its percentile interval."""
        return percentile(self._values[name], self._column(name))

    def or_else(self, name: str, independent: Figure) -> Figure:
        """Return the figure of independent rows, or that of resampled patients."""
        return self.figure(name) if self.clustered else independent

    def p_value(self, name: str) -> float:
        """Return the two-sided bootstrap p-value that the statistic is zero."""
        column = self._column(name)
        return bootstrap_p(column[~np.isnan(column)])

    def _column(self, name: str) -> NDArray[np.float64]:
        return self._draws[:, self._names.index(name)]


def _statistics(cohort: Cohort, terms: Terms, rows: Rows) -> dict[str, float]:
    """Return what is resampled, by name; empty where one kind of row is missing."""
    truth, score = cohort.truth[rows], cohort.score[rows]
    if not 0 < int(truth.sum()) < len(truth):
        return {}
    found = {"auroc": area(score[~truth], score[truth])}
    if cohort.clustered:
        found["precision"] = average_precision(score[~truth], score[truth], 0, 1).value
        if terms.threshold is not None:
            flagged = score >= terms.threshold
            s, c = float(flagged[truth].mean()), float((~flagged[~truth]).mean())
            found |= {"sensitivity": s, "specificity": c}
            found["accuracy"] = float((flagged == truth).mean())
            for number, p in enumerate(terms.prevalences):
                found[f"positive {number}"] = diagnosis.part_of(s, 1 - c, p)
                found[f"negative {number}"] = diagnosis.part_of(c, 1 - s, 1 - p)
    if cohort.probability:
        found["brier"] = float(((score - truth) ** 2).mean())
    if cohort.against is not None and cohort.clustered:
        old = cohort.against[rows]
        found["difference"] = found["auroc"] - area(old[~truth], old[truth])
        if cohort.probability:
            found["continuous"] = benefit.reclassification(old, score, truth).total.value
            found["discrimination"] = float(
                (score - old)[truth].mean() - (score - old)[~truth].mean()
            )
            if terms.cuts:
                found["categories"] = benefit.reclassification(
                    old, score, truth, terms.cuts
                ).total.value
    return found


def _against(cohort: Cohort, old: NDArray[np.float64], resampled: _Resampled) -> Comparison:
    truth, score = cohort.truth, cohort.score
    found = delong_test((score[~truth], old[~truth]), (score[truth], old[truth]))
    patients = len(set(cohort.patients))
    if not cohort.clustered:
        return replace(found, patients=patients)
    return Comparison(
        found.first,
        found.second,
        resampled.figure("difference"),
        resampled.p_value("difference"),
        patients,
    )


def _decided(cohort: Cohort, terms: Terms, resampled: _Resampled) -> Decided:
    threshold = nan if terms.threshold is None else terms.threshold
    table = diagnosis.counted(cohort.score >= threshold, cohort.truth)
    predictive = [diagnosis.predictive_values(table, one) for one in terms.prevalences]
    return Decided(
        threshold,
        table,
        resampled.or_else("sensitivity", table.sensitivity),
        resampled.or_else("specificity", table.specificity),
        resampled.or_else("accuracy", table.accuracy),
        None if cohort.clustered else diagnosis.likelihood_ratios(table),
        tuple(
            replace(
                one,
                positive=resampled.or_else(f"positive {number}", one.positive),
                negative=resampled.or_else(f"negative {number}", one.negative),
            )
            for number, one in enumerate(predictive)
        ),
    )


def _calibrated(cohort: Cohort, resampled: _Resampled) -> Calibrated:
    return Calibrated(
        resampled.figure("brier"),
        reliability.brier_parts(cohort.score, cohort.truth),
        reliability.expected_calibration_error(cohort.score, cohort.truth),
        reliability.reliability_curve(cohort.score, cohort.truth, 10),
    )


def _curve(cohort: Cohort, score: NDArray[np.float64]) -> tuple[benefit.NetBenefit, ...]:
    if not cohort.probability:
        return ()
    # At the set's own prevalence: to which other one the probabilities are fitted is not known.
    return benefit.decision_curve(score, cohort.truth, THRESHOLDS)


def _improved(
    cohort: Cohort, old: NDArray[np.float64], terms: Terms, resampled: _Resampled
) -> Improved:
    def settled(name: str, found: benefit.Improvement) -> benefit.Improvement:
        if not cohort.clustered:
            return found
        return replace(found, total=resampled.figure(name), z=nan, p_value=resampled.p_value(name))

    score, truth = cohort.score, cohort.truth
    return Improved(
        settled("categories", benefit.reclassification(old, score, truth, terms.cuts))
        if terms.cuts
        else None,
        settled("continuous", benefit.reclassification(old, score, truth)),
        settled("discrimination", benefit.discrimination(old, score, truth)),
    )
