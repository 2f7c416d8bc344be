"""Agreement: verdicts held against reviewers' words, and the studies nobody reviewed."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.past import Archive, Series

from gatekeeper.backtest.agreement import ALL, Agreement, agreements
from gatekeeper.backtest.agreement_page import as_plain, render
from gatekeeper.backtest.past import Past
from gatekeeper.backtest.rates import Said
from storage.engine import Database

RIGHT, WRONG = Said(agree=1), Said(disagree=1)


@pytest.fixture
def archive(database: Database, tmp_path: Path) -> Archive:
    return Archive(database, tmp_path)


def _of(archive: Archive, said: dict[int, Said], *prevalences: float) -> tuple[Agreement, ...]:
    return agreements((one for _, one in Past(archive.database).studies()), said, prevalences)


def test_words_become_truth_and_the_unreviewed_are_counted(archive: Archive) -> None:
    """Agreed holds and disagreed passes are abnormal; sensitivity falls once corrected."""
    held = archive.judge_all([0.01] * 4)
    passed = archive.judge_all([0.2, 0.4, 0.5, 0.6, 0.7, 0.8])
    said = {held[0]: RIGHT, held[1]: RIGHT, held[2]: WRONG, passed[0]: WRONG, passed[1]: RIGHT}
    said[passed[2]] = Said(agree=1, disagree=1)
    every, own = _of(archive, said, 0.1)
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


def test_a_fault_is_a_verdict_but_no_p_value(archive: Archive) -> None:
    """A study held for a fault counts as held; its p-value says nothing of the score."""
    faulty = archive.judged(Series(0.9, defects=("Slices 3 and 4 are the same.",)))
    clear = archive.judge_all([0.5])
    every = _of(archive, {faulty: RIGHT, clear[0]: RIGHT})[0]
    assert (every.words.tp, every.words.tn) == (1, 1)
    assert (every.words.abnormal, every.words.normal) == ([], [0.5])
    assert every.auroc is None


def test_without_words_nothing_is_claimed(archive: Archive) -> None:
    """No review: no sensitivity, no picture, and a page that says how many were not reviewed."""
    archive.judge_all([0.01, 0.5])
    found = _of(archive, {})
    assert found[0].table is found[0].corrected is None
    page = render(found)
    assert "1 held, 1 passed" in page
    assert "data:image" not in page
    assert as_plain(found)[0]["table"] is None
    with pytest.raises(ValueError, match="prevalence"):
        agreements((), {}, (0.0,))


def test_only_holds_reviewed_have_no_correction(archive: Archive) -> None:
    """Where no passed study was reviewed nothing is known of what was missed."""
    held = archive.judge_all([0.01, 0.02])
    archive.judge_all([0.5])
    every = _of(archive, {held[0]: RIGHT, held[1]: WRONG}, 0.1)[0]
    assert every.table is not None
    assert every.corrected is None
    assert every.predictive == ()
