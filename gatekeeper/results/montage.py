"""The montage: the most suspicious slices of a series side by side, for who opens one image.

A Secondary Capture of one picture: up to three slices with their heatmap, outlines and sides, which
image each is, the verdict with its reason, the colour bar in calibrated units, and the research
banner. The montages of a study make a series of their own, numbered just before the report, so that
they come first in a list ordered by number.

All panels are of one plane, so PatientOrientation holds for the whole picture; it has no position
and no spacing, because nothing in it may be measured. Only a series' number is burned in: its
description may hold what identifies a patient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from gatekeeper.results import uids
from gatekeeper.results.assessment import SeriesAssessment, StudyAssessment
from gatekeeper.results.attributes import put, sanitised
from gatekeeper.results.capture import (
    Window,
    derived_from,
    describe_capture,
    display_window,
    legend_of,
    patches_of,
    set_common_body_part,
    set_pixels,
    set_sources,
    toward,
)
from gatekeeper.results.catalogue import Catalogue
from gatekeeper.results.common import (
    complete,
    first_header,
    new_object,
    place_of,
)
from gatekeeper.results.inherited import in_plane
from gatekeeper.results.picture import Layout, Legend, Patch, blank, font, paint, windowed
from gatekeeper.results.place import image_name
from gatekeeper.results.sentences import answer, of_series, series_name, series_title
from gatekeeper.results.sheet import most_coloured
from gatekeeper.results.texts import Text
from models.finding import Finding
from models.volume import Volume

SERIES_OFFSET = -1
"""What is added to the report's SeriesNumber: just before it."""

_PANELS = 3
_BOX = 512
"""The longest side of a panel, pixels."""
_LEAST_SIDE = 400
"""A panel smaller than this is drawn larger and reduced to its box."""
_LETTERS = 20
_GAP = 20
_LEAST_WIDTH = 560
_REASON_LINES = 3
_BACKGROUND = (0, 0, 0)
_TEXT = (225, 225, 225)
_FAINT = (165, 165, 165)
_LINE = (80, 80, 80)
_OPPOSITE = {"L": "R", "R": "L", "A": "P", "P": "A", "H": "F", "F": "H"}


def montage(study: StudyAssessment, series: SeriesAssessment) -> Dataset | None:
    """Return the montage of one series, Explicit VR Little Endian.

    Args:
        study: the job's answer, of which `series` is a part.
        series: an assessed series.

    Returns:
        None when it has no finding.
    """
    volume, finding = series.volume, series.finding
    if volume is None or finding is None or not series.source.slices:
        return None
    title = series_title(series, study.words)
    target = new_object(
        study,
        first_header(series),
        SecondaryCaptureImageStorage,
        uids.montage_series(study),
        study.series_number + SERIES_OFFSET,
        study.words.say(Text.MONTAGE),
        (title,),
    )
    describe_capture(target, series)
    set_common_body_part(target, study)
    chosen = most_suspicious(finding)
    window = display_window(series, finding)
    set_pixels(target, picture(series, volume, finding, chosen, window, study.words))
    set_sources(target, series, [series.source.slices[index] for index in chosen], preserved=False)
    across, down = _directions(volume)
    target.PatientOrientation = [across, down]
    slices = ", ".join(_where(series, index, study.words) for index in chosen)
    put(target, "ImageComments", of_series(study, series, slices)[:10240])
    put(target, "DerivationDescription", _derivation(finding, window, study.words))
    number = place_of(study, series) + 1
    return complete(target, uids.montage_instance(study, series), number)


def most_suspicious(finding: Finding) -> list[int]:
    """Return the slices shown, in slice order: those with the most map above its threshold.

    Where nothing is above it, those where the map is highest; of a flat map, those of the middle.
    """
    # Slice by slice: a copy of the whole map is not needed.
    above = [
        float(np.fmax(plane - np.float32(finding.map_threshold), 0.0).sum())
        for plane in finding.map
    ]
    amounts = above
    if not any(above):
        amounts = [float(np.fmax.reduce(plane, axis=None, initial=0.0)) for plane in finding.map]
    if any(amounts):
        return most_coloured(amounts, _PANELS)
    last = len(finding.map) - 1
    return sorted({round(place) for place in np.linspace(0.3 * last, 0.7 * last, _PANELS)})


