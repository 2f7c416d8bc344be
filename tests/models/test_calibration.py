"""Calibration: p-values and surprise say no more than the normal scans carry."""

from __future__ import annotations

import numpy as np

from models.calibration import Surprise, conformal_p_value, standardised


def test_a_p_value_is_never_under_one_in_n_plus_one() -> None:
    """However far a score lies, 19 subjects cannot carry less than 0.05."""
    calibration = np.linspace(0, 1, 19).tolist()

    assert conformal_p_value(1e9, calibration) == 1 / 20
    assert conformal_p_value(-1e9, calibration) == 1.0
    assert conformal_p_value(calibration[-1], calibration) == 2 / 20


def test_p_values_of_exchangeable_scores_are_at_most_as_small_as_they_claim() -> None:
    """Of scores drawn as the calibration was, at most a fraction a has p <= a."""
    generator = np.random.default_rng(0)
    p_values = [
        conformal_p_value(float(scores[-1]), scores[:-1].tolist())
        for scores in generator.normal(size=(2000, 20))
    ]

    for level in (0.05, 0.1, 0.25, 0.5):
        assert np.mean(np.array(p_values) <= level) < level + 0.02


def test_a_standardised_score_is_zero_at_the_median_and_keeps_order() -> None:
    """Levels of different units become comparable without changing which scan is farther."""
    calibration = [1.0, 2.0, 3.0, 4.0, 100.0]

    assert standardised(3.0, calibration) == 0.0
    assert standardised(4.0, calibration) > 0 > standardised(2.0, calibration)


def test_surprise_is_the_tail_of_the_normal_distances_in_decades() -> None:
    """A distance that 1 normal voxel in 1,000 reaches has surprise 3; subjects weigh the same."""
    many = np.linspace(0, 1, 100_000, dtype=np.float32)
    few = np.linspace(0, 1, 1_000, dtype=np.float32)
    surprise = Surprise.fit([many, few])

    decades = surprise(np.array([0.0, 0.9, 0.99, 0.999, 5.0], np.float32))

    assert np.allclose(decades[:4], [0, 1, 2, 3], atol=0.1)
    assert np.all(np.diff(surprise.distances) >= 0)


def test_what_is_stranger_than_all_normal_voxels_still_ranks() -> None:
    """Beyond the reference the value rises with the distance, with a limit, and never falls."""
    generator = np.random.default_rng(0)
    surprise = Surprise.fit([generator.random(20000).astype(np.float32)])

    far = surprise(np.array([1.0, 1.5, 2.0, 1e9], np.float32))

    assert (np.diff(far) > 0).any()
    assert (np.diff(far) >= 0).all()
    assert np.isfinite(far).all()
    assert far[-1] <= surprise.decades[-1] + 16
