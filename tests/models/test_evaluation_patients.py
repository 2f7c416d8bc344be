"""Study-level measures and comparisons: equal to the libraries and to cases by hand."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from sklearn import metrics

from models.evaluation import intervals
from models.evaluation.comparison import delong_test, paired_bootstrap, paired_means
from models.evaluation.patients import (
    ALL,
    average_precision,
    by_category,
    cluster_auroc,
    delong_auroc,
    operating_point,
    wilson_auroc,
)


def _sides(seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    generator = np.random.default_rng(seed)
    return np.round(generator.normal(0, 1, 31), 1), np.round(generator.normal(1, 1, 24), 1)


def _delong(*, seed: int) -> tuple[Any, tuple[Any, ...], tuple[Any, ...]]:
    normal, abnormal = _sides(seed)
    generator = np.random.default_rng(seed + 50)
    other_normal = np.round(normal + generator.normal(0, 1, len(normal)), 1)
    other_abnormal = np.round(abnormal + generator.normal(0, 1, len(abnormal)), 1)
    module: Any = importlib.import_module("MLstatkit")
    answer = module.Delong_test(
        np.r_[np.zeros(len(normal)), np.ones(len(abnormal))],
        np.r_[normal, abnormal],
        np.r_[other_normal, other_abnormal],
    )
    return answer, (normal, other_normal), (abnormal, other_abnormal)


def test_delong_equals_mlstatkit_with_ties() -> None:
    """AUROC, interval, z and p of two detectors equal MLstatkit's."""
    pytest.importorskip("MLstatkit")
    (z, p, first, second, *areas), normal, abnormal = _delong(seed=3)
    for index, interval in enumerate((first, second)):
        found = delong_auroc(normal[index], abnormal[index])
        assert (found.low, found.high) == pytest.approx(interval, abs=1e-9)
        assert found.value == pytest.approx(areas[index], abs=1e-12)
    compared = delong_test((normal[0], normal[1]), (abnormal[0], abnormal[1]))
    assert compared.p_value == pytest.approx(p, abs=1e-9)
    assert np.sign(compared.difference.value) == -np.sign(z)


def test_auroc_and_ap_equal_scikit_learn() -> None:
    """The study AUROC and AUPRC equal scikit-learn's, ties included."""
    normal, abnormal = _sides()
    truth = np.r_[np.zeros(len(normal)), np.ones(len(abnormal))]
    scores = np.r_[normal, abnormal]
    assert intervals.area(normal, abnormal) == pytest.approx(metrics.roc_auc_score(truth, scores))
    assert average_precision(normal, abnormal, resamples=20).value == pytest.approx(
        metrics.average_precision_score(truth, scores)
    )


def test_perfect_separation_still_has_an_interval() -> None:
    """Five against five apart: DeLong's variance is zero, the interval is not."""
    found = delong_auroc([0, 1, 2, 3, 4], [5, 6, 7, 8, 9])
    assert found.value == 1.0
    assert 0.5 < found.low < 0.8
    assert found.high == 1.0
    mirrored = wilson_auroc(0.0, 5, 5)
    assert mirrored.high == pytest.approx(1 - found.low)


def test_refused_scores_may_be_infinite_but_never_nan() -> None:
    """Infinite scores are in order; NaN is an error."""
    assert intervals.area(np.array([0.0, 1.0]), np.array([np.inf])) == 1.0
    with pytest.raises(ValueError, match="defined"):
        delong_auroc([0.0, float("nan")], [1.0])


def test_operating_points_by_hand() -> None:
    """Twenty normal scores 1 to 20: 5 % flags one, 10 % two; sensitivity is exact binomial."""
    normal = list(range(1, 21))
    point = operating_point(normal, [19.5, 20.5, 3, 21], 0.05)
    assert (point.threshold, point.fpr.value) == (19, 0.05)
    assert point.sensitivity.value == 0.75
    exact = stats.binomtest(3, 4).proportion_ci(method="exact")
    assert (point.sensitivity.low, point.sensitivity.high) == (exact.low, exact.high)
    assert operating_point(normal, [5], 0.10).threshold == 18
    assert operating_point(normal[:9], [9.5], 0.05).threshold == 9


