"""Agreement: verdicts held against reviewers' words, and the studies nobody reviewed."""

from __future__ import annotations

import pytest
from support.past import Series, outcome

from gatekeeper.backtest.agreement import ALL, Agreement, agreements
from gatekeeper.backtest.agreement_page import as_plain, render
from gatekeeper.backtest.rates import Said
from gatekeeper.backtest.stored import stored_study

RIGHT, WRONG = Said(agree=1), Said(disagree=1)


def _of(series: list[Series], said: dict[int, Said], *prevalences: float) -> tuple[Agreement, ...]:
    """Judge studies of one series each, jobs 0, 1, ..."""
    studies = [
        stored_study(f"1.2.{job}", "c" * 64, outcome([one], job=job))
        for job, one in enumerate(series)
    ]
    return agreements(studies, said, prevalences)


def test_words_become_truth_and_the_unreviewed_are_counted() -> None:
    """Agreed holds and disagreed passes are abnormal; sensitivity falls once corrected."""
    p_values = [0.01] * 4 + [0.2, 0.4, 0.5, 0.6, 0.7, 0.8]
    said = {0: RIGHT, 1: RIGHT, 2: WRONG, 4: WRONG, 5: RIGHT, 6: Said(agree=1, disagree=1)}
    every, own = _of([Series(p) for p in p_values], said, 0.1)
    assert (every.detector, own.detector) == (ALL, "mr-brain-t1")
    words = every.words
    assert (words.flagged, words.passed, words.split) == (4, 6, 1)
    assert (words.tp, words.fp, words.fn, words.tn) == (2, 1, 1, 1)
    assert every.table is not None
    assert every.table.sensitivity.value == pytest.approx(2 / 3)
    assert every.corrected is not None
    # 2/3 of 4 held and 1/2 of 6 passed are abnormal.
    assert every.corrected.sensitivity.value == pytest.approx((8 / 3) / (8 / 3 + 3))
    assert every.auroc is not None
    assert every.auroc.value == pytest.approx((2 * (0.5 + 1) + 0 + 1) / 6)
    assert [one.prevalence for one in own.predictive] == [0.1]


def test_a_fault_is_a_verdict_but_no_p_value() -> None:
    """A study held for a fault counts as held; its p-value says nothing of the score."""
    faulty = Series(0.9, defects=("Slices 3 and 4 are the same.",))
    every = _of([faulty, Series(0.5)], {0: RIGHT, 1: RIGHT})[0]
    assert (every.words.tp, every.words.tn) == (1, 1)
    assert (every.words.abnormal, every.words.normal) == ([], [0.5])
    assert every.auroc is None


def test_without_words_nothing_is_claimed() -> None:
    """No review: no sensitivity, no picture, and a page that says how many were not reviewed."""
    found = _of([Series(0.01), Series(0.5)], {})
    assert found[0].table is found[0].corrected is None
    page = render(found)
    assert "1 held, 1 passed" in page
    assert "data:image" not in page
    assert as_plain(found)[0]["table"] is None
    with pytest.raises(ValueError, match="prevalence"):
        agreements((), {}, (0.0,))


def test_only_holds_reviewed_have_no_correction() -> None:
    """Where no passed study was reviewed nothing is known of what was missed."""
    every = _of([Series(0.01), Series(0.02), Series(0.5)], {0: RIGHT, 1: WRONG}, 0.1)[0]
    assert every.table is not None
    assert every.corrected is None
    assert every.predictive == ()
