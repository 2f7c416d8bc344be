"""Calibrated: what the latest series say of a calibration, as charts and sentences.

The libraries that look back are a worker's. Where they are missing the pages say so.
"""

from __future__ import annotations

import datetime
import importlib.util
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gatekeeper.admin import drawn
from gatekeeper.admin.drawn import Figure
from gatekeeper.errors import GatekeeperError
from storage.engine import Database

if TYPE_CHECKING:
    from gatekeeper.backtest.lately import Clear, Labelled, Reference, Seen
    from gatekeeper.backtest.rates import Rate, Span
    from models.evaluation.reliability import FalseHold

LATEST = 500
"""Jobs that a page looks back on, so that it answers at once."""
SPANS = 12
_BINS = 20


class LibrariesMissing(GatekeeperError):
    """What looks back is not installed where the pages run."""


def need_libraries() -> None:
    """Raise where the libraries are missing that look back.

    Raises:
        LibrariesMissing: saying what to install.
    """
    if importlib.util.find_spec("scipy") is None:
        raise LibrariesMissing(
            "looking back takes the worker's libraries where the pages run: "
            "pip install 'dicom-gatekeeper[worker]'"
        )


def score_figure(reference: Reference | None, series: Sequence[Seen]) -> Figure | None:
    """Return the scores of the calibration beside those judged by it; None without either."""
    if reference is None:
        return None
    own = [one.score for one in series if one.calibration == reference.digest]
    return drawn.shares(
        {"calibration": (reference.scores, "muted"), "latest series": (own, "primary")}, "score"
    )


def clear_figure(clear: Clear | None) -> Figure | None:
    """Return the p-values of CLEAR series beside the uniform distribution; None without any."""
    if clear is None:
        return None
    # Where there are few, a bin for each value that a p-value may take.
    bins = clear.steps if clear.steps <= 2 * _BINS else _BINS
    half = 0.5 / (clear.size + 1)
    high = 1.0 + half
    low = high - clear.steps / (clear.size + 1)
    counts = drawn.counted_by(clear.p_values, bins, low, high)
    width = (high - low) / bins
    expected = len(clear.p_values) / bins
    return {
        "type": "bar",
        "labels": [f"{low + (index + 0.5) * width:.2f}" for index in range(bins)],
        "x": {"title": "p-value"},
        "y": {"title": "series", "min": 0},
        "series": [{"name": "CLEAR series", "values": counts, "color": "clear"}],
        "lines": [{"name": "as many as in a uniform distribution", "y": expected}],
    }


def roc_figure(labelled: Labelled) -> Figure | None:
    """Return the curve of the labelled series; None with too few."""
    if not labelled.enough:
        return None
    points = [{"x": x, "y": y} for x, y in labelled.points]
    return {
        "type": "line",
        "x": {"title": "normal series held", "min": 0, "max": 1},
        "y": {"title": "abnormal series held", "min": 0, "max": 1},
        "series": [
            {"name": "this bundle", "values": points, "color": "primary", "step": "before"},
            {
                "name": "chance",
                "values": [{"x": 0, "y": 0}, {"x": 1, "y": 1}],
                "color": "muted",
                "dashed": True,
            },
        ],
    }


def reliability_figure(every: Sequence[FalseHold], normal: Sequence[FalseHold]) -> Figure | None:
    """Return realised beside nominal rates, of all series and of those called normal."""
    if not every:
        return None
    groups = (("all series", every, "suspect"), ("called normal", normal, "primary"))
    return {
        "type": "line",
        "x": {"title": "nominal false-hold rate", "min": 0, "max": 0.5},
        "y": {"title": "part with such a p-value", "min": 0, "max": 1},
        "series": [
            *(
                {
                    "name": name,
                    "values": [{"x": one.nominal, "y": one.rate.value} for one in found],
                    "color": color,
                    "points": 3,
                }
                for name, found, color in groups
                if found
            ),
            {
                "name": "as stated",
                "values": [{"x": 0, "y": 0}, {"x": 0.5, "y": 0.5}],
                "color": "muted",
                "dashed": True,
            },
        ],
    }


def rate_figure(rate: Rate, spans: Sequence[Span]) -> Figure:
    """Return the realised hold rate over time beside the nominal one and what is promised."""
    known = rate.known
    promised = [{"name": "nominal", "y": rate.line.rate}]
    if known.rank:
        promised += [
            {"name": "lowest promised", "y": known.low, "color": "clear"},
            {"name": "highest promised", "y": known.high, "color": "suspect"},
        ]
    return {
        "type": "line",
        "labels": [_day(one.begins) for one in spans],
        "x": {"title": "from"},
        "y": {"title": "part held", "min": 0},
        "series": [
            {
                "name": "held",
                "values": [None if one.rate is None else one.rate.value for one in spans],
                "color": "primary",
                "points": 3,
            }
        ],
        "lines": promised,
    }


def looked_back(
    manifest: Mapping[str, Any], bundle: str, database: Database, limit: int = LATEST
) -> dict[str, Any]:
    """Return what the page of a bundle shows of the latest series.

    Raises:
        LibrariesMissing: where nothing can be worked out.
    """
    need_libraries()
    from gatekeeper.backtest import lately, past

    studies, said = past.latest(database, limit)
    series = lately.seen(studies, said, bundle)
    reference = lately.reference_of(manifest, series)
    clear, labelled = lately.clear_of(series), lately.labelled_of(series)
    every = lately.realised(series)
    return {
        "series": series,
        "reference": reference,
        "passed": clear,
        "labelled": labelled,
        "every": every,
        "figures": {
            "scores": score_figure(reference, series),
            "passed": clear_figure(clear),
            "roc": roc_figure(labelled),
            "reliability": reliability_figure(every, labelled.reliability),
        },
    }


def _day(seconds: float) -> str:
    local = datetime.datetime.fromtimestamp(seconds, datetime.UTC).astimezone()
    return local.strftime("%Y-%m-%d")