def test_categories_come_after_all_together() -> None:
    """The first group is every abnormal patient, then each category by name."""
    found = by_category([0, 1, 2], {"noise": [3, 4], "blur": [1, 5]}, resamples=20)
    assert [group.category for group in found] == [ALL, "blur", "noise"]
    assert [group.patients for group in found] == [4, 2, 2]
    assert found[2].auroc.value == 1.0


def test_cluster_bootstrap_is_wider_than_slices_pretend() -> None:
    """Slices that repeat their patient's score have the interval of patients, not of slices."""
    generator = np.random.default_rng(0)
    base = generator.normal(size=12)
    truth = np.tile([False, True], 6)
    scores = np.repeat(base + truth, 30)
    owners = [f"p{index}" for index in np.repeat(np.arange(12), 30)]
    found = cluster_auroc(scores, np.repeat(truth, 30), owners, seed=2, resamples=300)
    assert found.value == pytest.approx(metrics.roc_auc_score(np.repeat(truth, 30), scores))
    naive = cluster_auroc(
        scores, np.repeat(truth, 30), [str(index) for index in range(360)], seed=2, resamples=300
    )
    assert found.high - found.low > 2 * (naive.high - naive.low)
    assert found == cluster_auroc(scores, np.repeat(truth, 30), owners, seed=2, resamples=300)


def test_a_detector_is_no_better_than_itself() -> None:
    """Compared with itself: no difference, p = 1 by both tests."""
    normal, abnormal = _sides()
    for found in (
        delong_test((normal, normal), (abnormal, abnormal)),
        paired_bootstrap((normal, normal), (abnormal, abnormal), resamples=50),
    ):
        assert (found.difference.value, found.p_value) == (0.0, 1.0)


def test_paired_comparisons_see_a_clear_difference() -> None:
    """A detector that knows beats one that does not; unequal patients are refused."""
    normal, abnormal = _sides(7)
    noise = np.random.default_rng(1).normal(size=(2, 40))
    pairs = ((normal - 2, noise[0, :31]), (abnormal + 2, noise[1, :24]))
    assert delong_test(*pairs).p_value < 1e-3
    assert paired_bootstrap(*pairs, resamples=400).p_value < 0.02
    with pytest.raises(ValueError, match="same patients"):
        delong_test((normal, normal[1:]), (abnormal, abnormal))


def test_paired_means_use_the_patients_that_both_have() -> None:
    """Patients with NaN or without a partner are left out; one pair is none."""
    first = {"a": 0.5, "b": 0.7, "c": float("nan"), "d": 0.1}
    second = {"a": 0.4, "b": 0.5, "c": 0.2}
    found = paired_means(first, second, resamples=50)
    assert found is not None
    assert found.patients == 2
    assert found.difference.value == pytest.approx(0.15)
    assert found.p_value == 0.5  # of the four sign flips, two are as far from 0
    assert paired_means({"a": 1.0}, second) is None


_SIDE = st.lists(st.integers(-20, 20).map(float), min_size=2, max_size=15)


@settings(max_examples=60, deadline=None)
@given(_SIDE, _SIDE)
def test_swapping_the_sides_mirrors_area_and_interval(
    normal: list[float], abnormal: list[float]
) -> None:
    """With normal and abnormal swapped, AUROC and DeLong's interval are mirrored at one half."""
    forth, back = delong_auroc(normal, abnormal), delong_auroc(abnormal, normal)
    assert forth.value == pytest.approx(1 - back.value, abs=1e-9)
    assert forth.low == pytest.approx(1 - back.high, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(_SIDE, _SIDE)
def test_monotone_scores_change_no_study_measure(
    normal: list[float], abnormal: list[float]
) -> None:
    """exp of every score leaves AUROC, AUPRC and sensitivities as they are."""

    def grown(values: list[float]) -> list[float]:
        return [float(np.exp(value / 4)) for value in values]

    before = by_category(normal, {"x": abnormal}, resamples=5)[0]
    after = by_category(grown(normal), {"x": grown(abnormal)}, resamples=5)[0]
    assert before.auroc == after.auroc
    assert before.ap.value == after.ap.value
    assert np.isnan(before.ap.low) or before.ap == after.ap
    assert [point.sensitivity for point in before.points] == [
        point.sensitivity for point in after.points
    ]
