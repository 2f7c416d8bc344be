"""Drawn: what `charts.js` draws, out of numbers; pure. A figure is plain JSON, see there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

Figure = dict[str, Any]
_BINS = 24
MOST_POINTS = 400
"""Points of a line; of more, neighbours are put together."""


def shares(groups: Mapping[str, tuple[Sequence[float], str]], title: str) -> Figure | None:
    """Return histograms of some groups over the same bins, each as the part of its own number.

    Args:
        groups: name -> values and colour.
        title: of the axis.

    Returns:
        None where no group has a value.
    """
    every = [value for values, _ in groups.values() for value in values if math.isfinite(value)]
    if not every:
        return None
    low, high = min(every), max(every)
    width = (high - low) / _BINS or 1.0
    labels = [f"{low + (index + 0.5) * width:.3g}" for index in range(_BINS)]
    return {
        "type": "bar",
        "labels": labels,
        "x": {"title": title},
        "y": {"title": "part, %", "min": 0},
        "series": [
            {
                "name": f"{name} (n = {len(values)})",
                "values": _parts(values, low, width, _BINS),
                "color": color,
            }
            for name, (values, color) in groups.items()
            if values
        ],
    }


def counted_by(
    values: Sequence[float], bins: int, low: float = 0.0, high: float = 1.0
) -> list[int]:
    """Return how many values lie in each of so many equal bins; what lies outside, in the last."""
    counts = [0] * bins
    for value in values:
        counts[_bin(value, low, (high - low) / bins, bins)] += 1
    return counts


def thinned(points: Sequence[tuple[float, float]]) -> list[dict[str, float]]:
    """Return points for a line, of neighbours the highest, so that no peak is lost."""
    step = max(1, math.ceil(len(points) / MOST_POINTS))
    kept = [
        max(points[index : index + step], key=lambda point: point[1])
        for index in range(0, len(points), step)
    ]
    return [{"x": x, "y": y} for x, y in kept]


def dots(points: Sequence[tuple[float, float]]) -> list[dict[str, float]]:
    """Return the newest points, as dots."""
    return [{"x": x, "y": y} for x, y in points[-MOST_POINTS:]]


def _parts(values: Sequence[float], low: float, width: float, bins: int) -> list[float]:
    counts = [0] * bins
    for value in values:
        if math.isfinite(value):
            counts[_bin(value, low, width, bins)] += 1
    return [round(100.0 * count / len(values), 2) for count in counts]


def _bin(value: float, low: float, width: float, bins: int) -> int:
    return min(bins - 1, max(0, math.floor((value - low) / width)))
