"""Verdict: what the gate says of a study, from calibrated evidence alone."""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    # Needs numpy, which a machine without a worker lacks.
    from models.finding import Level


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


class Scored(Protocol):
    """What a verdict rests on: a detector's `Finding`, or what was kept of one."""

    @property
    def p_value(self) -> float:
        """Split-conformal, over all levels that decide."""
        ...

    @property
    def levels(self) -> Sequence[Level]:
        """At least one."""
        ...

    @property
    def defects(self) -> Sequence[str]:
        """What is wrong with the series as received, in sentences."""
        ...

    @property
    def site_calibrated(self) -> bool:
        """Whether the calibration is that of the scan's own scanner and protocol."""
        ...


# A study takes the gravest of its series' verdicts: one suspect series holds the study, one that
# cannot be read is never hidden behind a clear one. Series with no profile only decide when
# nothing else was assessed.
_GRAVITY = (Verdict.SUSPECT, Verdict.UNREADABLE, Verdict.CLEAR, Verdict.UNCALIBRATED)

# What each of the detector's questions looks at, to end 'it differs most in ...'.
_LOOKS_AT = {
    "geometry": "the shape and extent of what was scanned",
    "global": "the image features of the whole scan",
    "focal": "the image features of one place in the scan",
    "place": "the brightness of one place against the reference anatomy",
    "overall": "the brightness of the whole against the reference anatomy",
    "histogram": "the histogram of its intensities",
    "brightness": "its brightest or darkest part",
    "measures": "the measures of image quality, such as noise, sharpness and ghosts",
    "largest": "one measure of image quality",
    "artefacts": "ghosts, spikes or shading",
}


def judge_finding(
    finding: Scored, false_hold_rate: float, *, reference_stands_in: bool = True
) -> Judgement:
    """Return the verdict on one assessed series.

    The p-value is that of one combined score against the reference subjects; the levels only say
    where the difference is largest. A fault of the series itself, such as repeated slices, holds
    whatever the score.

    Args:
        finding: the detector's calibrated answer, with at least one level.
        false_hold_rate: share of normal scans that may be held, between 0 and 1. It holds for
            each series by itself: a study of several assessed series is held more often.
        reference_stands_in: whether the bundle's own reference population may decide about a scan
            whose scanner and protocol have no calibration; if not, nothing is decided.
    """
    level = most_extreme(finding.levels)
    size = level.calibration_size
    # NaN compares as neither held nor clear; it must never end as CLEAR.
    if not 0.0 < finding.p_value <= 1.0:
        return Judgement(
            Verdict.UNREADABLE, "Not decided: the detector gave no usable p-value for this scan."
        )
    if not (reference_stands_in or finding.site_calibrated):
        return Judgement(
            Verdict.UNCALIBRATED,
            "Not decided: this scanner and protocol have no calibration of their own.",
        )
    if 1.0 / (size + 1) > false_hold_rate:
        return Judgement(
            Verdict.UNCALIBRATED,
            f"Not decided: a false-hold rate of {false_hold_rate:.3g} needs at least "
            f"{references_needed(false_hold_rate)} reference subjects, and there "
            f"{_are(size)} {size}.",
        )
    evidence = f"(p = {finding.p_value:.3g}, hold at {false_hold_rate:.3g} or less)"
    if finding.defects:
        return Judgement(Verdict.SUSPECT, f"Held: the series has a fault. {finding.defects[0]}")
    beyond = references_beyond(finding.p_value, size)
    if finding.p_value <= false_hold_rate:
        return Judgement(
            Verdict.SUSPECT, f"Held: {_why_held(beyond, size, finding.levels)} {evidence}."
        )
    return Judgement(Verdict.CLEAR, f"Not held: {_others_beyond(beyond, size)} {evidence}.")


def judge_study(judgements: Sequence[Judgement]) -> Judgement:
    """Return the study's verdict: the gravest of its series', with that series' reason."""
    if not judgements:
        return Judgement(Verdict.UNCALIBRATED, "Not assessed: the study holds no image series.")
    return min(judgements, key=lambda judgement: _GRAVITY.index(judgement.verdict))


def most_extreme(levels: Sequence[Level]) -> Level:
    """Return the level that differs most of those that decide: the smallest p-value, the first.

    Raises:
        ValueError: if there is no level.
    """
    return min(_deciding(levels), key=lambda level: level.p_value)


def _deciding(levels: Sequence[Level]) -> Sequence[Level]:
    return [level for level in levels if level.decides] or levels


def references_beyond(p_value: float, size: int) -> int:
    """Return how many of `size` reference subjects scored at least as high as the scan.

    The inverse of the split-conformal p = (1 + count) / (size + 1).
    """
    return min(size, max(0, round(p_value * (size + 1)) - 1))


def references_needed(false_hold_rate: float) -> int:
    """Return the least number of reference subjects whose smallest p-value, 1 / (n + 1), can
    reach the rate.
    """
    # The margin keeps 1 / 0.05 from rounding up past 20.
    return max(1, math.ceil(1.0 / false_hold_rate - 1e-9) - 1)


def _why_held(beyond: int, size: int, levels: Sequence[Level]) -> str:
    looks_at = _looks_at(levels)
    if beyond:
        return f"only {_others_beyond(beyond, size)}, which differs most in {looks_at}"
    others = f"any of the {size} reference subjects" if size > 1 else "the only reference subject"
    return f"this scan differs from normal more than {others}, most of all in {looks_at}"


def _looks_at(levels: Sequence[Level]) -> str:
    """Return what the most extreme level looks at; with equals, what each of them does."""
    least = most_extreme(levels).p_value
    return " and ".join(
        # In a bundle of several members the member's name comes first: features.global.
        _LOOKS_AT.get(level.name.rpartition(".")[2], f"what the level '{level.name}' looks at")
        for level in _deciding(levels)
        if level.p_value == least
    )


def _others_beyond(beyond: int, size: int) -> str:
    who = f"{beyond} of the {size} reference subjects" if size > 1 else "the only reference subject"
    return f"{who} {'differs' if beyond == 1 else 'differ'} from normal as much as this scan"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
