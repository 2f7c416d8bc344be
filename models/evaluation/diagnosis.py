"""Diagnosis: what a yes or a no is worth, in the patients measured and where it will be used.

Sensitivity and specificity belong to the test and its threshold; predictive values belong to a
place too, so they are never given without a stated prevalence: in a set made of as many ill as
healthy patients the set's own would mislead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, log, nan, sqrt

import numpy as np
from numpy.typing import NDArray

from models.evaluation.intervals import Figure, fraction
from models.evaluation.patients import Z95


@dataclass(frozen=True, slots=True)
class Table:
    """Patients by truth and decision.

    Attributes:
        tp, fn: abnormal patients flagged and passed.
        fp, tn: normal patients flagged and passed.
    """

    tp: int
    fp: int
    fn: int
    tn: int

    def __post_init__(self) -> None:
        if min(self.tp, self.fp, self.fn, self.tn) < 0:
            raise ValueError("a count of patients is not negative")
        if not (self.tp + self.fn and self.fp + self.tn):
            raise ValueError("both kinds of patient are needed")

    @property
    def sensitivity(self) -> Figure:
        """TP / (TP + FN), Clopper and Pearson's interval."""
        return fraction(self.tp, self.tp + self.fn)

    @property
    def specificity(self) -> Figure:
        """TN / (TN + FP), Clopper and Pearson's interval."""
        return fraction(self.tn, self.tn + self.fp)

    @property
    def accuracy(self) -> Figure:
        """(TP + TN) / n: depends on the set's prevalence."""
        return fraction(self.tp + self.tn, self.patients)

    @property
    def prevalence(self) -> float:
        """Part of the patients of this set that are abnormal."""
        return (self.tp + self.fn) / self.patients

    @property
    def patients(self) -> int:
        """Number of patients."""
        return self.tp + self.fp + self.fn + self.tn


def counted(
    flagged: Sequence[bool] | NDArray[np.bool_], truth: Sequence[bool] | NDArray[np.bool_]
) -> Table:
    """Return the table of decisions.

    Raises:
        ValueError: if they do not pair up, or one kind of patient is missing.
    """
    yes, abnormal = np.asarray(flagged, np.bool_), np.asarray(truth, np.bool_)
    if len(yes) != len(abnormal):
        raise ValueError("every decision needs its truth")
    both = int((yes & abnormal).sum())
    flags, ill = int(yes.sum()), int(abnormal.sum())
    return Table(both, flags - both, ill - both, len(yes) - flags - ill + both)


@dataclass(frozen=True, slots=True)
class Predictive:
    """What an answer means at a stated prevalence.

    Attributes:
        prevalence: part of the patients that are abnormal where the test is used.
        positive: P(abnormal | flagged).
        negative: P(normal | passed).
    """

    prevalence: float
    positive: Figure
    negative: Figure


def predictive_values(table: Table, prevalence: float) -> Predictive:
    """Return the predictive values at a prevalence, by Bayes' theorem.

    PPV = s p / (s p + (1 - c) (1 - p)) and NPV = c (1 - p) / (c (1 - p) + (1 - s) p) for
    sensitivity s, specificity c, prevalence p. Intervals on the logit scale by Mercaldo, Lau and
    Zhou (Statistics in Medicine 2007): they carry the uncertainty of s and c, none of p. Where s or
    c is 0 or 1 that variance does not exist: the interval then comes from the ends of the exact
    intervals of s and c, which is wider. A value is NaN where nobody is flagged, or nobody passed.

    Raises:
        ValueError: if the prevalence is not inside (0, 1).
    """
    if not 0 < prevalence < 1:
        raise ValueError("a prevalence lies inside (0, 1)")
    s, c = table.sensitivity, table.specificity
    ill, well = table.tp + table.fn, table.fp + table.tn
    return Predictive(
        prevalence,
        _bayes(s, _complement(c), prevalence, ill, well),
        _bayes(c, _complement(s), 1 - prevalence, well, ill),
    )


@dataclass(frozen=True, slots=True)
class Ratios:
    """Likelihood ratios: by how much an answer multiplies the odds of being abnormal.

    Attributes:
        positive: s / (1 - c); infinite where no normal patient is flagged.
        negative: (1 - s) / c.
    """

    positive: Figure
    negative: Figure


def likelihood_ratios(table: Table) -> Ratios:
    """Return the likelihood ratios, intervals on the log scale.

    Simel, Samsa and Matchar (Journal of Clinical Epidemiology 1991). No interval where a count that
    the logarithm needs is zero.
    """
    ill, well = table.tp + table.fn, table.fp + table.tn
    return Ratios(_ratio(table.tp, ill, table.fp, well), _ratio(table.fn, ill, table.tn, well))


@dataclass(frozen=True, slots=True)
class Verified:
    """Answers of which only some were checked, and the checks.

    Attributes:
        flagged, passed: patients by answer, checked or not.
        checked: the table of those checked.
    """

    flagged: int
    passed: int
    checked: Table

    def __post_init__(self) -> None:
        own = self.checked
        if own.tp + own.fp > self.flagged or own.fn + own.tn > self.passed:
            raise ValueError("more patients were checked than there are")


@dataclass(frozen=True, slots=True)
class Corrected:
    """Sensitivity and specificity of all patients, from those checked."""

    sensitivity: Figure
    specificity: Figure


