"""The verdict: calibrated evidence in, one understandable sentence out."""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.rules.verdict import (
    Judgement,
    Verdict,
    judge_finding,
    judge_study,
    most_extreme,
    references_beyond,
    references_needed,
)
from models.finding import Finding, Level


def level(name: str, p_value: float, size: int) -> Level:
    """Return a level as the detector gives it."""
    return Level(name, f"Is {name} like the reference?", 1.0, p_value, size, 0.5)


def finding(p_value: float, size: int = 19, extreme: str = "global") -> Finding:
    """Return a finding with this combined p-value; `extreme` names its most extreme level."""
    names = ("geometry", "global", "focal")
    if extreme not in names:
        names = (*names, extreme)
    levels = tuple(level(name, 0.01 if name == extreme else 0.8, size) for name in names)
    return Finding(
        score=1.0,
        p_value=p_value,
        levels=levels,
        map=np.zeros((1, 2, 2), np.float32),
        map_unit="",
        map_threshold=1.0,
        map_maximum=2.0,
        regions=(),
        display_window=(0.5, 1.0),
        detector="features",
        profile="mr-brain-t1",
        bundle_version="1",
        model_digest="0" * 64,
        calibration_digest="0" * 64,
        calibration_description="",
        milliseconds={},
    )


@pytest.mark.parametrize(
    ("answer", "rate", "verdict", "reason"),
    [
        (
            finding(1 / 20),
            0.05,
            Verdict.SUSPECT,
            (
                "Held: this scan differs from normal more than any of the 19 reference "
                "subjects, most of all in the image features of the whole scan (p = 0.05, hold "
                "at 0.05 or less)."
            ),
        ),
        (
            finding(2 / 60, 59, "focal"),
            0.05,
            Verdict.SUSPECT,
            (
                "Held: only 1 of the 59 reference subjects differs from normal as much as this "
                "scan, which differs most in the image features of one place in the scan (p = "
                "0.0333, hold at 0.05 or less)."
            ),
        ),
        (
            finding(3 / 60, 59, "geometry"),
            0.05,
            Verdict.SUSPECT,
            (
                "Held: only 2 of the 59 reference subjects differ from normal as much as this "
                "scan, which differs most in the shape and extent of what was scanned (p = "
                "0.05, hold at 0.05 or less)."
            ),
        ),
        (
            finding(8 / 20),
            0.05,
            Verdict.CLEAR,
            (
                "Not held: 7 of the 19 reference subjects differ from normal as much as this "
                "scan (p = 0.4, hold at 0.05 or less)."
            ),
        ),
        (
            finding(1 / 10, 9),
            0.05,
            Verdict.UNCALIBRATED,
            (
                "Not decided: a false-hold rate of 0.05 needs at least 19 reference subjects, "
                "and there are 9."
            ),
        ),
        (
            finding(1 / 2, 1),
            0.05,
            Verdict.UNCALIBRATED,
            (
                "Not decided: a false-hold rate of 0.05 needs at least 19 reference subjects, "
                "and there is 1."
            ),
        ),
        (
            finding(1.0, 1),
            0.5,
            Verdict.CLEAR,
            (
                "Not held: the only reference subject differs from normal as much as this scan "
                "(p = 1, hold at 0.5 or less)."
            ),
        ),
        (
            finding(0.05, 19, "texture"),
            0.05,
            Verdict.SUSPECT,
            (
                "Held: this scan differs from normal more than any of the 19 reference "
                "subjects, most of all in what the level 'texture' looks at (p = 0.05, hold at "
                "0.05 or less)."
            ),
        ),
    ],
)
def test_the_reason_says_what_was_compared_with_what(
    answer: Finding, rate: float, verdict: Verdict, reason: str
) -> None:
    """Each verdict comes with the sentence a radiologist reads, to the letter."""
    assert judge_finding(answer, rate) == Judgement(verdict, reason)


@pytest.mark.parametrize("p_value", [math.nan, 0.0, -0.1, 1.5, math.inf])
def test_a_broken_p_value_is_never_clear(p_value: float) -> None:
    """A detector that failed to compute a p-value cannot pass a study."""
    assert judge_finding(finding(p_value), 0.05).verdict is Verdict.UNREADABLE


@pytest.mark.parametrize("p_value", [1 / 20, 1.0])
def test_a_scanner_without_a_calibration_is_neither_held_nor_passed(p_value: float) -> None:
    """Unless the site says that the reference population stands in; its own calibration always."""
    strange = finding(p_value)
    own = replace(strange, site_calibrated=True)

    undecided = judge_finding(strange, 0.05, reference_stands_in=False)

    assert undecided.verdict is Verdict.UNCALIBRATED
    assert undecided.reason == (
        "Not decided: this scanner and protocol have no calibration of their own."
    )
    assert judge_finding(own, 0.05, reference_stands_in=False) == judge_finding(strange, 0.05)


