"""Clinical figures: ROC, reliability, decision curve, a value beside an outcome, as PNG bytes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.evaluation.clinical import Clinical, Cohort
from models.evaluation.drawing import OKABE_ITO, label, legend_below, panels, png

_NEW, _OLD = OKABE_ITO[:2]
_GREY = "#8a8a8a"


def roc(cohort: Cohort, found: Clinical, names: tuple[str, str]) -> bytes:
    """Return the ROC of the score and of the older one, with the stated threshold marked."""
    figure, (panel,) = panels(1, (4.8, 4.6))
    panel.plot((0, 1), (0, 1), color="#bbbbbb", linewidth=1, zorder=0)
    fpr, tpr = _roc(cohort.score, cohort.truth)
    panel.plot(fpr, tpr, color=_NEW, linewidth=1.8, label=f"{names[0]}: {found.auroc}")
    if cohort.against is not None and found.against is not None:
        fpr, tpr = _roc(cohort.against, cohort.truth)
        name = f"{names[1]}: {found.against.second:.2f}"
        panel.plot(fpr, tpr, color=_OLD, linestyle="--", linewidth=1.6, label=name)
    if found.decided is not None:
        one = found.decided
        panel.plot(
            (1 - one.specificity.value,),
            (one.sensitivity.value,),
            "o",
            color="black",
            markersize=6,
            label=f"threshold {one.threshold:g}",
        )
    label(panel, "ROC", "1 - specificity", "sensitivity")
    panel.legend(frameon=False, fontsize=7.5, loc="lower right")
    return png(figure)


def _roc(
    score: NDArray[np.float64], truth: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    cuts = np.unique(score)
    both: list[NDArray[np.float64]] = []
    for side in (~truth, truth):
        own = np.sort(score[side])
        above = 1 - np.searchsorted(own, cuts, side="left") / len(own)
        both.append(np.r_[0.0, above[::-1]])
    return both[0], both[1]


def reliability(found: Clinical) -> bytes | None:
    """Return stated against observed with exact intervals, and how often each was stated."""
    if found.calibrated is None:
        return None
    figure, (curve, counts) = panels(2, (8.4, 4.0))
    shown = found.calibrated.curve
    curve.plot((0, 1), (0, 1), color="#bbbbbb", linewidth=1, zorder=0)
    observed = np.array([one.observed.value for one in shown])
    low = np.array([one.observed.low for one in shown])
    high = np.array([one.observed.high for one in shown])
    curve.errorbar(
        [one.stated for one in shown],
        observed,
        yerr=np.abs((observed - low, high - observed)),
        fmt="o-",
        color=_NEW,
        markersize=4,
        capsize=2.5,
        linewidth=1.2,
    )
    label(curve, "Reliability", "stated probability", "observed part, 95 %")
    counts.bar(
        [(one.low + one.high) / 2 for one in shown],
        [one.count for one in shown],
        width=0.09,
        color=_NEW,
        alpha=0.6,
    )
    label(counts, "Stated", "stated probability", "rows", unit=False)
    counts.set_xlim(0, 1)
    return png(figure)


def decision(found: Clinical, names: tuple[str, str]) -> bytes | None:
    """Return the decision curve beside acting on all and on nobody."""
    if not found.curve:
        return None
    figure, (panel,) = panels(1, (6.4, 4.2))
    x = [one.threshold for one in found.curve]
    panel.plot(x, [one.model for one in found.curve], color=_NEW, linewidth=1.8, label=names[0])
    if found.curve_against:
        panel.plot(
            x,
            [one.model for one in found.curve_against],
            color=_OLD,
            linestyle="--",
            linewidth=1.6,
            label=names[1],
        )
    every = [one.all for one in found.curve]
    panel.plot(x, every, color=_GREY, linestyle=":", linewidth=1.6, label="act on all")
    panel.axhline(0, color="black", linewidth=1, label="act on nobody")
    label(panel, "Decision curve", "threshold probability", "net benefit", unit=False)
    top = max(every[0], *(one.model for one in (*found.curve, *found.curve_against)))
    panel.set_xlim(0, 1)
    panel.set_ylim(-0.25 * max(top, 0.04), 1.08 * max(top, 0.04))
    legend_below(figure, panel)
    return png(figure)


def beside_outcome(
    values: NDArray[np.float64],
    outcome: NDArray[np.float64],
    names: tuple[str, str],
    *,
    kinds: bool,
) -> bytes:
    """Return a value a patient against the outcome; with `kinds` the outcome is 0 or 1."""
    figure, (panel,) = panels(1, (4.8, 4.2))
    x = outcome
    if kinds:
        x = outcome + np.random.default_rng(0).uniform(-0.12, 0.12, len(outcome))
        for kind in (0.0, 1.0):
            middle = float(np.median(values[outcome == kind]))
            panel.plot((kind - 0.25, kind + 0.25), (middle, middle), color="black", linewidth=1.6)
        panel.set_xticks((0, 1), ("without", "with"))
    panel.plot(x, values, "o", color=_NEW, markersize=4, alpha=0.7)
    label(panel, "", names[1], names[0], unit=False)
    return png(figure)
