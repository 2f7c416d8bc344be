"""The contact sheet: the most coloured heatmaps of a study on one page, for people."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydicom.dataset import Dataset

from gatekeeper.results.catalogue import Catalogue, english
from gatekeeper.results.letters import latin
from gatekeeper.results.picture import font, strip_height
from gatekeeper.results.texts import Text

_COLUMNS = 4
_TILES = 12
_TILE = 300
_GAP = 10
_CAPTION = 22
_TITLE = 34
_BACKGROUND = (16, 18, 22)
_TEXT = (225, 228, 232)
_FAINT = (150, 156, 165)
_OPPOSITE = {"L": "R", "R": "L", "A": "P", "P": "A", "H": "F", "F": "H"}


def contact_sheet(heatmaps: Sequence[Dataset], words: Catalogue | None = None) -> bytes:
    """Return a PNG with the most suspicious slices of each series of heatmaps.

    Args:
        heatmaps: Secondary Capture data sets made by `gatekeeper.results.capture`, each series in
            slice order.
        words: of the captions, which are drawn in ASCII; English when not given.

    Raises:
        ValueError: if there is none.
    """
    if not heatmaps:
        raise ValueError("a contact sheet needs at least one heatmap")
    series: dict[str, list[Dataset]] = {}
    for heatmap in heatmaps:
        series.setdefault(str(heatmap.SeriesInstanceUID), []).append(heatmap)
    drawn = (words or english()).in_ascii
    sections = [_section(members, drawn) for members in series.values()]
    width = max(section.width for section in sections)
    sheet = Image.new("RGB", (width, sum(section.height for section in sections)), _BACKGROUND)
    top = 0
    for section in sections:
        sheet.paste(section, (0, top))
        top += section.height
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def most_coloured(amounts: Sequence[float], count: int) -> list[int]:
    """Return up to `count` places in ascending order: the most coloured, not all neighbours.

    Where nothing has colour, places spread over the inner four fifths.

    Args:
        amounts: how much colour each slice has, in slice order.
        count: how many are wanted.
    """
    apart = max(1, len(amounts) // (3 * count))
    coloured = [place for place, amount in enumerate(amounts) if amount > 0]
    if not coloured:
        last = len(amounts) - 1
        return sorted({round(place) for place in np.linspace(0.1 * last, 0.9 * last, count)})
    chosen: list[int] = []
    for place in sorted(coloured, key=lambda place: -amounts[place]):
        if len(chosen) < count and all(abs(place - other) >= apart for other in chosen):
            chosen.append(place)
    return sorted(chosen)


def _section(heatmaps: Sequence[Dataset], words: Catalogue) -> Image.Image:
    """Return the part of the sheet that shows one series."""
    amounts = [_colour(_image_part(heatmap)) for heatmap in heatmaps]
    places = most_coloured(amounts, _TILES)
    columns = min(_COLUMNS, len(places))
    rows = -(-len(places) // columns)
    tiles = [_tile(heatmaps[place], words) for place in places]
    tile_height = max(tile.height for tile in tiles)
    legend = _legend(heatmaps[0])
    width = max(columns * (_TILE + _GAP) + _GAP, legend.width + 2 * _GAP, 640)
    height = _TITLE + _GAP + rows * (tile_height + _GAP) + legend.height + _GAP
    section = Image.new("RGB", (width, height), _BACKGROUND)
    draw = ImageDraw.Draw(section)
    title = latin(str(heatmaps[0].SeriesDescription))
    draw.text((_GAP, _TITLE // 2 + 4), title, font=font(18), fill=_TEXT, anchor="lm")
    shown = Text.SHEET_COLOURED if any(amounts) else Text.SHEET_NOTHING
    note = words.say(shown, count=len(places), total=len(heatmaps))
    draw.text((width - _GAP, _TITLE // 2 + 4), note, font=font(14), fill=_FAINT, anchor="rm")
    left = (width - columns * (_TILE + _GAP) + _GAP) // 2
    for number, tile in enumerate(tiles):
        x = left + number % columns * (_TILE + _GAP)
        y = _TITLE + _GAP + number // columns * (tile_height + _GAP)
        section.paste(tile, (x, y))
    section.paste(legend, ((width - legend.width) // 2, height - legend.height - _GAP))
    return section


def _tile(heatmap: Dataset, words: Catalogue) -> Image.Image:
    """Return one slice in its true proportions, with its sides and its caption."""
    pixels = _image_part(heatmap)
    dy, dx = (float(value) for value in heatmap.PixelSpacing)
    height, width = pixels.shape[0] * dy, pixels.shape[1] * dx
    scale = _TILE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    slice_image = Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)
    tile = Image.new("RGB", (_TILE, size[1] + _CAPTION), (0, 0, 0))
    tile.paste(slice_image, ((_TILE - size[0]) // 2, 0))
    draw = ImageDraw.Draw(tile)
    across, down = (str(letters)[:1] for letters in heatmap.PatientOrientation)
    for letter, place, anchor in (
        (_OPPOSITE.get(across, ""), (4, size[1] // 2), "lm"),
        (_OPPOSITE.get(down, ""), (_TILE // 2, 3), "mt"),
    ):
        draw.text(place, letter, font=font(14), fill=_TEXT, anchor=anchor)
    comment = latin(str(heatmap.get("ImageComments", "")))
    number = int(heatmap.InstanceNumber)
    caption = words.say(Text.SHEET_CAPTION, number=number, comment=comment)
    face = font(11)
    while len(caption) > 1 and face.getlength(caption) > _TILE - 6:
        caption = caption[:-2].rstrip() + "…"
    middle = (_TILE // 2, size[1] + _CAPTION // 2)
    draw.text(middle, caption, font=face, fill=_FAINT, anchor="mm")
    return tile


def _legend(heatmap: Dataset) -> Image.Image:
    """Return the strip that stands below every picture of the series."""
    pixels = _pixels(heatmap)
    strip = pixels[pixels.shape[0] - strip_height(pixels.shape[1]) :]
    return Image.fromarray(np.ascontiguousarray(strip))


def _colour(pixels: NDArray[np.uint8]) -> float:
    """Return how much colour a picture has: grey has none, outlines are white."""
    spread = pixels.max(axis=2).astype(np.int64) - pixels.min(axis=2)
    return float(spread.sum())


def _image_part(heatmap: Dataset) -> NDArray[np.uint8]:
    pixels = _pixels(heatmap)
    return pixels[: pixels.shape[0] - strip_height(pixels.shape[1])]


def _pixels(heatmap: Dataset) -> NDArray[np.uint8]:
    rows, columns = int(heatmap.Rows), int(heatmap.Columns)
    flat = np.frombuffer(heatmap.PixelData, np.uint8, count=rows * columns * 3)
    return flat.reshape(rows, columns, 3)
