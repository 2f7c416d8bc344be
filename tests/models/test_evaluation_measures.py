"""Voxel measures: equal to the libraries, to cases worked by hand, and bounded in memory."""

from __future__ import annotations

import importlib
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from sklearn import metrics

from models.evaluation import measures
from models.evaluation.measures import (
    Confusion,
    Tally,
    confusion,
    measured,
    merged,
    partial_auc_of_mcclish,
    tally,
)
from models.evaluation.pooling import ap_difference, pooled


def _scan(
    seed: int, decimals: int = 2, shape: tuple[int, int, int] = (3, 24, 24)
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    generator = np.random.default_rng(seed)
    lesion = np.zeros(shape, dtype=np.bool_)
    lesion[0, 3:9, 4:9] = lesion[-1, 15:18, 15:22] = True
    scores = generator.normal(size=shape) + 1.2 * lesion
    return np.round(scores, decimals).astype(np.float32), lesion


def _exact(decimals: int = 2) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Scores that the tally does not round, many of them tied."""
    scores, lesion = _scan(0, decimals)
    return np.round(scores * 64).astype(np.float32) / np.float32(64), lesion


def test_voxel_measures_equal_scikit_learn_with_ties() -> None:
    """AUROC, AUROC30 and AP equal scikit-learn's to rounding where scores are tied."""
    scores, lesion = _exact()
    found = measured(tally(scores, lesion))
    truth, flat = lesion.ravel(), scores.ravel()
    assert found.auroc == pytest.approx(metrics.roc_auc_score(truth, flat), abs=1e-12)
    assert found.ap == pytest.approx(metrics.average_precision_score(truth, flat), abs=1e-12)
    standardised = cast("float", metrics.roc_auc_score(truth, flat, max_fpr=0.3))
    assert found.auroc30 == pytest.approx(partial_auc_of_mcclish(standardised), abs=1e-12)


def test_rounding_moves_no_measure_by_a_ten_thousandth() -> None:
    """Scores without ties, rounded to one part in 32,768, give the same areas to 1e-4."""
    scores, lesion = _scan(1, decimals=7, shape=(3, 60, 60))
    found = measured(tally(scores, lesion))
    assert found.auroc == pytest.approx(
        metrics.roc_auc_score(lesion.ravel(), scores.ravel()), abs=1e-4
    )
    assert found.ap == pytest.approx(
        metrics.average_precision_score(lesion.ravel(), scores.ravel()), abs=1e-4
    )


def test_chance_is_half_and_fifteen_hundredths() -> None:
    """A constant map has AUROC and AU PRO 0.5, AUROC30 and AU PRO30 0.15, AP the prevalence."""
    _, lesion = _scan(0)
    found = measured(tally(np.zeros(lesion.shape, dtype=np.float32), lesion))
    assert (found.auroc, found.aupro) == pytest.approx((0.5, 0.5))
    assert (found.auroc30, found.aupro30) == pytest.approx((0.15, 0.15))
    assert found.ap == pytest.approx(lesion.mean())


def test_pro_equals_adeval_on_single_slices() -> None:
    """AU PRO30 equals the published reference code, at every threshold, to 1e-3."""
    pytest.importorskip("cv2", exc_type=ImportError)
    calculate: Any = importlib.import_module("adeval.au_pro").calculate_au_pro
    scans = [_scan(seed, decimals=7, shape=(1, 40, 40)) for seed in range(3)]
    maps = [scores for scores, _ in scans]
    lesions = [lesion for _, lesion in scans]
    negatives = sum(int((~lesion).sum()) for lesion in lesions)
    for limit, name in ((0.3, "aupro30"), (1.0, "aupro")):
        expected, _ = calculate(
            [lesion[0].astype(np.uint8) for lesion in lesions],
            [scores[0].astype(np.float64) for scores in maps],
            integration_limit=limit,
            num_thresholds=negatives,
        )
        whole = merged([tally(*pair) for pair in zip(maps, lesions, strict=True)])
        assert getattr(measured(whole), name) == pytest.approx(expected, abs=1e-3)


def test_measures_of_six_voxels_by_hand() -> None:
    """Six voxels, two regions: every measure as worked out on paper."""
    scores = np.array([[[6, 5, 4, 3, 2, 1]]], dtype=np.float32)
    lesion = np.array([[[1, 1, 0, 1, 0, 0]]], dtype=np.bool_)
    found = measured(tally(scores, lesion))
    # Pairs (lesion above other): 3 + 3 + 2 of 9. Precision at the lesion voxels: 1, 1, 3/4.
    assert found.auroc == pytest.approx(8 / 9)
    assert found.ap == pytest.approx((1 + 1 + 3 / 4) / 3)
    # Regions of 2 and 1 voxels: overlap 1/2 up to the first false voxel, then 1.
    assert found.aupro == pytest.approx((0.5 + 1 + 1) / 3)
    assert found.aupro30 == pytest.approx(0.5)
    assert found.best_dice == pytest.approx(6 / 7)
    assert found.best_dice_threshold == 3


def test_a_region_is_counted_inside_the_mask_and_corners_connect() -> None:
    """Regions are components of the lesion inside the mask, over edges and corners."""
    lesion = np.zeros((1, 6, 6), dtype=np.bool_)
    lesion[0, 1, 1] = lesion[0, 2, 2] = lesion[0, 4, 5] = True
    scores = np.zeros(lesion.shape, dtype=np.float32)
    mask = np.ones_like(lesion)
    assert tally(scores, lesion, mask).regions == 2
    mask[0, :, 5] = False
    counts = tally(scores, lesion, mask)
    assert (counts.regions, counts.voxels) == (1, 30)


def test_confusion_is_exact_and_above_the_threshold() -> None:
    """The frozen threshold is strict and unrounded; nothing to find and nothing flagged is NaN."""
    scores = np.array([[[1.0, 1.0000001, 0.5, 2.0]]], dtype=np.float32)
    lesion = np.array([[[True, True, False, False]]])
    found = confusion(scores, lesion, np.ones_like(lesion), 1.0)
    assert found == Confusion(1, 1, 1, 1)
    assert found.dice == pytest.approx(0.5)
    assert np.isnan(Confusion(0, 0, 0, 5).dice)


def test_without_a_lesion_nothing_is_defined() -> None:
    """No lesion, or no voxel, gives NaN, not a number."""
    empty = measured(tally(np.ones((1, 2, 2), np.float32), np.zeros((1, 2, 2), np.bool_)))
    assert np.isnan(empty.auroc)
    assert np.isnan(empty.best_dice)
    assert np.isnan(measured(merged(())).ap)


def test_nan_scores_are_refused() -> None:
    """A NaN in the mask is an error; outside it does not count."""
    scores = np.array([[[np.nan, 1.0]]], dtype=np.float32)
    lesion = np.array([[[False, True]]])
    with pytest.raises(ValueError, match="NaN"):
        tally(scores, lesion)
    assert tally(scores, lesion, np.array([[[False, True]]])).voxels == 1


def test_a_merged_tally_is_the_tally_of_all_voxels() -> None:
    """Scans stream: two tallies added give the measures of both scans at once."""
    one, two = _scan(2), _scan(3)
    apart = measured(merged((tally(*one), tally(*two))))
    gap = np.zeros((1, *one[0].shape[1:]))
    scores = np.concatenate([one[0], gap, two[0]]).astype(np.float32)
    lesion = np.concatenate([one[1], gap > 0, two[1]])
    mask = np.ones_like(lesion)
    mask[3] = False
    assert apart == measured(tally(scores, lesion, mask))


def test_a_tally_is_small_whatever_the_number_of_voxels() -> None:
    """A million voxels keep no more entries than distinct rounded scores; coarser ones fewer."""
    scores = np.random.default_rng(0).uniform(1, 2, (1, 1000, 1000)).astype(np.float32)
    counts = tally(scores, scores > 1.99)
    assert len(counts.keys) <= 2**15
    assert len(counts.coarsened().keys) <= 2**10
    assert counts.coarsened().voxels == counts.voxels == 1_000_000


def test_pooled_intervals_come_from_patients_and_hold_the_estimate() -> None:
    """The estimate is exact; the interval holds it, and one patient alone has none."""
    parts = [tally(*_scan(seed)) for seed in range(8)]
    whole = merged(parts)
    found = pooled(whole, [part.coarsened() for part in parts], seed=1, resamples=200)
    assert found.auroc.value == measured(whole).auroc
    for figure in (found.auroc, found.auroc30, found.ap, found.aupro, found.aupro30):
        assert figure.low - 0.005 <= figure.value <= figure.high + 0.005
    alone = pooled(parts[0], [parts[0].coarsened()], seed=1, resamples=20)
    assert np.isnan(alone.ap.low)
    again = pooled(whole, [part.coarsened() for part in parts], seed=1, resamples=200)
    assert again == found


def test_a_difference_of_pooled_precisions_is_paired_by_patient() -> None:
    """A map less itself is nothing; less a worse one above nothing; other patients are refused."""
    cases = [_scan(seed) for seed in range(8)]
    good = [tally(scores + lesion, lesion).coarsened() for scores, lesion in cases]
    fair = [tally(scores, lesion).coarsened() for scores, lesion in cases]

    found = ap_difference(good, fair, seed=1, resamples=200)

    assert found.value == measured(merged(good)).ap - measured(merged(fair)).ap
    assert 0 < found.low <= found.value <= found.high
    assert ap_difference(fair, fair, seed=1, resamples=20).value == 0
    with pytest.raises(ValueError, match="same patients"):
        ap_difference(good, fair[1:])


_SCORES = hnp.arrays(
    np.float32,
    (1, 4, 6),
    elements=st.integers(-40, 40).map(lambda value: value / 4),
)
_LESIONS = hnp.arrays(np.bool_, (1, 4, 6)).filter(lambda a: 0 < int(a.sum()) < a.size)


@settings(max_examples=60, deadline=None)
@given(_SCORES, _LESIONS)
def test_monotone_maps_change_nothing(
    scores: NDArray[np.float32], lesion: NDArray[np.bool_]
) -> None:
    """A strictly increasing change of the scores leaves every area and the best Dice as it is."""
    before = measured(tally(scores, lesion))
    after = measured(tally((scores * 8 + np.sign(scores) * 100).astype(np.float32), lesion))
    for name in ("auroc", "auroc30", "ap", "aupro", "aupro30", "best_dice"):
        assert getattr(before, name) == getattr(after, name)


@settings(max_examples=60, deadline=None)
@given(_SCORES, _LESIONS)
def test_swapping_lesion_and_rest_mirrors_the_auroc(
    scores: NDArray[np.float32], lesion: NDArray[np.bool_]
) -> None:
    """With the two sides swapped the AUROC is one minus itself."""
    swapped = measured(tally(scores, ~lesion)).auroc
    assert measured(tally(scores, lesion)).auroc == pytest.approx(1 - swapped, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        np.float32, 40, elements=st.floats(-(2.0**99), 2.0**99, width=32, allow_subnormal=False)
    )
)
def test_rounded_scores_keep_their_order_and_nearness(values: NDArray[np.float32]) -> None:
    """Rounding keeps the order and moves no score by more than one part in 32,768."""
    counts: Tally = tally(values, np.zeros(40, dtype=np.bool_))
    assert bool((np.diff(counts.scores) > 0).all())
    nearest = np.abs(counts.scores[None, :] - values[:, None]).min(axis=1)
    assert bool((nearest <= np.abs(values) * 2.0**-measures.FINE_BITS + 1e-40).all())
