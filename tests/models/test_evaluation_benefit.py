"""Decision curves, reclassification, several classes, rank correlation: worked examples."""

from __future__ import annotations

import importlib
import importlib.resources
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from models.evaluation.association import spearman
from models.evaluation.benefit import decision_curve, discrimination, reclassification
from models.evaluation.classes import decided, f1, one_against_rest


def test_net_benefit_of_ten_patients_by_hand() -> None:
    """Four of ten abnormal; at 25 %: 3 true, 2 false positives give 3/10 - 2/10 / 3."""
    stated = [0.9, 0.8, 0.3, 0.1, 0.6, 0.25, 0.2, 0.1, 0.05, 0.0]
    truth = [True] * 4 + [False] * 6
    point, high = decision_curve(stated, truth, (0.25, 0.75))
    assert point.model == pytest.approx(3 / 10 - (2 / 10) * (0.25 / 0.75))
    assert point.all == pytest.approx(4 / 10 - (6 / 10) * (0.25 / 0.75))
    assert point.none == 0.0
    assert high.model == pytest.approx(2 / 10)
    assert high.all == pytest.approx(0.4 - 0.6 * 3)


def test_net_benefit_at_another_prevalence_weighs_the_sides_anew() -> None:
    """With the set's own prevalence given, nothing changes; at a lower one benefit falls."""
    stated, truth = [0.9, 0.2, 0.6, 0.1], [True, True, False, False]
    own = decision_curve(stated, truth, (0.3,))[0]
    assert decision_curve(stated, truth, (0.3,), prevalence=0.5)[0] == own
    rare = decision_curve(stated, truth, (0.3,), prevalence=0.1)[0]
    assert rare.model == pytest.approx(0.5 * 0.1 - 0.5 * 0.9 * 3 / 7)
    with pytest.raises(ValueError, match="threshold"):
        decision_curve(stated, truth, (1.0,))


def test_a_decision_curve_equals_dcurves() -> None:
    """Net benefit of model and of all equals dcurves' on its cohort, prevalence stated or not."""
    pytest.importorskip("dcurves")
    pandas: Any = importlib.import_module("pandas")
    dcurves: Any = importlib.import_module("dcurves")
    cohort = pandas.read_csv(importlib.resources.files("dcurves") / "data/df_binary.csv")
    thresholds = [0.05, 0.1, 0.2, 0.35]
    truth = cohort["cancer"].to_numpy(dtype=bool)
    stated = cohort["cancerpredmarker"].to_numpy(dtype=float)
    for prevalence in (None, 0.05):
        expected = dcurves.dca(
            data=cohort,
            outcome="cancer",
            modelnames=["cancerpredmarker"],
            thresholds=thresholds,
            **({} if prevalence is None else {"prevalence": prevalence}),
        ).set_index(["model", "threshold"])["net_benefit"]
        for point in decision_curve(stated, truth, thresholds, prevalence):
            own = expected["cancerpredmarker"][point.threshold]
            assert point.model == pytest.approx(own, abs=1e-9)
            assert point.all == pytest.approx(expected["all"][point.threshold], abs=1e-9)


def test_reclassification_and_discrimination_equal_statsmodels() -> None:
    """The z of moved events is McNemar's, the z of the IDI that of unequal variances."""
    pytest.importorskip("statsmodels")
    tables: Any = importlib.import_module("statsmodels.stats.contingency_tables")
    weights: Any = importlib.import_module("statsmodels.stats.weightstats")
    generator = np.random.default_rng(4)
    truth = generator.uniform(size=120) < 0.4
    old = generator.uniform(size=120)
    new = np.clip(old + generator.normal(0.1, 0.2, 120) * np.where(truth, 1, -1), 0, 1)
    cut = (0.3,)
    moved = reclassification(old, new, truth, cut)
    up, down = (int((truth & a & ~b).sum()) for a, b in ((new >= 0.3, old >= 0.3),
                                                       (old >= 0.3, new >= 0.3)))  # fmt: skip
    assert moved.events == pytest.approx((up - down) / truth.sum())
    mcnemar = tables.mcnemar([[0, up], [down, 0]], exact=False, correction=False)
    only_events = moved.events / np.sqrt((up + down) / truth.sum() ** 2)
    assert only_events**2 == pytest.approx(mcnemar.statistic)
    improved = discrimination(old, new, truth)
    change = new - old
    expected = weights.CompareMeans.from_data(change[truth], change[~truth]).ztest_ind(
        usevar="unequal"
    )
    assert (improved.z, improved.p_value) == pytest.approx(expected)


