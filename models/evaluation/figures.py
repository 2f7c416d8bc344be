"""Figures of a report: matplotlib drawings as PNG bytes, in colours that everybody can tell apart.

Candidates are solid lines in Okabe and Ito's colours, floors are grey and dashed: colour is never
the only difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from matplotlib import colormaps, patheffects
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from models.evaluation import grouping
from models.evaluation.drawing import DPI, FONT, OKABE_ITO, label, legend_below, panels, png
from models.evaluation.gallery import Picture
from models.evaluation.measures import LIMIT
from models.evaluation.record import Evaluation

_GREYS = ("#555555", "#8a8a8a", "#333333")
_NORMAL, _ABNORMAL = "#0072B2", "#D55E00"
_DASHES: tuple[Any, ...] = ((0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)))


def styles(evaluations: Sequence[Evaluation]) -> dict[str, dict[str, Any]]:
    """Return each detector's line style, by name."""
    found: dict[str, dict[str, Any]] = {}
    candidates = floors = 0
    for evaluation in evaluations:
        if evaluation.floor:
            found[evaluation.detector] = {
                "color": _GREYS[floors % len(_GREYS)],
                "linestyle": _DASHES[floors % len(_DASHES)],
                "linewidth": 1.6,
            }
            floors += 1
        else:
            found[evaluation.detector] = {
                "color": OKABE_ITO[candidates % len(OKABE_ITO)],
                "linestyle": "-",
                "linewidth": 1.8,
            }
            candidates += 1
    return found


def voxel_curves(evaluations: Sequence[Evaluation]) -> bytes | None:
    """Return ROC, precision-recall and PRO of the pooled voxels; None without any."""
    own = [(one, one.voxels) for one in evaluations if one.voxels is not None]
    if not own:
        return None
    figure, (roc, pr, pro) = panels(3, (10.5, 3.9))
    style = styles(evaluations)
    for one, voxels in own:
        for panel, curve in ((roc, voxels.roc), (pr, voxels.precision_recall), (pro, voxels.pro)):
            panel.plot(curve.x, curve.y, label=one.detector, **style[one.detector])
    pr.axhline(own[0][1].prevalence, color="#bbbbbb", linewidth=1, zorder=0)
    for panel in (roc, pro):
        panel.axvspan(0, LIMIT, color="#f0f0ea", zorder=0)
        panel.plot((0, 1), (0, 1), color="#bbbbbb", linewidth=1, zorder=0)
    label(roc, "ROC", "false-positive rate", "true-positive rate")
    label(pr, "Precision and recall", "recall", "precision")
    label(pro, "Per-region overlap (PRO)", "false-positive rate", "mean overlap of a lesion")
    legend_below(figure, roc)
    return png(figure)


def study_roc(evaluations: Sequence[Evaluation]) -> bytes | None:
    """Return the ROC over patients; None where one kind of patient is missing."""
    own = [one for one in evaluations if one.study]
    if not own:
        return None
    figure, (panel,) = panels(1, (4.6, 4.4))
    style = styles(evaluations)
    for one in own:
        group = grouping.patients(one.scans)
        normal = np.asarray(grouping.normal_scores(group))
        abnormal = np.concatenate(
            [np.asarray(values) for values in grouping.abnormal_scores(group).values()]
        )
        cuts = np.unique(np.concatenate([normal, abnormal]))[::-1]
        fpr = [0.0, *((normal >= cut).mean() for cut in cuts)]
        tpr = [0.0, *((abnormal >= cut).mean() for cut in cuts)]
        panel.plot(fpr, tpr, label=one.detector, **style[one.detector])
    panel.plot((0, 1), (0, 1), color="#bbbbbb", linewidth=1, zorder=0)
    label(panel, "ROC over patients", "false-positive rate", "sensitivity")
    legend_below(figure, panel)
    return png(figure)


