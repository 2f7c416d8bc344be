"""Pictures: one source slice in grey, the anomaly map over it, and a legend below it.

Nothing of the source is covered but by the map, its outlines and their numbers: colour bar, unit,
research banner and model stand in a strip that lengthens the picture at its bottom. The strip
begins after the last source row, so pixel (0, 0) and the grid are the source's own.

A matrix too narrow for the legend's text is drawn larger by whole factors, and so are pixels far
from square; `Layout` says by how much, so that the geometry can follow. Grey is interpolated
between pixel centres; map and outlines keep the voxels' true edges.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from gatekeeper.results.palette import colours

LEGEND_WIDTH = 256
"""Columns that the legend's text needs."""

_Scalar = TypeVar("_Scalar", bound=np.generic)
OPACITY = 0.6
"""Of the map over the source, in a heatmap."""
_OUTLINE = (255, 255, 255)
_TEXT = (225, 225, 225)
_WARNING = (255, 214, 90)
_MAXIMUM_FACTOR = 16


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things are in a picture of a slice.

    Attributes:
        rows: rows of the source.
        columns: columns of the source.
        row_factor: picture rows for each source row.
        column_factor: picture columns for each source column.
        text: height of the text, pixels.
    """

    rows: int
    columns: int
    row_factor: int
    column_factor: int
    text: int

    @classmethod
    def of(cls, rows: int, columns: int, spacing: tuple[float, float]) -> Layout:
        """Return the layout of a source matrix with this (row, column) spacing in mm."""
        aspect = spacing[0] / spacing[1]
        tall = min(max(1, round(aspect)), _MAXIMUM_FACTOR)
        wide = min(max(1, round(1 / aspect)), _MAXIMUM_FACTOR)
        enlarge = max(1, math.ceil(LEGEND_WIDTH / (columns * wide)))
        text = _text_height(columns * wide * enlarge)
        return cls(rows, columns, tall * enlarge, wide * enlarge, text)

    @property
    def image_rows(self) -> int:
        """Rows of the picture that show the source."""
        return self.rows * self.row_factor

    @property
    def width(self) -> int:
        """Columns of the whole picture."""
        return self.columns * self.column_factor

    @property
    def line(self) -> int:
        """Height of a line of text, pixels."""
        return _line_height(self.text)

    @property
    def height(self) -> int:
        """Rows of the whole picture."""
        return self.image_rows + strip_height(self.width)


def strip_height(width: int) -> int:
    """Return the rows of the legend's strip below a picture of this width."""
    line = _line_height(_text_height(width))
    return 4 * line + line // 2


