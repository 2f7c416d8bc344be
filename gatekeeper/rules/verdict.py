"""Verdict: what the gate says of a study, from calibrated evidence alone."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from models.finding import Finding, Level


class Verdict(enum.StrEnum):
    """The gate's four answers.

    CLEAR and SUSPECT rest on a conformal p-value against a stated false-hold rate. UNREADABLE and
    UNCALIBRATED say that no such p-value exists; neither is ever shown as normal.
    """

    CLEAR = "CLEAR"
    SUSPECT = "SUSPECT"
    UNREADABLE = "UNREADABLE"
    UNCALIBRATED = "UNCALIBRATED"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict with its reason in one sentence a radiologist understands."""

    verdict: Verdict
    reason: str


# A study takes the gravest of its series' verdicts: one suspect series holds the study, one that
# cannot be read is never hidden behind a clear one. Series with no profile only decide when
# nothing else was assessed.
_GRAVITY = (Verdict.SUSPECT, Verdict.UNREADABLE, Verdict.CLEAR, Verdict.UNCALIBRATED)


def judge_finding(finding: Finding, false_hold_rate: float) -> Judgement:
    """Return the verdict on one assessed series.

    Args:
        finding: the detector's calibrated answer.
        false_hold_rate: share of normal studies that may be held, between 0 and 1.
    """
    level = most_extreme(finding.levels)
    size = level.calibration_size
    if 1.0 / (size + 1) > false_hold_rate:
        return Judgement(
            Verdict.UNCALIBRATED,
            f"{size} reference subjects cannot support a false-hold rate of {false_hold_rate:.1%}; "
            f"at least {round(1 / false_hold_rate + 0.499) - 1} are needed.",
        )
    if finding.p_value <= false_hold_rate:
        return Judgement(
            Verdict.SUSPECT,
            f"{level.question} No: a score this far from normal was seen in at most "
            f"{level.p_value:.1%} of {size} reference subjects (p = {finding.p_value:.3f}, "
            f"held at {false_hold_rate:.3f} or less).",
        )
    return Judgement(
        Verdict.CLEAR,
        f"Within the range of {size} reference subjects (p = {finding.p_value:.3f}, held at "
        f"{false_hold_rate:.3f} or less).",
    )


def judge_study(judgements: Sequence[Judgement]) -> Judgement:
    """Return the study's verdict: the gravest of its series', with that series' reason."""
    if not judgements:
        return Judgement(Verdict.UNCALIBRATED, "Not assessed: the study holds no image series.")
    return min(judgements, key=lambda judgement: _GRAVITY.index(judgement.verdict))


def most_extreme(levels: Sequence[Level]) -> Level:
    """Return the level that decides: the smallest p-value, the first of equals."""
    return min(levels, key=lambda level: level.p_value)