def reliability(evaluations: Sequence[Evaluation]) -> bytes | None:
    """Return realised false holds against nominal, and the clean p-values; None without any."""
    own = [(one, one.clean) for one in evaluations if one.clean is not None]
    if not own:
        return None
    figure, (rates, distribution) = panels(2, (8.4, 4.3))
    style = styles(evaluations)
    for shift, (one, clean) in enumerate(own):
        x = np.array([hold.nominal for hold in clean.false_holds])
        y = np.array([hold.rate.value for hold in clean.false_holds])
        low = np.array([hold.rate.low for hold in clean.false_holds])
        high = np.array([hold.rate.high for hold in clean.false_holds])
        rates.errorbar(
            x + 0.004 * (shift - (len(own) - 1) / 2),
            y,
            yerr=(y - low, high - y),
            fmt="o",
            markersize=4,
            capsize=2.5,
            label=one.detector,
            color=style[one.detector]["color"],
            linewidth=1.2,
        )
        values = np.sort(np.asarray(clean.p_values))
        distribution.step(
            np.concatenate([[0.0], values, [1.0]]),
            np.concatenate([[0.0], np.arange(1, len(values) + 1) / len(values), [1.0]]),
            where="post",
            label=one.detector,
            **style[one.detector],
        )
    rates.plot((0, 1), (0, 1), color="#bbbbbb", linewidth=1, zorder=0)
    distribution.plot((0, 1), (0, 1), color="#bbbbbb", linewidth=1, zorder=0)
    label(rates, "False holds of clean patients", "nominal rate", "realised rate, 95 %")
    highest = max(hold.rate.high for _, clean in own for hold in clean.false_holds)
    rates.set_xlim(0, 0.24)
    rates.set_ylim(0, min(1.0, max(0.3, highest * 1.05)))
    label(distribution, "Clean p-values", "p-value", "part of patients at or below")
    legend_below(figure, distribution)
    return png(figure)


def score_histograms(evaluations: Sequence[Evaluation]) -> bytes | None:
    """Return a row of panels for each detector: patients by score and by p-value, slices by score.

    The line is the threshold: for scores the one that flags 5 % of the normal patients, for
    p-values the alert level.
    """
    if not evaluations:
        return None
    height = 2.35 * len(evaluations) + 0.5
    figure = Figure(figsize=(10.5, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    grid = cast("NDArray[np.object_]", figure.subplots(len(evaluations), 3, squeeze=False))
    for row, one in zip(grid, evaluations, strict=True):
        score, p_value, of_slices = cast("list[Axes]", list(row))
        _study_histograms(score, p_value, one)
        _slice_histogram(of_slices, one)
    handles, labels = cast("list[Axes]", list(grid[0]))[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=FONT
    )
    return png(figure)


def _study_histograms(left: Axes, right: Axes, one: Evaluation) -> None:
    group = grouping.patients(one.scans)
    scores = [
        np.array([patient.score for patient in group if bool(patient.category) == abnormal])
        for abnormal in (False, True)
    ]
    finite = np.concatenate([side[np.isfinite(side)] for side in scores])
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    _two_histograms(left, scores, np.linspace(low, max(high, low + 1e-9), 21))
    label(left, one.detector, "study score", "patients", unit=False)
    if one.study:
        left.axvline(one.study[0].points[0].threshold, color="black", linewidth=1.2)
    left.plot((), (), color="black", linewidth=1.2, label="threshold")
    if not one.calibration_size:
        right.text(0.5, 0.5, "not calibrated: no p-value", ha="center", fontsize=FONT)
        right.set_axis_off()
        return
    p_values = [
        np.array([patient.p_value for patient in group if bool(patient.category) == abnormal])
        for abnormal in (False, True)
    ]
    _two_histograms(right, p_values, np.linspace(0, 1, 21))
    right.axvline(one.alert, color="black", linewidth=1.2)
    label(right, f"held at p ≤ {one.alert:g}", "p-value", "patients", unit=False)
    right.set_xlim(0, 1)


def _two_histograms(
    panel: Axes, sides: Sequence[NDArray[np.float64]], edges: NDArray[np.float64]
) -> None:
    for side, colour, hatch, name in (
        (sides[0], _NORMAL, "", "normal"),
        (sides[1], _ABNORMAL, "////", "abnormal"),
    ):
        panel.hist(
            np.clip(side, edges[0], edges[-1]),
            bins=cast("Any", edges),
            color=colour,
            alpha=0.55,
            hatch=hatch,
            edgecolor=colour,
            linewidth=0.6,
            label=name,
        )
    panel.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))


