"""The picture shows the source as it is, the map where it is high, and the legend beside both."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from gatekeeper.results.palette import TABLE, colours
from gatekeeper.results.picture import Layout, Legend, Patch, blank, paint, windowed
from gatekeeper.results.sheet import most_coloured

LEGEND = Legend(3.0, 8.0, "robust z-score", "Research - not for diagnostic use", "mr-brain-t1")


def example(rows: int = 300, columns: int = 280) -> tuple[Layout, NDArray[np.uint8]]:
    """Return a layout at the source's own size, and a grey slice."""
    layout = Layout.of(rows, columns, (1.0, 1.0))
    grey = np.tile(np.linspace(0, 255, columns).astype(np.uint8), (rows, 1))
    return layout, grey


def test_what_is_below_the_threshold_shows_the_source_untouched() -> None:
    """Not one source pixel is hidden by legend, banner or colour."""
    layout, grey = example()
    values = np.full(grey.shape, 2.999, np.float32)
    values[0, 0] = np.nan

    picture = paint(blank(layout, LEGEND), layout, LEGEND, grey, values)

    assert (layout.row_factor, layout.column_factor) == (1, 1)
    assert np.array_equal(picture[:300], np.repeat(grey[:, :, None], 3, axis=2))
    assert picture[300:].any()


def test_colour_is_where_the_map_reaches_its_threshold_and_nowhere_else() -> None:
    """Coloured pixels and voxels at or above the threshold are the same set."""
    layout, grey = example()
    values = np.zeros(grey.shape, np.float32)
    values[40:60, 70:90] = np.linspace(2.0, 9.0, 20, dtype=np.float32)

    image = paint(blank(layout, LEGEND), layout, LEGEND, grey, values)[:300]

    coloured = image.max(axis=2) != image.min(axis=2)
    assert np.array_equal(coloured, values >= 3.0)


def test_an_outline_stands_outside_its_region() -> None:
    """The white line hides no voxel of the region, and runs all around it."""
    layout, grey = example()
    values = np.zeros(grey.shape, np.float32)
    values[40:60, 70:90] = 5.0
    patch = Patch(1, 40, 70, values[40:60, 70:90] > 3.0)

    plain = paint(blank(layout, LEGEND), layout, LEGEND, grey, values)
    outlined = paint(blank(layout, LEGEND), layout, LEGEND, grey, values, [patch])

    assert np.array_equal(outlined[40:60, 70:90], plain[40:60, 70:90])
    assert (outlined[39, 70:90] == 255).all()
    assert (outlined[40:60, 69] == 255).all()


def test_a_region_at_the_edge_is_drawn_within_the_picture() -> None:
    """Outlines and numbers end at the picture's edge."""
    layout, grey = example()
    values = np.zeros(grey.shape, np.float32)
    corners = [(0, 0), (0, 270), (290, 0), (290, 270)]
    patches = [
        Patch(label, row, column, np.ones((10, 10), np.bool_))
        for label, (row, column) in enumerate(corners, start=1)
    ]

    picture = paint(blank(layout, LEGEND), layout, LEGEND, grey, values, patches)

    assert picture.shape == (layout.height, layout.width, 3)
    assert np.array_equal(picture[300:], blank(layout, LEGEND)[300:])


@pytest.mark.parametrize(
    ("rows", "columns", "spacing", "factors"),
    [
        (512, 512, (0.7, 0.7), (1, 1)),
        (384, 274, (0.667, 0.7), (1, 1)),
        (233, 197, (1.0, 1.0), (2, 2)),
        (64, 64, (3.0, 3.0), (4, 4)),
        (40, 320, (6.0, 1.0), (6, 1)),
        (320, 40, (1.0, 6.0), (2, 12)),
    ],
)
def test_narrow_or_oblong_pixels_are_drawn_larger(
    rows: int, columns: int, spacing: tuple[float, float], factors: tuple[int, int]
) -> None:
    """Whole factors make room for the text and pixels nearly square."""
    layout = Layout.of(rows, columns, spacing)

    assert (layout.row_factor, layout.column_factor) == factors
    assert layout.width >= 256


