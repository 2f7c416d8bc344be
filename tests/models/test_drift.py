"""The test for drift: no more false alarms than stated, and what was put in is found."""

from __future__ import annotations

import math
import random
from bisect import insort

import numpy as np
import pytest
from scipy import stats

from models.drift.clock import ClockState, look
from models.drift.sequential import BETS, Statistic, bets, p_value, threshold
from models.evaluation import drift


def test_every_bet_is_fair_where_p_values_are_uniform() -> None:
    """Its mean over (0, 1) is 1, so that no bet gains without drift."""
    # Over normal scores, since the largest gains are in the outermost tails.
    z = np.linspace(-6.9, 6.9, 2001)
    gains = np.array([bets(float(one)) for one in stats.norm.sf(z)])
    means = np.trapezoid(gains * stats.norm.pdf(z)[:, None], z, axis=0)

    assert means.shape == (len(BETS),)
    assert means == pytest.approx(np.ones(len(BETS)), abs=1e-3)


def test_p_values_are_uniform_whatever_the_population() -> None:
    """Of values with ties too, once ties are broken by chance."""
    chance = random.Random(1)
    for draw in (lambda: chance.gauss(0, 1), lambda: chance.choice([1.0, 2.0]), lambda: 5.0):
        before: list[float] = []
        found: list[float] = []
        for _ in range(2000):
            value = draw()
            found.append(p_value(before, value, chance.random()))
            insort(before, value)
        low, high = np.quantile(found, [0.1, 0.9])
        assert low == pytest.approx(0.1, abs=0.03)
        assert high == pytest.approx(0.9, abs=0.03)


def test_a_higher_value_has_a_smaller_p_value() -> None:
    """And one that is equal to all others lies where its tie says."""
    before = [1.0, 2.0, 3.0, 4.0]

    assert p_value(before, 9.0, 0.5) == pytest.approx(0.1)
    assert p_value(before, 0.0, 0.5) == pytest.approx(0.9)
    assert p_value([2.0] * 9, 2.0, 0.25) == pytest.approx(0.25)


@pytest.mark.parametrize("population", ["normal", "p-values of 19 scans", "one value"])
def test_no_more_streams_alarm_without_drift_than_stated(population: str) -> None:
    """A part of values / run length at most, by the exact interval of those that did."""
    found = drift.false_alarms(population, 200, 300, 1500.0, seed=11)

    assert found.stated == pytest.approx(0.2)
    assert found.realised.low <= found.stated


def test_what_was_put_in_is_found_and_the_larger_the_sooner() -> None:
    """All of a shift by 1 SD, and in half the time one by 2 SD; a header value at once."""
    found = {one.what: one for one in drift.delays(60, 200, 120, seed=5)}

    assert found["score higher by 1 SD"].found.value > 0.9
    assert found["header value changed"].found.value == 1.0
    waits = [found[f"score higher by {size} SD"].median for size in ("1", "1.5", "2", "3")]
    assert waits == sorted(waits, reverse=True)
    assert waits[0] > 2 * waits[2]
    assert found["header value changed"].median < 10


def test_arrays_and_single_values_are_the_same_arithmetic() -> None:
    """The measurement is of what runs at a site."""
    values = np.random.default_rng(3).normal(size=(1, 120))
    values[:, 80:] += 1.5
    on_arrays = drift.p_values(values, 9)
    statistic, before = Statistic(), list[float]()
    ties = np.random.default_rng(9).random(values.shape)[0]
    single: list[float] = []
    levels: list[float] = []
    for number, value in enumerate(values[0].tolist()):
        single.append(p_value(before, value, float(ties[number])))
        if number >= drift.REFERENCE:
            statistic = statistic.after(single[-1], number)
        levels.append(statistic.value)
        insort(before, value)

    assert np.allclose(single, on_arrays[0])
    assert np.allclose(levels, drift.statistics(on_arrays)[0], rtol=1e-6)
    bet, since = statistic.strongest
    assert bet.startswith("higher")
    assert 75 <= since <= 90


def test_a_statistic_is_kept_as_json_and_stays_a_number() -> None:
    """Also after any number of extreme values, and of a version with other bets it begins."""
    statistic = Statistic()
    for number in range(200):
        statistic = statistic.after(1e-9, number)

    assert math.isfinite(statistic.value)
    assert Statistic.of_json(statistic.as_json()) == statistic
    assert Statistic.of_json({"levels": [1.0]}) == Statistic()
    assert Statistic.of_json({}) == Statistic()


def test_shares_of_the_rate_raise_the_threshold() -> None:
    """Half of the rate takes twice the statistic."""
    assert threshold(1000, 0.5) == 2000
    for run_length, share in ((0.5, 1.0), (10, 0.0), (10, 1.5)):
        with pytest.raises(ValueError, match="run length"):
            threshold(run_length, share)


@pytest.mark.parametrize(
    ("reference", "latest", "state"),
    [
        ([60.0] * 5, [60.0] * 5, ClockState.STEADY),
        ([60.0] * 5, [60.0, 60.0, 9000.0, 60.0, 9000.0], ClockState.STEADY),
        ([60.0] * 5, [3660.0] * 5, ClockState.CHANGED),
        ([60.0] * 5, [-3540.0] * 5, ClockState.AHEAD),
        ([], [-3540.0] * 5, ClockState.AHEAD),
        ([60.0] * 5, [60.0] * 4, ClockState.UNKNOWN),
    ],
)
def test_a_clock_is_judged_by_the_median_of_its_lags(
    reference: list[float], latest: list[float], state: ClockState
) -> None:
    """Images that came late, fewer than half, change nothing; those of the future tell."""
    assert look(reference, latest, limit=600.0, fewest=5).state is state