def _slice_histogram(panel: Axes, one: Evaluation) -> None:
    if one.slices is None:
        panel.set_axis_off()
        return
    counts = one.slices.scores
    for own, colour, hatch in (
        (counts.normal, _NORMAL, ""),
        (counts.abnormal, _ABNORMAL, "////"),
    ):
        panel.stairs(
            np.asarray(own) / max(1, sum(own)),
            counts.edges,
            fill=True,
            color=colour,
            alpha=0.55,
            hatch=hatch,
            edgecolor=colour,
            linewidth=0.6,
        )
    label(panel, "slices", "slice score", "part of slices", unit=False)


def picture_inches(columns: int) -> tuple[float, float]:
    """Return width and height of so many pictures in a row, with their colour bar."""
    return 0.9 + 1.6 * columns, 4.3


def pictures(shown: Sequence[Picture]) -> bytes | None:
    """Return the pictures in a row: the slice above, the slice with the map below.

    The truth is outlined in both. None without any.
    """
    if not shown:
        return None
    columns = len(shown)
    figure = Figure(figsize=picture_inches(columns), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    grid = cast("NDArray[np.object_]", figure.subplots(2, columns, squeeze=False))
    last = None
    for column in range(columns):
        top, bottom = cast("Axes", grid[0, column]), cast("Axes", grid[1, column])
        top.set_axis_off()
        bottom.set_axis_off()
        picture = shown[column]
        last = _overlay(top, bottom, picture) or last
        top.set_title(
            f"{_shortened(picture.scan)}\nslice {picture.slice_index + 1}", fontsize=FONT - 2.5
        )
        bottom.set_title(picture.caption, fontsize=FONT - 2.5)
    if last is not None:
        bar = figure.colorbar(last, ax=list(grid[:, -1]), shrink=0.6, pad=0.02)
        bar.ax.tick_params(labelsize=FONT - 2)
        bar.ax.axhline(shown[0].threshold, color="white", linewidth=1.5)
    return png(figure)


def _overlay(top: Axes, bottom: Axes, picture: Picture) -> Any:
    """Draw one picture; return what a colour bar needs."""
    for panel in (top, bottom):
        panel.imshow(
            picture.source, cmap="gray", vmin=0, vmax=255, aspect=picture.aspect,
            interpolation="nearest",
        )  # fmt: skip
    # Below a quarter of the threshold the map is clear, at the threshold it covers.
    strength = np.clip(picture.map / max(picture.threshold, 1e-9), 0, 1)
    alpha = np.where(strength > 0.25, 0.8 * strength, 0.0)
    shown = bottom.imshow(
        picture.map,
        cmap=colormaps["viridis"],
        vmin=0,
        vmax=picture.maximum,
        alpha=cast("Any", alpha),
        aspect=picture.aspect,
        interpolation="nearest",
    )
    shown_opaque = bottom.imshow(
        picture.map, cmap=colormaps["viridis"], vmin=0, vmax=picture.maximum, visible=False,
        aspect=picture.aspect,
    )  # fmt: skip
    if picture.lesion.any():
        for panel in (top, bottom):
            lines = panel.contour(
                picture.lesion.astype(np.float64), levels=[0.5], colors="white", linewidths=0.9
            )
            lines.set_path_effects([patheffects.withStroke(linewidth=2.0, foreground="black")])
    shown.set_zorder(1)
    return shown_opaque


def _shortened(name: str, length: int = 22) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"