def test_an_enlarged_slice_keeps_the_true_edges_of_the_map() -> None:
    """Each voxel of the map becomes a whole block."""
    layout = Layout.of(64, 64, (3.0, 3.0))
    values = np.zeros((64, 64), np.float32)
    values[10, 20] = 5.0
    grey = np.zeros((64, 64), np.uint8)

    image = paint(blank(layout, LEGEND), layout, LEGEND, grey, values)[: layout.image_rows]

    rows, columns = np.nonzero(image.any(axis=2))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (40, 43, 80, 83)


@pytest.mark.parametrize(
    "unit", ["z", "a unit described at such length that no line holds it " * 3]
)
def test_the_legend_fits_however_long_its_words(unit: str) -> None:
    """Words that are too long are made smaller or cut; the picture keeps its size."""
    layout = Layout.of(300, 280, (1.0, 1.0))
    legend = Legend(3.0, 3.0, unit, LEGEND.banner, unit)

    picture = blank(layout, legend)

    strip = picture[layout.image_rows :]
    assert strip.any()
    assert not strip[:, :2].any()
    assert not strip[:, -2:].any()


@pytest.mark.parametrize(
    ("function", "value", "shade"),
    [
        ("LINEAR", 0.0, 0),
        ("LINEAR", 2047.5, 128),
        ("LINEAR", 4095.0, 255),
        ("LINEAR_EXACT", 0.0, 0),
        ("LINEAR_EXACT", 2048.0, 128),
        ("SIGMOID", 2048.0, 128),
        ("SIGMOID", -1e9, 0),
        ("SIGMOID", 1e9, 255),
        ("UNKNOWN", 4095.0, 255),
        ("LINEAR", float("nan"), 0),
    ],
)
def test_a_window_follows_the_standard(function: str, value: float, shade: int) -> None:
    """PS3.3 C.11.2.1.2: centre 2048, width 4096 takes 0 to black and 4095 to white."""
    assert windowed(np.array([value], np.float32), 2048, 4096, function)[0] == shade


def test_a_window_narrower_than_one_still_shows_contrast() -> None:
    """Float images have windows that the integer formula cannot express."""
    values = np.array([0.0, 0.25, 0.5, 0.75, 1.0], np.float32)

    assert windowed(values, 0.5, 1.0).tolist() == [0, 64, 128, 191, 255]


def test_the_palette_grows_lighter_at_an_even_pace() -> None:
    """Equal steps of the map look equal, in grey and to the colour-blind too."""
    linear = ((TABLE / 255 + 0.055) / 1.055) ** 2.4
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722])
    lightness = 116 * np.cbrt(np.maximum(luminance, 0.008856)) - 16
    steps = np.diff(lightness[80:246])

    assert TABLE.shape == (256, 3)
    assert (steps > 0).all()
    assert steps.std() < 0.4 * steps.mean()


def test_colours_end_at_the_bar() -> None:
    """Values beyond the bar take its last colours."""
    ends = colours(np.array([-1.0, 0.0, 1.0, 2.0], np.float32))

    assert np.array_equal(ends[0], ends[1])
    assert np.array_equal(ends[2], ends[3])


@pytest.mark.parametrize(
    ("amounts", "count", "places"),
    [
        ([0.0, 5.0, 9.0, 1.0, 0.0], 2, [1, 2]),
        ([0.0, 5.0, 9.0, 1.0, 0.0], 12, [1, 2, 3]),
        ([0.0] * 11, 3, [1, 5, 9]),
        ([0.0], 12, [0]),
        ([float(place) for place in range(100)], 4, [75, 83, 91, 99]),
    ],
)
def test_a_contact_sheet_shows_the_most_coloured_slices_apart(
    amounts: list[float], count: int, places: list[int]
) -> None:
    """The strongest come first, neighbours are passed over, and no colour spreads evenly."""
    assert most_coloured(amounts, count) == places