def test_decisions_over_classes_equal_scikit_learn() -> None:
    """Macro and micro sensitivity and precision equal scikit-learn's, specificity torchmetrics'."""
    torch: Any = pytest.importorskip("torch")
    library: Any = importlib.import_module("torchmetrics.functional.classification")
    generator = np.random.default_rng(2)
    names = ("a", "b", "c")
    codes, said = generator.choice(3, 90, p=(0.6, 0.3, 0.1)), generator.choice(3, 90)
    truth, decisions = [names[one] for one in codes], [names[one] for one in said]
    found = decided(decisions, truth, names)
    for average in ("macro", "micro"):
        for own, other in (
            (found.sensitivity, metrics.recall_score),
            (found.precision, metrics.precision_score),
        ):
            assert getattr(own, average) == pytest.approx(other(truth, decisions, average=average))
        specificity = library.multiclass_specificity(
            torch.from_numpy(said), torch.from_numpy(codes), num_classes=3, average=average
        )
        assert getattr(found.specificity, average) == pytest.approx(float(specificity), abs=1e-6)
    with pytest.raises(ValueError, match="every class"):
        decided(["a", "b"], ["a", "b"], names)


def test_reclassification_equals_the_published_example() -> None:
    """Pencina 2008: of 183 events 29 up and 7 down, of 3,081 others 173 up, 174 down: 0.121."""
    events = [(0.0, 0.3)] * 29 + [(0.3, 0.0)] * 7 + [(0.1, 0.1)] * (183 - 36)
    others = [(0.0, 0.3)] * 173 + [(0.3, 0.0)] * 174 + [(0.1, 0.1)] * (3081 - 347)
    old, new = zip(*(events + others), strict=True)
    truth = [True] * 183 + [False] * 3081
    found = reclassification(old, new, truth, cuts=(0.06, 0.20))
    assert found.total.value == pytest.approx(0.121, abs=5e-4)
    assert found.z == pytest.approx(3.616, abs=5e-4)
    assert found.p_value < 0.001
    assert found.events == pytest.approx(22 / 183)


def test_categories_hide_what_the_continuous_index_counts() -> None:
    """A change within a category counts only where there are none; equal stays equal."""
    old, new = [0.10, 0.30, 0.15, 0.40], [0.15, 0.30, 0.10, 0.35]
    truth = [True, True, False, False]
    assert reclassification(old, new, truth, cuts=(0.2,)).total.value == 0.0
    found = reclassification(old, new, truth)
    assert (found.events, found.nonevents) == (0.5, 1.0)
    assert found.total.value == 1.5


def test_integrated_discrimination_by_hand() -> None:
    """Slopes 0.35 - 0.25 and 0.5 - 0.2: the improvement is 0.2, its z from the changes."""
    old, new = [0.3, 0.4, 0.2, 0.3], [0.4, 0.6, 0.2, 0.2]
    found = discrimination(old, new, [True, True, False, False])
    assert found.total.value == pytest.approx((0.5 - 0.2) - (0.35 - 0.25))
    assert (found.events, found.nonevents) == pytest.approx((0.15, 0.05))
    # Changes 0.1, 0.2 and 0, 0.1: variance 0.005 each, over two patients each.
    assert found.z == pytest.approx(0.2 / np.sqrt(0.005 / 2 + 0.005 / 2))


def test_averages_over_classes_equal_scikit_learn() -> None:
    """Macro and micro AUROC and F1 of three classes equal scikit-learn's."""
    generator = np.random.default_rng(0)
    names = ("a", "b", "c")
    truth = [names[index] for index in generator.choice(3, 60, p=(0.6, 0.3, 0.1))]
    member = np.asarray(truth)[:, None] == np.asarray(names)
    values = np.round(generator.normal(size=(60, 3)) + member, 1)
    found = one_against_rest(values, truth, names)
    assert found.macro == pytest.approx(metrics.roc_auc_score(member, values, average="macro"))
    assert found.micro == pytest.approx(metrics.roc_auc_score(member, values, average="micro"))
    decided = [names[index] for index in values.argmax(axis=1)]
    scores = f1(decided, truth, names)
    assert scores.macro == pytest.approx(metrics.f1_score(truth, decided, average="macro"))
    assert scores.micro == pytest.approx(metrics.f1_score(truth, decided, average="micro"))
    assert scores.classes["b"] == pytest.approx(
        metrics.f1_score(np.equal(truth, "b"), np.equal(decided, "b"))
    )


def test_rank_correlation_is_exact_for_few_patients() -> None:
    """Five patients in order: rho 1, and 2 of 120 orders are as far from 0."""
    found = spearman([1, 2, 3, 4, 5], [10, 20, 30, 40, 50])
    assert found.exact
    assert found.rho.value == pytest.approx(1.0)
    assert found.p_value == pytest.approx(2 / 120)
    assert np.isnan(found.rho.low)


def test_rank_correlation_equals_scipy_with_ties() -> None:
    """rho equals scipy's with ties, p is near the approximate one, and a seed repeats it."""
    generator = np.random.default_rng(3)
    first = np.round(generator.normal(size=41), 1)
    second = np.round(generator.normal(size=41) - 0.3 * first, 1)
    found = spearman(list(first), list(second), seed=1)
    expected: Any = stats.spearmanr(first, second)
    assert found.rho.value == pytest.approx(expected.statistic)
    assert found.p_value == pytest.approx(expected.pvalue, abs=0.02)
    assert found.rho.low < found.rho.value < found.rho.high
    assert spearman(list(first), list(second), seed=1) == found
    with pytest.raises(ValueError, match="constant"):
        spearman([1, 1, 1], [1, 2, 3])
