"""Diagnosis: what a yes or a no is worth, in the patients measured and where it will be used.

Sensitivity and specificity belong to the test and its threshold; predictive values belong to a
place too, so they are never given without a stated prevalence: in a set made of as many ill as
healthy patients the set's own would mislead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, inf, isnan, log, nan, sqrt

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

    @property
    def part(self) -> float:
        """Part of all patients that is flagged."""
        return self.flagged / (self.flagged + self.passed)


@dataclass(frozen=True, slots=True)
class Corrected:
    """Sensitivity and specificity of all patients, from those checked."""

    sensitivity: Figure
    specificity: Figure


def corrected(found: Verified) -> Corrected:
    """Return what sensitivity and specificity are if the checked are like the rest of their answer.

    Begg and Greenes (Biometrics 1983): who is flagged is looked at more often, so the plain
    sensitivity is too high and the plain specificity too low. Sensitivity is P(D | T) P(T) over its
    sum for both answers. Intervals by the delta method on the logit scale; where all of one answer
    had one outcome, from the ends of the exact intervals, which is wider.

    Raises:
        ValueError: if nobody flagged, or nobody passed, was checked.
    """
    own = found.checked
    flagged, passed = _checked(own)
    a, b, part = _Share(own.tp, flagged), _Share(own.fn, passed), found.part
    total = found.flagged + found.passed
    return Corrected(_corrected(a, b, part, total), _corrected(b.other, a.other, 1 - part, total))


def corrected_predictive_values(found: Verified, prevalence: float) -> Predictive:
    """Return the predictive values at a prevalence, from the corrected sensitivity and specificity.

    At the prevalence of the place itself they are the plain ones of the patients checked. The log
    odds of the positive one are logit(prevalence) + log(s / (1 - c)), and with a = P(D | flagged),
    b = P(D | passed) and f the part flagged s / (1 - c) = odds(a) / odds(a f + b (1 - f)): the
    delta method in a, b and f gives the interval; where all of one answer had one outcome it is
    from the ends of the exact intervals of a and b.

    Raises:
        ValueError: as `corrected`, and if the prevalence is not inside (0, 1).
    """
    if not 0 < prevalence < 1:
        raise ValueError("a prevalence lies inside (0, 1)")
    own = found.checked
    flagged, passed = _checked(own)
    a, b, part = _Share(own.tp, flagged), _Share(own.fn, passed), found.part
    total = found.flagged + found.passed
    return Predictive(
        prevalence,
        _at_another(a, b, part, prevalence, total),
        _at_another(b.other, a.other, 1 - part, 1 - prevalence, total),
    )


def _checked(table: Table) -> tuple[int, int]:
    flagged, passed = table.tp + table.fp, table.fn + table.tn
    if not (flagged and passed):
        raise ValueError("patients of both answers must be checked to correct for the others")
    return flagged, passed


@dataclass(frozen=True, slots=True)
class _Share:
    """`count` of `total` checked patients of one answer."""

    count: int
    total: int

    @property
    def value(self) -> float:
        """The part."""
        return self.count / self.total

    @property
    def other(self) -> _Share:
        """Those that are not in it."""
        return _Share(self.total - self.count, self.total)

    @property
    def inside(self) -> bool:
        """Whether it is neither none nor all."""
        return 0 < self.count < self.total

    @property
    def variance(self) -> float:
        """Of the part."""
        return self.value * (1 - self.value) / self.total


def _corrected(a: _Share, b: _Share, part: float, total: int) -> Figure:
    """Return a part / (a part + b (1 - part)): logit = log(a / b) + log(part / (1 - part))."""
    value = part_of(a.value, b.value, part)
    if not (a.inside and b.inside):
        return _of_ends(value, a, b, lambda x, y: part_of(x, y, part))
    spread = a.variance / a.value**2 + b.variance / b.value**2 + 1 / (total * part * (1 - part))
    return _on_logits(value, spread)


def _at_another(a: _Share, b: _Share, part: float, prior: float, total: int) -> Figure:
    """Return P(D | answer) where `prior` are D: logit(prior) + logit(a) - logit(whole)."""

    def at(x: float, y: float) -> float:
        return part_of(part_of(x, y, part), part_of(1 - x, 1 - y, part), prior)

    value = at(a.value, b.value)
    if not (a.inside and b.inside):
        return _of_ends(value, a, b, at)
    whole = a.value * part + b.value * (1 - part)
    slope = 1 / (whole * (1 - whole))
    by_a = 1 / (a.value * (1 - a.value)) - part * slope
    spread = (
        by_a**2 * a.variance
        + ((1 - part) * slope) ** 2 * b.variance
        + ((a.value - b.value) * slope) ** 2 * part * (1 - part) / total
    )
    return _on_logits(value, spread)


def part_of(hit: float, alarm: float, prior: float) -> float:
    """Return hit prior / (hit prior + alarm (1 - prior)); NaN of nothing."""
    below = hit * prior + alarm * (1 - prior)
    return hit * prior / below if below > 0 else nan


def _of_ends(value: float, a: _Share, b: _Share, of: Callable[[float, float], float]) -> Figure:
    if isnan(value):
        return Figure(nan, nan, nan)
    first, second = fraction(a.count, a.total), fraction(b.count, b.total)
    return Figure(value, of(first.low, second.high), of(first.high, second.low))


def _complement(figure: Figure) -> Figure:
    return Figure(1 - figure.value, 1 - figure.high, 1 - figure.low)


def _bayes(hit: Figure, alarm: Figure, prior: float, hits: int, alarms: int) -> Figure:
    """Return hit prior / (hit prior + alarm (1 - prior)) with its interval."""

    def value(h: float, a: float) -> float:
        return part_of(h, a, prior)

    own = value(hit.value, alarm.value)
    if isnan(own):
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