def corrected(found: Verified) -> Corrected:
    """Return what sensitivity and specificity are if the checked are like the rest of their answer.

    Begg and Greenes (Biometrics 1983): who is flagged is looked at more often, so the plain
    sensitivity is too high and the plain specificity too low. Sensitivity is P(D | T) P(T) over its
    sum for both answers. Intervals by the delta method on the logit scale (their section 3); none
    where a group was not checked or had one outcome only.

    Raises:
        ValueError: if nobody flagged, or nobody passed, was checked.
    """
    own = found.checked
    flagged, passed = own.tp + own.fp, own.fn + own.tn
    if not (flagged and passed):
        raise ValueError("patients of both answers must be checked to correct for the others")
    total = found.flagged + found.passed
    ppv, missed, part = own.tp / flagged, own.fn / passed, found.flagged / total
    return Corrected(
        _corrected(ppv, missed, part, flagged, passed, total),
        _corrected(1 - missed, 1 - ppv, 1 - part, passed, flagged, total),
    )


def corrected_predictive_values(found: Verified, prevalence: float) -> Predictive:
    """Return the predictive values at a prevalence, from the corrected sensitivity and specificity.

    At the prevalence of the place itself they are the plain ones of the patients checked. The log
    odds of the positive one are logit(prevalence) + log(s / (1 - c)), and with a = P(D | flagged),
    b = P(D | passed) and f the part flagged s / (1 - c) = odds(a) / odds(a f + b (1 - f)): the
    delta method in a, b and f gives the interval, none where a group had one outcome only.

    Raises:
        ValueError: as `corrected`, and if the prevalence is not inside (0, 1).
    """
    if not 0 < prevalence < 1:
        raise ValueError("a prevalence lies inside (0, 1)")
    both, own = corrected(found), found.checked
    flagged, passed = own.tp + own.fp, own.fn + own.tn
    total = found.flagged + found.passed
    ppv, missed, part = own.tp / flagged, own.fn / passed, found.flagged / total
    s, c = both.sensitivity.value, both.specificity.value
    return Predictive(
        prevalence,
        _at_another(s, 1 - c, prevalence, _spread(ppv, missed, part, flagged, passed, total)),
        _at_another(
            c,
            1 - s,
            1 - prevalence,
            _spread(1 - missed, 1 - ppv, 1 - part, passed, flagged, total),
        ),
    )


def _at_another(hit: float, alarm: float, prior: float, variance: float) -> Figure:
    below = hit * prior + alarm * (1 - prior)
    value = hit * prior / below if below > 0 else nan
    return _on_logits(value, variance) if variance > 0 else Figure(value, nan, nan)


def _spread(a: float, b: float, part: float, n_a: int, n_b: int, total: int) -> float:
    """Return the variance of logit(a) - logit(a part + b (1 - part)); NaN at an end."""
    if not (0 < a < 1 and 0 < b < 1 and 0 < part < 1):
        return nan
    whole = a * part + b * (1 - part)
    slope = 1 / (whole * (1 - whole))
    by_a, by_b, by_part = 1 / (a * (1 - a)) - part * slope, (1 - part) * slope, (a - b) * slope
    return (
        by_a**2 * a * (1 - a) / n_a
        + by_b**2 * b * (1 - b) / n_b
        + by_part**2 * part * (1 - part) / total
    )


def _corrected(a: float, b: float, part: float, n_a: int, n_b: int, total: int) -> Figure:
    """Return a part / (a part + b (1 - part)): logit = log(a / b) + log(part / (1 - part))."""
    below = a * part + b * (1 - part)
    if below <= 0:
        return Figure(nan, nan, nan)
    value = a * part / below
    if not (0 < a < 1 and 0 < b < 1 and 0 < part < 1):
        return Figure(value, nan, nan)
    spread = (1 - a) / (a * n_a) + (1 - b) / (b * n_b) + 1 / (total * part * (1 - part))
    return _on_logits(value, spread)


def _complement(figure: Figure) -> Figure:
    return Figure(1 - figure.value, 1 - figure.high, 1 - figure.low)


def _bayes(hit: Figure, alarm: Figure, prior: float, hits: int, alarms: int) -> Figure:
    """Return hit prior / (hit prior + alarm (1 - prior)) with its interval."""

    def value(h: float, a: float) -> float:
        below = h * prior + a * (1 - prior)
        return h * prior / below if below > 0 else nan

    own = value(hit.value, alarm.value)
    if own != own:  # noqa: PLR0124 - NaN is not itself
        return Figure(nan, nan, nan)
    if not (0 < hit.value < 1 and 0 < alarm.value < 1):
        return Figure(own, value(hit.low, alarm.high), value(hit.high, alarm.low))
    spread = (1 - hit.value) / (hit.value * hits) + (1 - alarm.value) / (alarm.value * alarms)
    return _on_logits(own, spread)


def _on_logits(value: float, variance: float) -> Figure:
    middle, half = log(value / (1 - value)), Z95 * sqrt(variance)
    return Figure(value, 1 / (1 + exp(half - middle)), 1 / (1 + exp(-half - middle)))


def _ratio(top: int, of_top: int, bottom: int, of_bottom: int) -> Figure:
    if bottom == 0:
        return Figure(inf if top else nan, nan, nan)
    value = (top / of_top) / (bottom / of_bottom)
    if top == 0:
        return Figure(value, nan, nan)
    half = Z95 * sqrt(1 / top - 1 / of_top + 1 / bottom - 1 / of_bottom)
    return Figure(value, value * exp(-half), value * exp(half))
