"""Two-by-two tables: equal to statsmodels and scikit-learn, and to published worked examples."""

from __future__ import annotations

import importlib
from math import exp, inf, log
from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from models.evaluation.diagnosis import (
    Table,
    Verified,
    corrected,
    corrected_predictive_values,
    counted,
    likelihood_ratios,
    predictive_values,
)
from models.evaluation.patients import Z95


def _statsmodels(name: str) -> Any:
    pytest.importorskip("statsmodels")
    return importlib.import_module(f"statsmodels.stats.{name}")


def test_sensitivity_and_specificity_equal_scikit_learn_with_exact_intervals() -> None:
    """Values equal scikit-learn's recall of each side, intervals statsmodels' `beta` method."""
    generator = np.random.default_rng(0)
    truth = generator.uniform(size=80) < 0.4
    flagged = generator.uniform(size=80) < np.where(truth, 0.8, 0.3)
    found = counted(flagged, truth)
    assert found.sensitivity.value == pytest.approx(metrics.recall_score(truth, flagged))
    assert found.specificity.value == pytest.approx(metrics.recall_score(~truth, ~flagged))
    assert found.accuracy.value == pytest.approx(metrics.accuracy_score(truth, flagged))
    ends = _statsmodels("proportion").proportion_confint(
        found.tp, found.tp + found.fn, method="beta"
    )
    assert (found.sensitivity.low, found.sensitivity.high) == pytest.approx(ends)


def test_a_positive_mammogram_means_less_than_most_think() -> None:
    """Eddy 1982 (Judgment under Uncertainty, ch. 18): 79.2 %, 9.6 %, 1 % give 7.7 %."""
    table = Table(tp=792, fn=208, fp=96, tn=904)
    found = predictive_values(table, 0.01)
    assert found.positive.value == pytest.approx(0.077, abs=5e-4)
    assert predictive_values(table, 0.5).positive.value == pytest.approx(0.792 / (0.792 + 0.096))


def test_predictive_values_at_the_sets_own_prevalence_are_its_own() -> None:
    """At the prevalence of the set, Bayes gives TP / (TP + FP) and TN / (TN + FN)."""
    table = Table(tp=30, fn=10, fp=5, tn=55)
    found = predictive_values(table, table.prevalence)
    assert found.positive.value == pytest.approx(30 / 35)
    assert found.negative.value == pytest.approx(55 / 65)


def test_predictive_intervals_equal_the_delta_method_by_differences() -> None:
    """Mercaldo's logit variance equals one from numerical derivatives in s and c."""
    table, p, step = Table(tp=30, fn=10, fp=5, tn=55), 0.1, 1e-6
    s, c = 0.75, 55 / 60

    def logit(s: float, c: float) -> float:
        return log(s * p / ((1 - c) * (1 - p)))

    by_s = (logit(s + step, c) - logit(s - step, c)) / (2 * step)
    by_c = (logit(s, c + step) - logit(s, c - step)) / (2 * step)
    half = Z95 * (by_s**2 * s * (1 - s) / 40 + by_c**2 * c * (1 - c) / 60) ** 0.5
    found = predictive_values(table, p).positive
    for end, sign in ((found.low, -1), (found.high, 1)):
        assert end == pytest.approx(1 / (1 + exp(-logit(s, c) - sign * half)), abs=1e-6)


def test_a_faultless_test_still_has_intervals() -> None:
    """No error in ten and ten: PPV and NPV are 1 and their intervals are not points."""
    found = predictive_values(Table(tp=10, fn=0, fp=0, tn=10), 0.1)
    assert (found.positive.value, found.positive.high) == (1.0, 1.0)
    assert found.positive.low < 0.5
    assert found.negative.low < 1.0
    nobody = predictive_values(Table(tp=0, fn=4, fp=0, tn=6), 0.1)
    assert np.isnan(nobody.positive.value)
    assert nobody.negative.value == pytest.approx(0.9)


def test_likelihood_ratios_equal_statsmodels_risk_ratios() -> None:
    """LR+ is the risk ratio of being flagged, LR- that of being passed, intervals too."""
    table = Table(tp=30, fn=10, fp=5, tn=55)
    found = likelihood_ratios(table)
    module = _statsmodels("contingency_tables")
    for figure, cells in (
        (found.positive, [[30, 10], [5, 55]]),
        (found.negative, [[10, 30], [55, 5]]),
    ):
        expected = module.Table2x2(np.array(cells))
        assert figure.value == pytest.approx(expected.riskratio)
        assert (figure.low, figure.high) == pytest.approx(expected.riskratio_confint())
    assert likelihood_ratios(Table(tp=3, fn=1, fp=0, tn=4)).positive.value == inf