def picture(
    series: SeriesAssessment,
    volume: Volume,
    finding: Finding,
    chosen: Sequence[int],
    window: Window,
    words: Catalogue,
) -> NDArray[np.uint8]:
    """Return the montage, uint8 (rows, columns, 3).

    Args:
        series: an assessed series.
        volume: its volume.
        finding: its finding.
        chosen: places of the slices to show.
        window: how source intensities are shown.
        words: of the captions, which are drawn in ASCII.
    """
    words = words.in_ascii
    legend = legend_of(series, finding, words)
    panels = [_panel(series, volume, finding, legend, window, index, words) for index in chosen]
    inner = sum(panel.width for panel in panels) + _GAP * (len(panels) - 1)
    width = max(inner + 2 * _GAP, _LEAST_WIDTH)
    strip_layout = Layout.of(0, width, (1.0, 1.0))
    header = _header(series, finding, width, strip_layout.text, len(chosen), words)
    strip = Image.fromarray(blank(strip_layout, legend))
    height = header.height + panels[0].height + strip.height
    sheet = Image.new("RGB", (width, height), _BACKGROUND)
    sheet.paste(header, (0, 0))
    draw = ImageDraw.Draw(sheet)
    left = (width - inner) // 2
    for place, panel in enumerate(panels):
        sheet.paste(panel, (left, header.height))
        if place:
            # Without a line, one panel's right letter reads as the next one's left.
            ends = (header.height, header.height + panel.height)
            draw.line([(left - _GAP // 2, end) for end in ends], fill=_LINE)
        left += panel.width + _GAP
    sheet.paste(strip, (0, height - strip.height))
    return np.asarray(sheet)


def _panel(
    series: SeriesAssessment,
    volume: Volume,
    finding: Finding,
    legend: Legend,
    window: Window,
    index: int,
    words: Catalogue,
) -> Image.Image:
    """Return one slice with its map, sides and caption."""
    grey = windowed(volume.array[index], window.centre, window.width, window.function)
    if sanitised(first_header(series), "PhotometricInterpretation") == "MONOCHROME1":
        grey = 255 - grey
    layout = _layout(volume)
    canvas = np.zeros((layout.image_rows, layout.width, 3), np.uint8)
    patches = patches_of(finding, index)
    drawn = paint(canvas, layout, legend, grey, finding.map[index], patches)
    image = _in_proportion(Image.fromarray(drawn), volume)
    _draw_sides(image, *_directions(volume))
    peak = float(np.fmax.reduce(finding.map[index], axis=None, initial=0.0))
    face = font(_caption_size(image.width))
    line = face.getbbox("Ag")[3] * 1.25
    panel = Image.new("RGB", (image.width, image.height + round(2.4 * line)), _BACKGROUND)
    panel.paste(image, (0, 0))
    draw = ImageDraw.Draw(panel)
    for row, (text, colour) in enumerate(
        (
            (_where(series, index, words), _TEXT),
            (_peak(peak, patches, words), _FAINT),
        )
    ):
        middle = image.height + round((0.7 + row) * line)
        draw.text((image.width // 2, middle), text, font=face, fill=colour, anchor="mm")
    return panel


def _peak(peak: float, patches: Sequence[Patch], words: Catalogue) -> str:
    """Return how high the map is on a slice, and which regions are on it."""
    shown = words.number(peak, ".3g")
    if not patches:
        return words.say(Text.PEAK_NO_REGION, peak=shown)
    regions = ", ".join(str(patch.label) for patch in patches)
    text = Text.PEAK_REGIONS if len(patches) > 1 else Text.PEAK_ONE_REGION
    return words.say(text, peak=shown, regions=regions)


def _layout(volume: Volume) -> Layout:
    """Return the layout of a panel: by whole factors up to its box, or past it to be reduced."""
    rows, columns = volume.array.shape[1:]
    usual = Layout.of(rows, columns, volume.spacing[1:])
    common = math.gcd(usual.row_factor, usual.column_factor)
    tall, wide = usual.row_factor // common, usual.column_factor // common
    side = max(rows * tall, columns * wide)
    factor = max(1, _BOX // side)
    if side * factor < _LEAST_SIDE:
        factor += 1
    # Numbers of regions are drawn before a panel is reduced.
    text = _LETTERS * max(_BOX, side * factor) // _BOX
    return replace(usual, row_factor=tall * factor, column_factor=wide * factor, text=text)


def _in_proportion(image: Image.Image, volume: Volume) -> Image.Image:
    """Return a picture of a slice in its true proportions and no larger than its box."""
    _, dy, dx = volume.spacing
    rows, columns = volume.array.shape[1:]
    ratio = (rows * dy) / (columns * dx)
    width = min(float(image.width), _BOX, _BOX / ratio)
    size = (max(1, round(width)), max(1, round(width * ratio)))
    return image if size == image.size else image.resize(size, Image.Resampling.LANCZOS)


def _draw_sides(image: Image.Image, across: str, down: str) -> None:
    """Write the patient's sides at the middle of each edge."""
    draw = ImageDraw.Draw(image)
    face = font(_LETTERS)
    width, height = image.size
    for letter, place, anchor in (
        (_OPPOSITE.get(across[:1], ""), (6, height // 2), "lm"),
        (across[:1], (width - 6, height // 2), "rm"),
        (_OPPOSITE.get(down[:1], ""), (width // 2, 6), "mt"),
        (down[:1], (width // 2, height - 6), "mb"),
    ):
        draw.text(
            place,
            letter,
            font=face,
            fill=_TEXT,
            anchor=anchor,
            stroke_width=2,
            stroke_fill=(0, 0, 0),
        )


def _header(
    series: SeriesAssessment,
    finding: Finding,
    width: int,
    text: int,
    count: int,
    words: Catalogue,
) -> Image.Image:
    """Return the lines above the panels: what this is, the verdict and its reason."""
    title, total = series_name(series, words), len(series.source.slices)
    if not (finding.map >= finding.map_threshold).any():
        what = words.say(Text.MONTAGE_NOTHING, series=title, count=count, total=total)
    elif count == 1:
        what = words.say(Text.MONTAGE_ONE, series=title, total=total)
    else:
        what = words.say(Text.MONTAGE_SEVERAL, series=title, count=count, total=total)
    size, small = max(16, text * 6 // 7), max(14, text * 3 // 4)
    reason = answer(series.judgement, words)
    lines = [(what, small, _FAINT)]
    lines += [(line, size, _TEXT) for line in _wrapped(reason, size, width - 2 * _GAP)]
    heights = [height * 3 // 2 for _, height, _ in lines]
    header = Image.new("RGB", (width, sum(heights) + 2 * _GAP), _BACKGROUND)
    draw = ImageDraw.Draw(header)
    top = _GAP
    for (line, height, colour), step in zip(lines, heights, strict=True):
        draw.text((_GAP, top + step // 2), line, font=font(height), fill=colour, anchor="lm")
        top += step
    return header


def _wrapped(text: str, size: int, room: int) -> list[str]:
    """Return a text in lines that fit, cut after the last that there is room for."""
    face = font(size)
    lines: list[str] = [""]
    # A sign stays with what it compares.
    for bound in text.replace(" = ", "\0=\0").split():
        word = bound.replace("\0", " ")[:200]
        while face.getlength(word) > room:
            word = word[:-1]
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and face.getlength(longer) > room:
            lines.append(word)
        else:
            lines[-1] = longer
    if len(lines) > _REASON_LINES:
        kept = lines[:_REASON_LINES]
        while kept[-1] and face.getlength(f"{kept[-1]} ...") > room:
            kept[-1] = kept[-1].rpartition(" ")[0]
        kept[-1] = f"{kept[-1]} ..."
        return kept
    return lines


def _caption_size(width: int) -> int:
    return min(max(14, width // 20), 22)


def _where(series: SeriesAssessment, index: int, words: Catalogue) -> str:
    """Return which image a slice is, as viewers number images, and its place in the volume."""
    name = image_name(series.source.slices[index], words)
    place = words.say(Text.SLICE, place=index + 1, total=len(series.source.slices))
    return f"{name}, {place}" if name else place


def _directions(volume: Volume) -> tuple[str, str]:
    """Return the letters of the directions along a row and down a column (C.7.6.1.1.1)."""
    across, down = in_plane(volume)
    return toward(across), toward(down)


def _derivation(finding: Finding, window: Window, words: Catalogue) -> str:
    """Return in words how the picture came about, at most 1024 characters (VR ST)."""
    values = derived_from(finding, window, words)
    return words.say(Text.MONTAGE_DERIVATION, count=_PANELS, **values)[:1024]
