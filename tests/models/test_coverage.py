"""The realised rate of one calibration: the Beta law, beside simulation and published numbers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from models.calibration import Calibration
from models.evaluation.coverage import combined, coverage, plausible, repeated


@pytest.mark.parametrize(("size", "slack"), [(22, 0.1), (102, 0.05), (2491, 0.01), (9812, 0.005)])
def test_so_many_scans_keep_the_rate_within_the_published_slack(size: int, slack: float) -> None:
    """Table 1 of Angelopoulos and Bates 2021: n at which 90 % of calibrations are within it."""
    known = coverage(size, 0.1)
    law = stats.beta(known.rank, size + 1 - known.rank)
    assert law.cdf(0.1 + slack) - law.cdf(0.1 - slack) > 0.899


@pytest.mark.parametrize(("size", "rate"), [(19, 0.05), (57, 0.05), (99, 0.1), (40, 0.33)])
def test_simulated_calibrations_have_the_rates_that_the_law_says(size: int, rate: float) -> None:
    """Of 4000 calibrations drawn from uniform scores, 95 % have a rate within the interval."""
    known = coverage(size, rate)
    drawn = np.sort(np.random.default_rng(7).random((4000, size)), axis=1)
    realised = 1.0 - drawn[:, size - known.rank]
    assert realised.mean() == pytest.approx(known.expected, abs=0.003)
    low, high = np.quantile(realised, (0.025, 0.975))
    assert (low, high) == pytest.approx((known.low, known.high), abs=0.01)


def test_so_few_scans_that_nothing_can_be_held_have_a_rate_of_zero() -> None:
    """At 5 % 18 scans hold nothing, 19 hold what scores above all of them."""
    assert coverage(18, 0.05).rank == 0
    assert (coverage(18, 0.05).low, coverage(18, 0.05).high) == (0.0, 0.0)
    assert coverage(19, 0.05).rank == 1
    assert plausible(coverage(18, 0.05), 100) == (0, 0)


@pytest.mark.parametrize(("size", "rate"), [(-1, 0.05), (10, 0.0), (10, 1.0)])
def test_a_rate_that_is_none_is_refused(size: int, rate: float) -> None:
    """A rate lies between 0 and 1, a size is not negative."""
    with pytest.raises(ValueError, match="between 0 and 1"):
        coverage(size, rate)


def test_random_calibrations_of_like_scans_hold_what_is_plausible() -> None:
    """With one level, whose order is all that counts, 95 % of splits are inside the interval."""
    scores = np.random.default_rng(3).standard_normal((120, 1))
    groups = [str(index) for index in range(120)]
    found = repeated(scores, groups, 60, 0.1, 1500)
    assert found.inside >= 0.94
    assert found.rates.mean() == pytest.approx(found.known.expected, abs=0.01)


def test_scans_of_few_people_spread_wider_than_the_law_says() -> None:
    """Ten scans each of twelve people are not 120 scans: the interval is missed too often."""
    generator = np.random.default_rng(5)
    people = np.repeat(generator.standard_normal(12), 10)
    scores = (people + 0.1 * generator.standard_normal(120))[:, None]
    groups = [str(index // 10) for index in range(120)]
    assert repeated(scores, groups, 6, 0.3, 600).inside < 0.9


def test_the_deciding_score_is_that_of_the_calibration() -> None:
    """What splits decide by is what `Calibration.combined` gives."""
    reference = np.random.default_rng(1).random((30, 2))
    known = Calibration(
        {"a": tuple(reference[:, 0]), "b": tuple(reference[:, 1])}, "", 3.0, ("a", "b")
    )
    scan = np.array([[0.9, 0.2]])
    assert combined(scan, reference)[0] == pytest.approx(known.combined({"a": 0.9, "b": 0.2}))
