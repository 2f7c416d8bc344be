"""Overlays: our map of a series, slice by slice, from the results that were made of it.

The parametric map has the map's own numbers. Where a site makes none, the heatmaps have its
colours: they are 60 % of the palette over grey, and grey changes no difference between the
channels, so the place on the colour bar can be read back from them to within a step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pixel_array

from gatekeeper.results.palette import TABLE, colours
from gatekeeper.results.picture import OPACITY, Layout
from gatekeeper.viewing.request import ResultFile
from gatekeeper.work.source import quiet
from gatekeeper.work.values import MALFORMED, items, text, whole

Place = tuple[str, int]
"""SOP Instance UID and frame number of a source slice; 0 for a single-frame one."""
Fractions = NDArray[np.float32]
"""The map as a share of the colour bar, 0 at the threshold; below it, not a number."""

_FAINTEST = 9
"""Difference between channels from which a pixel of a heatmap is coloured."""


@dataclass(frozen=True, slots=True, eq=False)
class Overlays:
    """The map over a series' slices.

    Attributes:
        made_from: ``parametric-map``, ``heatmap``, or empty when there is none.
        of: loads what lies over a slice.
    """

    made_from: str
    of: Mapping[Place, Callable[[], Fractions]]


NONE = Overlays("", {})


def overlays(
    results: Sequence[ResultFile],
    places: set[Place],
    bar: Mapping[str, Any],
    matrix: tuple[int, int],
    spacing: tuple[float, float],
) -> Overlays:
    """Return the overlays of a series.

    Args:
        results: our own results on the study.
        places: of the series' slices.
        bar: ``threshold`` and ``maximum`` of the map's colour bar.
        matrix: rows and columns of a slice.
        spacing: mm between its rows and its columns.
    """
    for one in results:
        if one.kind == "parametric-map":
            found = _of_map(one, places, bar)
            if found:
                return Overlays("parametric-map", found)
    found: dict[Place, Callable[[], Fractions]] = {}
    for one in results:
        if one.kind == "heatmap":
            place = _source(_read(one, pixels=False))
            if place in places and place not in found:
                found[place] = _of_heatmap(one, matrix, spacing)
    return Overlays("heatmap", found) if found else NONE


def painted(fractions: Fractions) -> NDArray[np.uint8]:
    """Return an overlay, (rows, columns, 4): colour where the map is above its threshold."""
    above = ~np.isnan(fractions)
    picture = np.zeros((*fractions.shape, 4), np.uint8)
    picture[above, :3] = colours(fractions[above])
    picture[above, 3] = 255
    return picture


def _of_map(
    one: ResultFile, places: set[Place], bar: Mapping[str, Any]
) -> dict[Place, Callable[[], Fractions]]:
    header = _read(one, pixels=True)
    rows, columns = whole(header, "Rows") or 0, whole(header, "Columns") or 0
    sources = [
        _source(derivation)
        for group in items(header, "PerFrameFunctionalGroupsSequence")
        for derivation in items(group, "DerivationImageSequence")[:1]
    ]
    data: Any = header.get("FloatPixelData")
    if not sources or not isinstance(data, bytes) or not set(sources) & places:
        return {}
    values = np.frombuffer(data, "<f4")
    if values.size < len(sources) * rows * columns:
        return {}
    frames = values[: len(sources) * rows * columns].reshape(len(sources), rows, columns)
    low = np.float32(bar["threshold"])
    span = np.float32(max(float(bar["maximum"]) - float(bar["threshold"]), 0) or 1.0)

    def of(index: int) -> Callable[[], Fractions]:
        def load() -> Fractions:
            frame = frames[index]
            return np.where(frame >= low, (frame - low) / span, np.float32(np.nan))

        return load

    return {place: of(index) for index, place in enumerate(sources) if place in places}


def _of_heatmap(
    one: ResultFile, matrix: tuple[int, int], spacing: tuple[float, float]
) -> Callable[[], Fractions]:
    def load() -> Fractions:
        dataset = _read(one, pixels=True)
        with quiet():
            picture = np.asarray(pixel_array(dataset))
        layout = Layout.of(*matrix, spacing)
        if picture.ndim != 3 or picture.shape[0] < layout.image_rows:
            return np.full(matrix, np.nan, np.float32)
        return fractions_of(picture[: layout.image_rows])

    return load


def fractions_of(picture: NDArray[np.uint8]) -> Fractions:
    """Return the shares of the colour bar that a heatmap was painted with.

    Args:
        picture: (rows, columns, 3), the part of it that shows the source.
    """
    channels = picture.astype(np.int16)
    differences = np.stack(
        [channels[..., 0] - channels[..., 1], channels[..., 1] - channels[..., 2]], axis=-1
    )
    coloured = np.abs(differences).max(axis=-1) >= _FAINTEST
    found = np.full(picture.shape[:2], np.nan, np.float32)
    if not coloured.any():
        return found
    steps = np.linspace(0, 1, len(TABLE), dtype=np.float32)
    bar = colours(steps).astype(np.float32) * OPACITY
    known = np.stack([bar[:, 0] - bar[:, 1], bar[:, 1] - bar[:, 2]], axis=-1)
    pairs, back = np.unique(differences[coloured], axis=0, return_inverse=True)
    distance = ((pairs[:, None, :] - known[None]) ** 2).sum(axis=-1)
    found[coloured] = steps[distance.argmin(axis=1)][back.ravel()]
    return found


def _source(dataset: Dataset) -> Place:
    """Return the image that something was derived from (PS3.3 C.7.6.1.1.4)."""
    for one in items(dataset, "SourceImageSequence")[:1]:
        return text(one, "ReferencedSOPInstanceUID"), whole(one, "ReferencedFrameNumber") or 0
    return "", 0


def _read(one: ResultFile, *, pixels: bool) -> Dataset:
    """Return one of our own results; an empty data set where it cannot be read."""
    try:
        with quiet():
            return dcmread(one.path, stop_before_pixels=not pixels)
    except MALFORMED:
        return Dataset()
