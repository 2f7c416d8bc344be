"""Figures of a multimodal report: matplotlib drawings as PNG bytes.

Orange and blue with different marks, as colour is never the only difference; what is made up says
so in the picture itself, because pictures are copied without their captions.
"""

from __future__ import annotations

import io
from typing import Any, cast

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from models.multimodal.evaluation import Evaluation

_IMAGE, _FUNCTION, _GREY = "#0072B2", "#D55E00", "#8a8a8a"
_DPI = 150
_FONT = 9.0
_MARKED = 0.5
"""Gap of percentiles from which a patient is named discordant."""


def discordance(found: Evaluation, notice: str = "") -> bytes | None:
    """Return one line a patient from function to image, and what makes each score; None without.

    Left: percentile of impairment (open orange square) and of the scan's deviation (blue disc),
    patients ordered by the gap. Right: contributions to the score, the same rows.
    """
    shown = found.discordance
    if shown is None:
        return None
    gap = np.where(np.isnan(shown.gap), -np.inf, shown.gap)
    order = np.argsort(gap, kind="stable")
    order = order[np.isfinite(gap[order])]
    rows = np.arange(len(order))
    height = max(3.6, 0.17 * len(order) + 1.5)
    figure, (left, right) = _panels((11.0, height), (1.0, 1.05))
    for row, patient in zip(rows, order, strict=True):
        marked = abs(gap[patient]) >= _MARKED
        left.plot(
            (shown.function[patient], shown.image[patient]),
            (row, row),
            color="#1b1b1b" if marked else "#c4c4c4",
            linewidth=1.8 if marked else 1.0,
            zorder=1,
        )
    left.scatter(
        shown.function[order], rows, marker="s", s=22, facecolors="white", edgecolors=_FUNCTION,
        linewidths=1.4, zorder=2, label="impaired function",
    )  # fmt: skip
    left.scatter(
        shown.image[order], rows, marker="o", s=24, color=_IMAGE, zorder=3,
        label="deviation of the scan",
    )  # fmt: skip
    left.set_yticks(rows, [found.cohort.table.patients[one] for one in order])
    left.set_ylim(-2.6, len(order) + 1.6)  # room for the words
    left.set_xlim(-0.02, 1.02)
    _label(left, "Where image and function disagree", "percentile in the cohort", "")
    left.tick_params(axis="y", labelsize=6.2)
    words: dict[str, Any] = {"fontsize": 7.5, "color": "#595959", "ha": "center", "va": "center"}
    left.text(0.5, len(order) + 0.6, "scan departs, function preserved", **words)
    left.text(0.5, -1.7, "function impaired, scan like the others", **words)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower left", ncols=2, frameon=False, fontsize=_FONT - 1
    )
    _contributions(figure, right, found, order)
    _notice(figure, notice)
    return _png(figure)


def _contributions(figure: Figure, panel: Axes, found: Evaluation, order: NDArray[np.intp]) -> None:
    shares = found.fitted.contributions
    values = shares.values[order]
    limit = float(np.quantile(np.abs(values), 0.99)) or 1.0
    drawn = panel.imshow(
        values,
        cmap=colormaps["PuOr_r"],
        vmin=-limit,
        vmax=limit,
        aspect="auto",
        origin="lower",
        interpolation="nearest",
    )
    table = found.cohort.table
    for row, patient in enumerate(order):
        for column in np.flatnonzero(np.isnan(table.values[patient])):
            panel.text(
                int(column) + 1, row, "–", ha="center", va="center", fontsize=6, color="#595959"
            )
    panel.set_xticks(range(len(shares.players)), list(shares.players), rotation=35, ha="right")
    panel.set_yticks([])
    panel.set_ylim(-2.6, len(order) + 1.6)  # beside the same patient
    _label(panel, "What each score is made of (– not measured)", "", "")
    bar = figure.colorbar(drawn, ax=panel, shrink=0.6, pad=0.02)
    bar.ax.tick_params(labelsize=_FONT - 2)
    bar.set_label("contribution", fontsize=_FONT - 1)


def scores(found: Evaluation, notice: str = "") -> bytes:
    """Return in-sample beside cross-fitted scores, each with the published threshold."""
    figure, (left, right) = _panels((10.0, 3.8), (1.0, 1.0))
    fitted = found.fitted
    cut = found.cuts["percentile, in-sample (published)"].value
    edges = np.linspace(
        min(fitted.in_sample.min(), fitted.held_out.min()),
        max(fitted.in_sample.max(), fitted.held_out.max()),
        22,
    )
    for values, colour, hatch, name in (
        (fitted.in_sample, _GREY, "", "in-sample"),
        (fitted.held_out, _IMAGE, "////", "cross-fitted"),
    ):
        left.hist(
            values, bins=cast("Any", edges), color=colour, alpha=0.5, hatch=hatch,
            edgecolor=colour, linewidth=0.6, label=name,
        )  # fmt: skip
    left.axvline(cut, color="black", linewidth=1.2, label="in-sample percentile")
    _label(left, "Scores", "score", "patients")
    left.legend(frameon=False, fontsize=_FONT - 1)
    right.scatter(fitted.floor, fitted.held_out, s=20, color=_IMAGE)
    _label(
        right,
        f"Against no network at all: rho {found.floor_agreement.rho.value:.2f}",
        "floor: squared distance from the mean",
        "cross-fitted score",
    )
    _notice(figure, notice)
    return _png(figure)


def severity(
    found: Evaluation, markers: dict[str, NDArray[np.float64]], notice: str = ""
) -> bytes | None:
    """Return cross-fitted score against each severity marker; None without any."""
    shown = [one for one in found.associations if one.marker in markers]
    if not shown:
        return None
    figure, panels = _panels((min(10.5, 3.6 * len(shown) + 0.6), 3.6), (1.0,) * len(shown))
    for panel, one in zip(panels, shown, strict=True):
        panel.scatter(markers[one.marker], found.fitted.held_out, s=20, color=_IMAGE)
        title = f"rho {one.held_out.rho.value:.2f}"
        if one.without is not None:
            title += f"; {one.without.rho.value:.2f} with the marker hidden"
        _label(
            panel,
            title,
            one.marker,
            "cross-fitted score",
        )
    _notice(figure, notice)
    return _png(figure)


def _panels(size: tuple[float, float], widths: tuple[float, ...]) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    grid = cast(
        "NDArray[np.object_]",
        figure.subplots(1, len(widths), squeeze=False, gridspec_kw={"width_ratios": list(widths)}),
    )
    return figure, cast("list[Axes]", list(grid[0]))


def _label(panel: Axes, title: str, x: str, y: str) -> None:
    panel.set_title(title, fontsize=_FONT, loc="left", fontweight="bold")
    panel.set_xlabel(x, fontsize=_FONT - 1)
    panel.set_ylabel(y, fontsize=_FONT - 1)
    panel.tick_params(labelsize=_FONT - 1.5)
    panel.spines[["top", "right"]].set_visible(False)


def _notice(figure: Figure, notice: str) -> None:
    if notice:
        figure.suptitle(notice, fontsize=_FONT - 0.5, color="#a00000", fontweight="bold")


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()
