"""Tables: a comparison and rates as cells of text, for the terminal and the page alike."""

from __future__ import annotations

from gatekeeper.backtest.comparison import Comparison, Counts, Pair
from gatekeeper.backtest.rates import Rate
from models.evaluation.intervals import Figure

COLUMNS = (
    "device and protocol",
    "detector",
    "studies",
    "held before",
    "held after",
    "newly held",
    "newly passed",
    "other verdict",
    "McNemar p",
)

LIMITS = (
    "Both sides are decided from the same evidence, so the candidate alone makes the difference.",
    "Intervals are exact (Clopper and Pearson) and take studies as independent.",
    "A small McNemar p says that the candidate holds more, or fewer; not that it is right.",
    "A past study says nothing about scanners and protocols that were not here yet.",
)


def comparison_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """Return the cells of `COLUMNS`: a row for each group, then all studies."""
    rows = [
        (origin.place, origin.detector or "(none)", *_counts(counts))
        for origin, counts in comparison.groups.items()
    ]
    return [*rows, ("all", "", *_counts(comparison.total))]


def changed_row(pair: Pair) -> tuple[str, str, str]:
    """Return a changed study's UID and both decisions in words."""
    return (pair.study_instance_uid, pair.before.reason, pair.after.reason)


RATE_COLUMNS = (
    "device and protocol",
    "detector",
    "calibration",
    "n",
    "nominal",
    "95 % of such calibrations",
    "judged",
    "held",
    "realised",
    "agree / disagree",
    "false holds of those called normal",
    "mark",
)


def rate_row(one: Rate) -> tuple[str, ...]:
    """Return the cells of `RATE_COLUMNS`."""
    line, tally, known = one.line, one.tally, one.known
    return (
        line.origin.place,
        f"{line.origin.detector} {line.version}",
        "own" if line.own else "bundle's reference",
        str(line.size),
        f"{line.rate:g}",
        f"{known.low:.3f}-{known.high:.3f}" if known.rank else "too few to hold",
        str(tally.judged),
        str(tally.held),
        _interval(one.held),
        f"{tally.agree} / {tally.disagree}",
        f"{tally.falsely_held} of {tally.normal}: {_interval(one.false_holds)}"
        if one.false_holds
        else "",
        one.mark if one.false_holds else f"{one.held_mark} (all held)",
    )


RATE_LIMITS = (
    "Beta(k, n + 1 - k), k = floor(rate (n + 1)), is the realised rate of n studies (Vovk 2012).",
    "It supposes that normal studies are like those of the calibration.",
    "What is held holds true findings too: 'realised' is over the false-hold rate.",
    "Reviewers look at held studies first: review passed ones too, or false holds look too many.",
    "A mark is of counts outside a beta-binomial's central 95 %: one sound line in twenty has one.",
)


def _counts(counts: Counts) -> tuple[str, ...]:
    return (
        f"{counts.studies:,}",
        f"{counts.held_before:,}: {_interval(counts.before)}",
        f"{counts.held_after:,}: {_interval(counts.after)}",
        f"{counts.newly_held:,}",
        f"{counts.newly_passed:,}",
        f"{counts.other_verdict:,}",
        f"{counts.mcnemar:.3g}",
    )


def _interval(figure: Figure | None) -> str:
    if figure is None:
        return ""
    return f"{figure.value:.3f} ({figure.low:.3f}-{figure.high:.3f})"