@given(
    size=st.integers(1, 500),
    rate=st.floats(0.0001, 0.5),
    data=st.data(),
)
def test_the_verdict_follows_the_p_value_alone(size: int, rate: float, data: st.DataObject) -> None:
    """SUSPECT at or under the rate, CLEAR above it, neither when the rate is out of reach."""
    beyond = data.draw(st.integers(0, size))
    p_value = (1 + beyond) / (size + 1)
    judgement = judge_finding(finding(p_value, size), rate)

    if 1 / (size + 1) > rate:
        assert judgement.verdict is Verdict.UNCALIBRATED
    elif p_value <= rate:
        assert judgement.verdict is Verdict.SUSPECT
    else:
        assert judgement.verdict is Verdict.CLEAR
    assert references_beyond(p_value, size) == beyond
    # One sentence: one full stop that ends it, besides decimal points.
    assert re.findall(r"\.(?!\d)", judgement.reason) == ["."]
    assert judgement.reason.endswith(".")


@given(rate=st.floats(0.0001, 0.5))
def test_the_stated_need_is_the_least_that_suffices(rate: float) -> None:
    """One subject fewer than said could not reach the rate."""
    needed = references_needed(rate)

    assert 1 / (needed + 1) <= rate * (1 + 1e-9)
    assert needed == 1 or 1 / needed > rate * (1 - 1e-9)


@pytest.mark.parametrize(("rate", "needed"), [(0.05, 19), (0.01, 99), (0.1, 9), (0.03, 33)])
def test_common_rates_need_the_known_numbers(rate: float, needed: int) -> None:
    """Rounding does not add a subject."""
    assert references_needed(rate) == needed


def test_the_gravest_series_decides_the_study() -> None:
    """Suspect before unreadable before clear before uncalibrated, each with its own reason."""
    by_verdict = {verdict: Judgement(verdict, f"Because {verdict}.") for verdict in Verdict}
    order = [Verdict.SUSPECT, Verdict.UNREADABLE, Verdict.CLEAR, Verdict.UNCALIBRATED]

    for start in range(len(order)):
        judgements = [by_verdict[verdict] for verdict in reversed(order[start:])]
        assert judge_study(judgements) == by_verdict[order[start]]


def test_a_study_without_images_is_not_assessed() -> None:
    """Nothing to judge is never normal."""
    assert judge_study([]) == Judgement(
        Verdict.UNCALIBRATED, "Not assessed: the study holds no image series."
    )


def test_equally_extreme_levels_are_both_named() -> None:
    """Neither of two levels is 'most of all' when both are as extreme."""
    levels = (level("global", 0.05, 19), level("focal", 0.05, 19))

    reason = judge_finding(dataclasses.replace(finding(0.05), levels=levels), 0.05).reason

    assert (
        "most of all in the image features of the whole scan and the image features of one place "
        "in the scan (p = 0.05"
    ) in reason


def test_the_first_of_equally_extreme_levels_is_named() -> None:
    """Ties keep the detector's order, so that two runs say the same."""
    levels = (level("geometry", 0.2, 19), level("global", 0.1, 19), level("focal", 0.1, 19))

    assert most_extreme(levels).name == "global"


def test_a_fault_of_the_series_holds_whatever_the_score() -> None:
    """Repeated slices are held even where the p-value is that of an ordinary scan."""
    ordinary = finding(0.9)
    faulty = replace(ordinary, defects=("Slices 4, 5 show the same pixels.", "More."))

    judgement = judge_finding(faulty, 0.05)

    assert judge_finding(ordinary, 0.05).verdict is Verdict.CLEAR
    assert judgement.verdict is Verdict.SUSPECT
    assert judgement.reason == ("Held: the series has a fault. Slices 4, 5 show the same pixels.")


def test_a_level_of_a_member_is_named_by_what_it_looks_at() -> None:
    """In a bundle of several detectors the reason still reads as words."""
    judgement = judge_finding(finding(1 / 20, extreme="features.global"), 0.05)

    assert "the image features of the whole scan" in judgement.reason


def test_only_a_level_that_decides_is_named_as_the_difference() -> None:
    """A level that explains may be stranger; the reason still names what decided."""
    held = finding(1 / 20, extreme="focal")
    levels = tuple(replace(one, decides=one.name != "focal") for one in held.levels)

    judgement = judge_finding(replace(held, levels=levels), 0.05)

    assert "one place in the scan" not in judgement.reason
    assert judgement.verdict is Verdict.SUSPECT
