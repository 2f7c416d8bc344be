"""Drawing: each image beside its maps, with what the sanity check says under every map.

A map that does not depend on what was learned is struck out where it stands. Lesion maps have one
scale a map, symmetric: red speaks for malignant, blue for benign. Roll-out has one scale for all:
multiples of even attention.
"""

from __future__ import annotations

import textwrap
from typing import Any, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from models.attribution import lesions, slices
from models.attribution.sanity import Sanity, Verdict
from models.evaluation.drawing import png
from models.lesion.lesions import PIXEL_MM

_DPI = 110
_FONT = 8.0
_CELL = (2.05, 2.75)
_HEAD = 0.6
"""Inches: of a panel with its words, and of the headings."""
_OUTLINE = "#f0e442"
_COLOURS = {Verdict.FOLLOWS: "#1b1b1b", Verdict.PARTLY: "#8a5a00", Verdict.IGNORES: "#b00020"}
_TITLES = {
    lesions.LUNG: "Occlusion:\ncovered by lung",
    lesions.AROUND: "Occlusion: covered\nby its surroundings",
    lesions.GRADIENT: "Gradient",
    lesions.INTEGRATED: "Integrated\ngradients, from lung",
    lesions.SMOOTH: "SmoothGrad",
    lesions.EDGES: "Control: edges of the\nimage, no network",
}
_SLICE_TITLES = (
    "Slice; outlined:\nlesion as drawn",
    "Surprise of each token;\noutlined: judged",
    "Roll-out: where it looked\n(1: as if nothing learned)",
    "Occlusion: fall of the\nscore where covered",
)
_BRIGHT_HU = 240.0
_DARK_HU = -1000.0
_SCALE_MM = 10.0
_TOP = 0.995


