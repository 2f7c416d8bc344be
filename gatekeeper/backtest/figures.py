"""Figures of a backtest and of rates: matplotlib drawings as PNG bytes.

Colours are Okabe and Ito's, and colour is never the only difference.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from gatekeeper.backtest.comparison import Comparison, Pair
from gatekeeper.backtest.rates import Rate
from models.evaluation.coverage import coverage

MOST_GROUPS = 24
"""Groups that one figure shows; the table has all."""
_BLUE, _RED, _SKY, _GREY = "#0072B2", "#D55E00", "#56B4E9", "#8a8a8a"
_ORDER = ("SUSPECT", "UNREADABLE", "UNCALIBRATED", "CLEAR")
_DPI = 150


def p_values(comparison: Comparison) -> bytes | None:
    """Return every study's p-value by device and protocol, before and after; None without any.

    Above each device what is in force, below it the candidate; filled where the study is held. The
    two lines are the false-hold rates.
    """
    scored = [one for one in comparison.pairs if one.before.p_value or one.after.p_value]
    if not scored:
        return None
    places = sorted({pair.origin.place for pair in scored})[:MOST_GROUPS]
    figure = Figure(figsize=(9.5, 1.4 + 0.62 * len(places)), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    panel = figure.subplots()
    spread = np.random.default_rng(0)
    for row, place in enumerate(places):
        own = [pair for pair in scored if pair.origin.place == place]
        for side, colour, shift in (("before", _BLUE, -0.18), ("after", _RED, 0.18)):
            _strip(panel, own, side, colour, row + shift, spread)
    for side, colour, style in (("before", _BLUE, "-"), ("after", _RED, "--")):
        threshold = getattr(scored[0], side).threshold
        panel.axvline(threshold, color=colour, linestyle=style, linewidth=1.2, zorder=0)
        label = f"{'in force' if side == 'before' else 'candidate'}: held at p ≤ {threshold:g}"
        panel.plot((), (), color=colour, linestyle=style, marker="o", markersize=4, label=label)
    panel.plot((), (), "o", color=_GREY, markersize=4, label="held")
    panel.plot((), (), "o", color=_GREY, markersize=4, fillstyle="none", label="passed")
    panel.set_xscale("log")
    panel.set_xlim(None, 1.1)
    panel.set_ylim(len(places) - 0.5, -0.5)
    panel.set_yticks(range(len(places)), places, fontsize=7.5)
    panel.set_xlabel("p-value of the study", fontsize=8)
    panel.tick_params(axis="x", labelsize=7.5)
    panel.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return _png(figure)


def _strip(
    panel: Axes,
    pairs: Sequence[Pair],
    side: str,
    colour: str,
    row: float,
    spread: np.random.Generator,
) -> None:
    for held in (True, False):
        shown = [
            getattr(pair, side).p_value
            for pair in pairs
            if getattr(pair, side).p_value and getattr(pair, side).held is held
        ]
        panel.plot(
            shown,
            row + spread.uniform(-0.12, 0.12, len(shown)),
            "o",
            color=colour,
            fillstyle="full" if held else "none",
            markersize=3.2,
            markeredgewidth=0.8,
            alpha=0.75,
        )


def transitions(comparison: Comparison) -> bytes | None:
    """Return how many studies went from which verdict to which; None without any study."""
    if not comparison.pairs:
        return None
    counts = np.array(
        [[comparison.transitions.get((a, b), 0) for b in _ORDER] for a in _ORDER], dtype=np.int64
    )
    figure = Figure(figsize=(4.6, 3.4), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    panel = figure.subplots()
    panel.imshow(
        np.log1p(counts), cmap="Blues", vmin=0, vmax=max(1.0, 1.6 * np.log1p(counts.max()))
    )
    for row, line in enumerate(counts):
        for column, count in enumerate(line):
            changed = row != column and count > 0
            panel.text(
                column,
                row,
                f"{count:,}",
                ha="center",
                va="center",
                fontsize=9,
                fontweight="bold" if changed else "normal",
                color=_RED if changed else "#1b1b1b",
            )
    panel.set_xticks(range(len(_ORDER)), _ORDER, fontsize=6.5)
    panel.set_yticks(range(len(_ORDER)), _ORDER, fontsize=6.5)
    panel.set_xlabel("candidate", fontsize=8)
    panel.set_ylabel("in force", fontsize=8)
    return _png(figure)


def rates(found: Sequence[Rate]) -> bytes | None:
    """Return realised hold rates over the interval that each calibration promises; None without."""
    shown = [one for one in found if one.held is not None and one.known.rank][:MOST_GROUPS]
    if not shown:
        return None
    figure = Figure(figsize=(9.5, 1.3 + 0.5 * len(shown)), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    panel = figure.subplots()
    for row, one in enumerate(shown):
        known = coverage(one.line.size, one.line.rate)
        panel.barh(row, known.high - known.low, left=known.low, height=0.6, color=_SKY, alpha=0.4)
        panel.plot((one.line.rate, one.line.rate), (row - 0.3, row + 0.3), color="black", lw=1.2)
        for figure_of, marker, colour, shift in (
            (one.held, "o", _BLUE, -0.1),
            (one.false_holds, "s", _RED, 0.1),
        ):
            if figure_of is not None:
                bars = [[figure_of.value - figure_of.low], [figure_of.high - figure_of.value]]
                panel.errorbar(
                    [figure_of.value],
                    [row + shift],
                    xerr=np.abs(bars),
                    fmt=marker,
                    color=colour,
                    markersize=4,
                    capsize=2.5,
                    linewidth=1.1,
                )
    panel.barh(0, 0, color=_SKY, alpha=0.4, label="95 % of such calibrations")
    panel.plot((), (), color="black", linewidth=1.2, label="nominal")
    panel.plot((), (), "o", color=_BLUE, markersize=4, label="held, of all judged")
    panel.plot((), (), "s", color=_RED, markersize=4, label="held, of those called normal")
    names = [
        f"{one.line.origin.place}\n{one.line.origin.detector}, n={one.line.size}" for one in shown
    ]
    panel.set_yticks(range(len(shown)), names, fontsize=7)
    panel.set_ylim(len(shown) - 0.5, -0.5)
    panel.set_xlim(0, None)
    panel.set_xlabel("rate", fontsize=8)
    panel.tick_params(axis="x", labelsize=7.5)
    panel.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return _png(figure)


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()