def test_unchecked_patients_are_corrected_for_as_published() -> None:
    """Liver scans (Drum 1972, in Begg and Greenes 1983): 0.90 and 0.63 become 0.84 and 0.74."""
    checked = Table(tp=231, fp=32, fn=27, tn=54)
    assert checked.sensitivity.value == pytest.approx(0.895, abs=5e-4)
    assert checked.specificity.value == pytest.approx(0.628, abs=5e-4)
    found = corrected(Verified(flagged=429, passed=221, checked=checked))
    assert found.sensitivity.value == pytest.approx(0.836, abs=6e-4)
    assert found.specificity.value == pytest.approx(0.738, abs=6e-4)
    assert found.sensitivity.low < 0.836 < found.sensitivity.high


def test_corrected_predictive_values_are_the_checked_ones_at_home() -> None:
    """At the corrected prevalence PPV is 231 of 263, and elsewhere Bayes of the corrected ones."""
    found = Verified(429, 221, Table(tp=231, fp=32, fn=27, tn=54))
    home = 231 / 263 * 429 / 650 + 27 / 81 * 221 / 650
    own = corrected_predictive_values(found, home)
    assert own.positive.value == pytest.approx(231 / 263)
    assert own.negative.value == pytest.approx(54 / 81)
    both = corrected(found)
    s, c = both.sensitivity.value, both.specificity.value
    rare = corrected_predictive_values(found, 0.05).positive
    assert rare.value == pytest.approx(s * 0.05 / (s * 0.05 + (1 - c) * 0.95))


def test_a_corrected_interval_covers_as_often_as_it_says() -> None:
    """Of 400 simulated reviews of half the held and a tenth of the passed, 95 % hold the truth."""
    generator = np.random.default_rng(0)
    s, c, part, at = 0.8, 0.85, 0.3, 0.1
    truth = s * at / (s * at + (1 - c) * (1 - at))
    inside = 0
    for _ in range(400):
        ill = generator.uniform(size=2000) < part
        held = generator.uniform(size=2000) < np.where(ill, s, 1 - c)
        seen = generator.uniform(size=2000) < np.where(held, 0.5, 0.1)
        found = Verified(int(held.sum()), int((~held).sum()), counted(held[seen], ill[seen]))
        inside_one = corrected_predictive_values(found, at).positive
        inside += inside_one.low <= truth <= inside_one.high
    assert 0.92 <= inside / 400 <= 0.98


def test_none_missed_of_a_few_checked_is_not_certainty() -> None:
    """None of 24 passed patients is abnormal: sensitivity 1, but down to what 24 can exclude."""
    found = Verified(200, 100, Table(tp=30, fp=12, fn=0, tn=24))
    both = corrected(found)
    assert (both.sensitivity.value, both.sensitivity.high) == (1.0, 1.0)
    assert 0.8 < both.sensitivity.low < 0.95
    own = corrected_predictive_values(found, 0.1)
    assert own.positive.low < own.positive.value < own.positive.high < 1.0
    assert own.negative.low < own.negative.value == 1.0


def test_when_all_are_checked_nothing_is_corrected() -> None:
    """The correction of a complete table is the table; nobody checked on one side is an error."""
    whole = Table(tp=30, fn=10, fp=5, tn=55)
    found = corrected(Verified(35, 65, whole))
    assert found.sensitivity.value == pytest.approx(whole.sensitivity.value)
    assert found.specificity.value == pytest.approx(whole.specificity.value)
    with pytest.raises(ValueError, match="both answers"):
        corrected(Verified(20, 40, Table(tp=5, fp=2, fn=0, tn=0)))
    with pytest.raises(ValueError, match="more patients"):
        Verified(3, 65, whole)


def test_one_kind_of_patient_is_refused() -> None:
    """Without normal patients there is no specificity; a prevalence of 0 says nothing."""
    with pytest.raises(ValueError, match="both kinds"):
        counted([True, False], [True, True])
    with pytest.raises(ValueError, match="truth"):
        counted([True], [True, False])
    with pytest.raises(ValueError, match="prevalence"):
        predictive_values(Table(1, 1, 1, 1), 0.0)