def lesion_picture(found: lesions.Explained, most: int) -> bytes:
    """Return at most so many patches with their maps as PNG: malignant and benign in turn."""
    shown = _shown(found, most)
    figure, grid = _grid(len(shown), 1 + len(found.methods))
    for row, index in enumerate(shown):
        lesion = found.lesions[index]
        panel = grid[row][0]
        middle = lesion.stack[len(lesion.stack) // 2]
        panel.imshow(middle, cmap="gray", vmin=_DARK_HU, vmax=_BRIGHT_HU)
        _outline(panel, lesion.mask)
        _scale_bar(panel, middle.shape, PIXEL_MM)
        truth = {None: "not known", True: "malignant", False: "benign"}[lesion.malignant]
        panel.set_title("CT and outline" if row == 0 else "", fontsize=_FONT, loc="left")
        panel.set_xlabel(
            f"class: {truth}\nlogit {found.logits[index]:+.1f} (over 0:\nmalignant)",
            fontsize=_FONT - 1, loc="left",
        )  # fmt: skip
        for column, method in enumerate(found.methods, start=1):
            one = method.maps[index]
            top = float(np.quantile(np.abs(one), _TOP)) or 1.0
            panel = grid[row][column]
            made = panel.imshow(one, cmap="RdBu_r", vmin=-top, vmax=top)
            _outline(panel, lesion.mask, "#444444")
            panel.set_title(_TITLES[method.name] if row == 0 else "", fontsize=_FONT, loc="left")
            _bar(figure, made, panel)
            _checked(panel, method.sanity, index)
    return png(figure)


def slice_picture(found: slices.Explained, most: int) -> bytes:
    """Return at most so many slices with where the transformer looked, as PNG.

    The front is up and the patient's right on the left of the picture, as radiologists look at it.
    """
    shown = sorted(found.slices, key=lambda one: one.occluded is None)[:most]
    covering = any(one.occluded is not None for one in shown)
    figure, grid = _grid(len(shown), 4 if covering else 3)
    top = max(2.0, *(float(np.quantile(one.looked.times, _TOP)) for one in shown))
    for title, panel in zip(_SLICE_TITLES, grid[0], strict=False):
        panel.set_title(title, fontsize=_FONT, loc="left")
    for row, one in zip(grid, shown, strict=True):
        lesion, brain = _seen(one.lesion), _seen(one.brain)
        covered = _tokens(brain, one.surprise.shape)
        extent = (-0.5, brain.shape[1] - 0.5, brain.shape[0] - 0.5, -0.5)
        row[0].imshow(_seen(one.image), cmap="gray", vmin=-1.0, vmax=1.0)
        _outline(row[0], lesion)
        row[0].text(2, 10, "R", color="#ffffff", fontsize=_FONT)
        row[0].set_xlabel(f"level {one.level + 1}", fontsize=_FONT - 1, loc="left")
        surprise = np.where(covered, _seen(one.surprise), np.nan)
        made = row[1].imshow(surprise, cmap="viridis", extent=extent, vmin=0.0)
        _outline(row[1], _pixels(_seen(one.judged), brain.shape), "#ffffff")
        _bar(figure, made, row[1])
        times = np.where(covered, _seen(one.looked.times), np.nan)
        made = row[2].imshow(times, cmap="magma", extent=extent, vmin=0.0, vmax=top)
        _outline(row[2], lesion, "#00d0ff")
        _bar(figure, made, row[2])
        _checked(row[2], one.looked_check, 0)
        if not covering:
            continue
        if one.occluded is None or one.occluded_check is None:
            row[3].set_axis_off()
            continue
        fall = np.where(brain, _seen(one.occluded), np.nan)
        size = float(np.nanquantile(np.abs(fall), _TOP)) or 1.0
        made = row[3].imshow(fall, cmap="RdBu_r", vmin=-size, vmax=size)
        _outline(row[3], lesion, "#444444")
        _bar(figure, made, row[3])
        _checked(row[3], one.occluded_check, 0)
    return png(figure)


def cascade_picture(checks: dict[str, Sanity]) -> bytes:
    """Return how much of each method's maps is left as layers are drawn anew, as PNG."""
    figure = Figure(figsize=(6.4, 3.8), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    panel = figure.subplots()
    marks = "os^vDx*"
    for number, (name, check) in enumerate(checks.items()):
        if check.layers:
            values = [1.0, *check.ranks.mean(axis=1)]
            panel.plot(values, marker=marks[number % len(marks)], label=name, linewidth=1.3)
            panel.set_xticks(range(len(values)), ["trained", *(_short(n) for n in check.layers)])
    panel.axhspan(0.6, 1.02, color="#f6d9d9", zorder=0)
    panel.axhspan(-0.3, 0.3, color="#dff0e2", zorder=0)
    panel.tick_params(axis="x", rotation=55, labelsize=_FONT - 1)
    panel.tick_params(axis="y", labelsize=_FONT - 1)
    panel.set_ylabel("rank correlation with the\ntrained network's map", fontsize=_FONT)
    panel.set_xlabel("layers drawn anew, one after the other, last first", fontsize=_FONT)
    panel.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=_FONT - 1)
    return png(figure)


def _shown(found: lesions.Explained, most: int) -> list[int]:
    """Return which patches are shown: the surest answers of each class, in turn."""
    sides = [
        sorted(
            (n for n, one in enumerate(found.lesions) if bool(one.malignant) is malignant),
            key=lambda n: -found.logits[n] if malignant else found.logits[n],
        )
        for malignant in (True, False)
    ]
    longest = max(len(side) for side in sides)
    turns = [side[n] for n in range(longest) for side in sides if n < len(side)]
    return turns[:most]


def _grid(rows: int, columns: int) -> tuple[Figure, list[list[Axes]]]:
    size = (columns * _CELL[0], rows * _CELL[1] + _HEAD)
    figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    grid = cast("NDArray[np.object_]", figure.subplots(rows, columns, squeeze=False))
    panels = cast("list[list[Axes]]", grid.tolist())
    for row in panels:
        for panel in row:
            panel.set_xticks([])
            panel.set_yticks([])
            panel.spines[:].set_visible(False)
    return figure, panels


def _outline(panel: Axes, mask: NDArray[np.bool_], colour: str = _OUTLINE) -> None:
    if mask.any() and not mask.all():
        panel.contour(mask.astype(float), levels=[0.5], colors=[colour], linewidths=0.9)


def _bar(figure: Figure, made: Any, panel: Axes) -> None:
    bar = figure.colorbar(made, ax=panel, fraction=0.05, pad=0.02, aspect=14)
    bar.ax.tick_params(labelsize=_FONT - 2.5, length=2)
    bar.locator = _ticks()
    bar.update_ticks()


def _ticks() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(4)


def _scale_bar(panel: Axes, shape: tuple[int, ...], pixel_mm: float) -> None:
    length, row = _SCALE_MM / pixel_mm, shape[0] - 2.5
    panel.plot((1.5, 1.5 + length), (row, row), color="#ffffff", linewidth=2)
    panel.text(1.5, row - 1.2, f"{_SCALE_MM:.0f} mm", color="#ffffff", fontsize=_FONT - 2)


def _checked(panel: Axes, check: Sanity, image: int) -> None:
    """Write the check under a map, and strike out a map that is not to be read."""
    rank, structure, said = check.of(image)
    words = textwrap.fill(str(said), 27)
    if check.changes_at and check.changes_at != check.layers[0]:
        words += f"\nunchanged down to {_short(check.changes_at)}"
    panel.set_xlabel(
        f"randomised: rank {rank:+.2f}, SSIM {structure:.2f}\n{words}",
        fontsize=_FONT - 2, loc="left", color=_COLOURS[said],
    )  # fmt: skip
    if said is Verdict.IGNORES:
        for down in (0, 1):
            panel.plot(
                (0, 1), (down, 1 - down), color=_COLOURS[said], linewidth=1.6,
                transform=panel.transAxes,
            )  # fmt: skip


def _seen(array: NDArray[Any]) -> NDArray[Any]:
    """Return a working-grid slice, whose rows run to the front and columns to the right, turned."""
    return array[::-1, ::-1]


def _pixels(tokens: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    side = shape[0] // tokens.shape[0]
    return tokens.repeat(side, 0).repeat(side, 1)


def _tokens(brain: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    side = brain.shape[0] // shape[0]
    parts = brain.reshape(shape[0], side, shape[1], side).mean(axis=(1, 3))
    return parts >= 0.25


def _short(name: str) -> str:
    return name.removeprefix("network.").removeprefix("inner.")