@dataclass(frozen=True, slots=True)
class Legend:
    """What stands below every slice of a series.

    Attributes:
        threshold: map value at which colour starts.
        maximum: map value at the top of the colour bar.
        unit: what one unit of the map is.
        banner: the research banner.
        model: which model, with the verdict.
    """

    threshold: float
    maximum: float
    unit: str
    banner: str
    model: str

    def fraction(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return map values as a share of the colour bar, 0 at the threshold."""
        return (values - np.float32(self.threshold)) / np.float32(self._span)

    @property
    def _span(self) -> float:
        return self.maximum - self.threshold if self.maximum > self.threshold else 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """One region's share of one slice: its mask, bool (rows, columns), from `row`, `column` on."""

    label: int
    row: int
    column: int
    mask: NDArray[np.bool_]


def blank(layout: Layout, legend: Legend) -> NDArray[np.uint8]:
    """Return a picture, (height, width, 3), with the legend alone."""
    image = Image.new("RGB", (layout.width, layout.height))
    draw = ImageDraw.Draw(image)
    top = layout.image_rows + layout.line // 4
    _colour_bar(image, draw, layout, legend, top)
    for number, (text, colour) in enumerate(
        ((legend.unit, _TEXT), (legend.banner, _WARNING), (legend.model, _TEXT)), start=1
    ):
        _centred(draw, text, layout, top + number * layout.line, colour)
    return np.array(image)


def paint(
    canvas: NDArray[np.uint8],
    layout: Layout,
    legend: Legend,
    grey: NDArray[np.uint8],
    values: NDArray[np.float32],
    patches: Sequence[Patch] = (),
) -> NDArray[np.uint8]:
    """Return `canvas` with one slice on it.

    Args:
        canvas: from `blank`; not changed.
        layout: of the series.
        legend: of the series.
        grey: (rows, columns), the source as displayed.
        values: (rows, columns), the map; not a number counts as below the threshold.
        patches: the regions in this slice.
    """
    picture = canvas.copy()
    image = picture[: layout.image_rows]
    image[:] = _enlarged_grey(grey, layout)[:, :, None]
    above = values >= legend.threshold
    if above.any():
        painted = _repeated(above, layout)
        colour = colours(legend.fraction(values[above]))
        full = np.zeros((*values.shape, 3), np.float32)
        full[above] = colour
        overlay = _repeated(full, layout)[painted]
        image[painted] = np.rint(
            (1 - OPACITY) * image[painted].astype(np.float32) + OPACITY * overlay
        ).astype(np.uint8)
    if patches:
        _outline(image, layout, patches)
    return picture


def windowed(
    values: NDArray[np.float32], centre: float, width: float, function: str = "LINEAR"
) -> NDArray[np.uint8]:
    """Return values as grey, 0 to 255 (PS3.3 C.11.2.1.2 and C.11.2.1.3).

    Args:
        values: after the modality's rescale.
        centre: window centre.
        width: window width, above 0.
        function: LINEAR, LINEAR_EXACT or SIGMOID; anything else counts as LINEAR.
    """
    known = np.nan_to_num(values.astype(np.float32), copy=False)
    if function == "SIGMOID":
        shade = 1 / (1 + np.exp(np.clip(-4 * (known - centre) / width, -80, 80)))
    elif function == "LINEAR_EXACT" or width <= 1:
        shade = (known - centre) / width + 0.5
    else:
        shade = (known - (centre - 0.5)) / (width - 1) + 0.5
    return np.rint(np.clip(shade, 0, 1) * 255).astype(np.uint8)


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the imaging library's own font, so that no machine needs fonts installed."""
    return _fonts(size)


@lru_cache(maxsize=32)
def _fonts(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _text_height(width: int) -> int:
    return min(max(11, width // 30), 28)


def _line_height(text: int) -> int:
    return text + text // 2


def _enlarged_grey(grey: NDArray[np.uint8], layout: Layout) -> NDArray[np.uint8]:
    if layout.row_factor == layout.column_factor == 1:
        return grey
    size = (layout.width, layout.image_rows)
    return np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BILINEAR))


def _repeated(array: NDArray[_Scalar], layout: Layout) -> NDArray[_Scalar]:
    if layout.row_factor > 1:
        array = np.repeat(array, layout.row_factor, axis=0)
    if layout.column_factor > 1:
        array = np.repeat(array, layout.column_factor, axis=1)
    return array


def _outline(image: NDArray[np.uint8], layout: Layout, patches: Sequence[Patch]) -> None:
    """Draw each region's edge just outside its voxels, darkened around, its number beside it."""
    inside = np.zeros((layout.rows, layout.columns), np.bool_)
    for patch in patches:
        rows, columns = patch.mask.shape
        inside[patch.row : patch.row + rows, patch.column : patch.column + columns] |= patch.mask
    large = _repeated(inside, layout)
    edge = _grown(large)
    halo = _grown(edge)
    image[halo & ~edge] //= 3
    image[edge & ~large] = _OUTLINE
    labelled = Image.fromarray(image)
    draw = ImageDraw.Draw(labelled)
    face = font(layout.text)
    for patch in patches:
        rows, columns = np.nonzero(patch.mask)
        if not len(rows):
            continue
        text = str(patch.label)
        right = (patch.column + int(columns.max()) + 1) * layout.column_factor + 3
        top = (patch.row + int(rows.min())) * layout.row_factor - layout.text // 2
        x = min(right, layout.width - int(face.getlength(text)) - 3)
        y = min(max(top, 1), layout.image_rows - layout.line)
        draw.text((x, y), text, font=face, fill=_OUTLINE, stroke_width=2, stroke_fill=(0, 0, 0))
    image[:] = np.asarray(labelled)


def _grown(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    grown = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    grown[:, 1:] |= mask[:, :-1]
    grown[:, :-1] |= mask[:, 1:]
    return grown


def _colour_bar(
    image: Image.Image, draw: ImageDraw.ImageDraw, layout: Layout, legend: Legend, top: int
) -> None:
    """Draw the colour bar with the values at its ends."""
    face = font(layout.text)
    low, high = f"{legend.threshold:.3g}", f"{max(legend.maximum, legend.threshold):.3g}+"
    beside = max(face.getlength(low), face.getlength(high))
    length = min(layout.width // 2, int(layout.width - 2 * beside - 20))
    left = (layout.width - length) // 2
    ramp = np.linspace(0, 1, length, dtype=np.float32)
    bar = np.repeat(colours(ramp)[None], layout.text, axis=0)
    image.paste(Image.fromarray(bar), (left, top))
    frame = (left - 1, top - 1, left + length, top + layout.text)
    draw.rectangle(frame, outline=(120, 120, 120))
    middle = top + layout.text // 2
    draw.text((left - 6, middle), low, font=face, fill=_TEXT, anchor="rm")
    draw.text((left + length + 6, middle), high, font=face, fill=_TEXT, anchor="lm")


def _centred(
    draw: ImageDraw.ImageDraw, text: str, layout: Layout, top: int, colour: tuple[int, int, int]
) -> None:
    """Write one line in the middle, smaller or cut if it is too long."""
    room = layout.width - 6
    size = layout.text
    while size > 9 and font(size).getlength(text) > room:
        size -= 1
    while len(text) > 1 and font(size).getlength(text) > room:
        text = text[:-2].rstrip() + "…"
    middle = top + layout.text // 2
    draw.text((layout.width // 2, middle), text, font=font(size), fill=colour, anchor="mm")
