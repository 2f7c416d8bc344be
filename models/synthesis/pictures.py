"""Pictures: what was drawn beside what was acquired, and a completed scan under its mark."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from models.evaluation.drawing import DPI, FONT, png
from models.grid import canonical
from models.scan import Scan
from models.synthesis.anomalies import NETWORK, Drawn
from models.synthesis.config import Config

_DIFFERENCE = 0.4
"""Top of the colour bar of differences; 1 is the 99th percentile of the brain."""


def compared(one: Drawn, config: Config, count: int) -> bytes:
    """Return a PNG of slices at even heights: input, drawn, acquired, and the difference.

    Args:
        one: a scan drawn by networks that did not see the part that they drew.
        config: settings.
        count: of slices.
    """
    pair = one.pair
    levels = np.flatnonzero(pair.brain.any(axis=(1, 2)))
    chosen = levels[np.round(np.linspace(0.3, 0.75, count) * (len(levels) - 1)).astype(np.intp)]
    titles = (
        config.inputs[0],
        f"synthetic {config.output}",
        f"acquired {config.output}",
        "acquired less synthetic",
    )
    figure, rows = _grid(count, 4, config.rows / config.columns)
    shown: Any = None
    for row, level in zip(rows, chosen, strict=True):
        made, real = one.images[NETWORK][level], pair.target[level]
        change = np.where(pair.brain[level], (real - made) / 2, 0.0)
        for panel, image in zip(row, (pair.inputs[0][level], made, real), strict=False):
            _grey(panel, image, -1.0, 1.25)
        shown = row[3].imshow(
            change, cmap="RdBu_r", vmin=-_DIFFERENCE, vmax=_DIFFERENCE, origin="lower"
        )
        if pair.lesion[level].any():
            for panel in row[2:]:
                panel.contour(pair.lesion[level], [0.5], colors="#E69F00", linewidths=0.6)
        height = (level - levels[0]) * config.slice_mm
        row[0].set_ylabel(f"{height:.0f} mm over the lowest slice", fontsize=FONT - 1)
    for panel, title in zip(rows[0], titles, strict=True):
        panel.set_title(title, fontsize=FONT, loc="left")
    _scale(rows[-1][0], config.pixel_mm)
    figure.suptitle(
        f"{pair.name}: drawn by networks that were not trained on these slices", fontsize=FONT
    )
    bar = figure.colorbar(shown, ax=[row[3] for row in rows], shrink=0.6, pad=0.02)
    bar.set_label("1 = the brain's 99th percentile; outlined: lesion", fontsize=FONT - 1)
    bar.ax.tick_params(labelsize=FONT - 1.5)
    return png(figure)


def completed(source: Scan, drawn: Scan) -> bytes:
    """Return a PNG of a scan's middle slices and what was drawn of it, stamped as synthetic."""
    first, second = (canonical(scan.volume) for scan in (source, drawn))
    levels = np.flatnonzero((second.array > 0).any(axis=(0, 1)))
    chosen = levels[np.round(np.array((0.4, 0.55, 0.7)) * (len(levels) - 1)).astype(np.intp)]
    inside = np.argwhere((second.array > 0).any(axis=2))
    low, high = inside.min(axis=0), inside.max(axis=0) + 1
    place = (slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1])))
    aspect = (high[1] - low[1]) * first.spacing[1] / ((high[0] - low[0]) * first.spacing[0])
    figure, rows = _grid(2, len(chosen), float(aspect))
    for row, scan, array in zip(rows, (source, drawn), (first, second), strict=True):
        bright = float(np.quantile(array.array[second.array > 0], 0.995))
        for panel, level in zip(row, chosen, strict=True):
            _grey(panel, array.array[(*place, level)].T, 0.0, bright * 1.1)
            if scan.synthetic is not None:
                panel.text(
                    0.5, 0.03, "SYNTHETIC", transform=panel.transAxes, ha="center",
                    color="#E69F00", fontsize=FONT + 1, fontweight="bold",
                )  # fmt: skip
    rows[0][0].set_title(f"acquired {source.volume.sequence}", fontsize=FONT, loc="left")
    mark = drawn.synthetic
    who = f"{mark.model}@{mark.digest[:12]}" if mark is not None else ""
    title = f"{drawn.volume.sequence} drawn from it by {who}"
    rows[1][0].set_title(title, fontsize=FONT, loc="left")
    _scale(rows[0][0], first.spacing[0])
    return png(figure)


def _grid(rows: int, columns: int, aspect: float) -> tuple[Figure, list[list[Axes]]]:
    width = 2.1
    size = (width * columns + 0.6, width * aspect * rows + 0.4)
    figure = Figure(figsize=size, dpi=DPI * 0.7, layout="constrained")
    FigureCanvasAgg(figure)
    panels: Any = figure.subplots(rows, columns, squeeze=False)
    for panel in panels.ravel():
        panel.set_xticks([])
        panel.set_yticks([])
    return figure, [list(row) for row in panels]


def _grey(panel: Axes, image: NDArray[np.float32], low: float, high: float) -> None:
    panel.imshow(image, cmap="gray", vmin=low, vmax=high, origin="lower")


def _scale(panel: Axes, pixel_mm: float) -> None:
    """Draw a bar of 50 mm."""
    panel.plot([4, 4 + 50 / pixel_mm], [4, 4], color="white", linewidth=2)
    panel.text(4, 6, "50 mm", color="white", fontsize=FONT - 2)
