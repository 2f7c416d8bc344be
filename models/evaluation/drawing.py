"""Drawing: panels, labels and bytes that the figures of every report share."""

from __future__ import annotations

import io
from typing import cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Colours that everybody can tell apart (Okabe and Ito 2008)."""
DPI = 150
FONT = 9.0


def panels(count: int, size: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """Return a figure with `count` panels in a row; `size` is in inches."""
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    grid = cast("NDArray[np.object_]", figure.subplots(1, count, squeeze=False))
    return figure, cast("list[Axes]", list(grid[0]))


def label(panel: Axes, title: str, x: str, y: str, unit: bool = True) -> None:
    """Write title and axes; with `unit` both axes go from 0 to 1."""
    panel.set_title(title, fontsize=FONT, loc="left", fontweight="bold")
    panel.set_xlabel(x, fontsize=FONT - 1)
    panel.set_ylabel(y, fontsize=FONT - 1)
    panel.tick_params(labelsize=FONT - 1.5)
    panel.spines[["top", "right"]].set_visible(False)
    if unit:
        panel.set_xlim(0, 1)
        panel.set_ylim(0, 1.005)


def legend_below(figure: Figure, panel: Axes) -> None:
    """Put the panel's legend under the whole figure."""
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=min(4, max(1, len(labels))),
        frameon=False,
        fontsize=FONT,
    )


def png(figure: Figure) -> bytes:
    """Return the figure as PNG, the same bytes for the same figure."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()
