"""Reliability: equal to the libraries, exact on the grid of conformal p-values."""

from __future__ import annotations

import importlib
from typing import Any, cast

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from models.evaluation.reliability import (
    brier,
    brier_parts,
    expected_calibration_error,
    false_hold_rates,
    reliability_curve,
    uniformity,
)


def test_calibration_error_equals_torchmetrics() -> None:
    """The expected calibration error equals torchmetrics' over 15 bins, on bin edges too."""
    torch: Any = pytest.importorskip("torch")
    calibration: Any = importlib.import_module("torchmetrics.functional.classification")
    generator = np.random.default_rng(0)
    stated = np.r_[generator.uniform(size=300), 0.0, 1.0]
    truth = generator.uniform(size=302) < stated**1.5
    expected = calibration.binary_calibration_error(
        torch.from_numpy(stated), torch.from_numpy(truth.astype(np.int64)), n_bins=15
    )
    found = expected_calibration_error(stated, truth)
    assert found == pytest.approx(float(expected), abs=1e-6)
    assert brier(stated, truth) == pytest.approx(metrics.brier_score_loss(truth, stated))


@pytest.mark.parametrize("bins", [1, 5, 15])
def test_the_parts_of_a_brier_score_add_up(bins: int) -> None:
    """Reliability - resolution + uncertainty + within is scikit-learn's score."""
    generator = np.random.default_rng(5)
    stated = generator.uniform(size=200)
    truth = generator.uniform(size=200) < stated**2
    found = brier_parts(stated, truth, bins)
    parts = found.reliability - found.resolution + found.uncertainty + found.within
    assert parts == pytest.approx(metrics.brier_score_loss(truth, stated), abs=1e-12)
    assert found.score == pytest.approx(parts)


def test_murphys_parts_by_hand() -> None:
    """Ten say 0.2, two come true; ten say 0.8, six do: 0.02 - 0.04 + 0.24 + 0 = 0.22."""
    stated = [0.2] * 10 + [0.8] * 10
    truth = [True] * 2 + [False] * 8 + [True] * 6 + [False] * 4
    found = brier_parts(stated, truth, bins=10)
    assert (found.reliability, found.resolution) == pytest.approx((0.02, 0.04))
    assert (found.uncertainty, found.within) == pytest.approx((0.24, 0.0))
    assert found.score == pytest.approx(0.22)
    assert found.skill == pytest.approx(1 - 0.22 / 0.24)
    assert np.isnan(brier_parts([0.5, 0.5], [True, True]).skill)


def test_a_reliability_curve_counts_every_case_once() -> None:
    """Empty bins are left out, 1 is in the last bin, and counts add up."""
    curve = reliability_curve([0.0, 0.01, 0.5, 1.0], [False, True, True, True], bins=10)
    assert [(group.low, group.count) for group in curve] == [(0.0, 2), (0.5, 1), (0.9, 1)]
    assert curve[0].observed.value == 0.5
    with pytest.raises(ValueError, match="probability"):
        reliability_curve([1.2], [True])


def test_false_holds_are_counted_on_the_grid_of_the_p_values() -> None:
    """Of 19 calibration patients, 5 % is attainable and 1 % is not; the interval is exact."""
    p_values = [k / 20 for k in range(1, 21)]
    found = {hold.nominal: hold for hold in false_hold_rates(p_values, 19)}
    assert [found[rate].held for rate in (0.01, 0.05, 0.10, 0.20)] == [0, 1, 2, 4]
    assert found[0.01].attainable == 0.0
    assert found[0.05].attainable == pytest.approx(0.05)
    assert all(hold.nominal_inside and not hold.exceeds for hold in found.values())
    broken = false_hold_rates([0.01] * 10 + [0.5] * 10, 99, nominal=(0.05,))[0]
    assert broken.exceeds
    assert not broken.nominal_inside


def test_uniformity_equals_scipy_and_tells_the_direction() -> None:
    """Continuous p-values: scipy's test. Too small ones alarm one-sided, too large ones do not."""
    values = np.random.default_rng(4).uniform(size=40)
    found = uniformity(values)
    expected = cast("Any", stats.ks_1samp(values, stats.uniform.cdf, method="exact"))
    assert found.distance == pytest.approx(expected.statistic)
    assert found.p_value == pytest.approx(expected.pvalue, abs=1e-6)
    assert uniformity(values**4).too_small_p_value < 1e-3
    large = uniformity(values**0.2)
    assert large.p_value < 1e-3
    assert large.too_small_p_value > 0.5


def test_p_values_exactly_uniform_on_their_grid_have_no_distance() -> None:
    """Every p-value k / (n + 1) once is as uniform as conformal p-values get."""
    found = uniformity([k / 60 for k in range(1, 61)], calibration_size=59)
    assert found.distance == pytest.approx(0, abs=1e-12)
    assert found.p_value == 1.0
