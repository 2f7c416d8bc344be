"""`gatekeeper drift`: whether devices send what they sent before, and what people say of it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.markup import escape

from gatekeeper.cli.changes import By, operating_user
from gatekeeper.cli.output import console, emit_json, emit_rows, fail, moment
from gatekeeper.cli.site import AsJson, site_of
from gatekeeper.drift import overview
from gatekeeper.drift.overview import AttributeLine, StreamView

app = typer.Typer(
    help="Whether what a device sends is like what it sent before.", no_args_is_help=True
)
Number = Annotated[int, typer.Argument(help="of the stream, as `gatekeeper drift status` has it")]
Why = Annotated[str, typer.Option("--why", help="why, for who reads it later")]

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 60


@app.command()
def status(context: typer.Context, as_json: AsJson = False) -> None:
    """List devices and protocols with what was found, and scanners with clock and software."""
    site = site_of(context)
    settings = site.settings.drift
    with site.database() as database, database.read() as tx:
        lines = overview.streams(tx, settings)
        scanners = overview.scanners(tx, settings)
    if as_json:
        emit_json({"streams": list(lines), "scanners": list(scanners)})
        return
    emit_rows(
        "Devices and protocols",
        lines,
        {
            "number": lambda row: str(row.number),
            "device": lambda row: escape(row.device),
            "protocol": lambda row: escape(row.protocol),
            "detector": lambda row: row.detector,
            "state": lambda row: row.state,
            "series": lambda row: str(row.series),
            "since": lambda row: moment(row.begun_at),
            "changes": lambda row: ", ".join(f"{one.attribute} {one.bet}" for one in row.changes),
        },
        as_json=False,
        empty="No series was scored yet.",
    )
    if scanners:
        emit_rows(
            "Scanners",
            scanners,
            {
                "scanner": lambda row: escape(row.name),
                "software": lambda row: escape(row.software),
                "changed": lambda row: moment(row.software_since),
                "clock": lambda row: row.clock.value,
                "lag": lambda row: "" if row.lag is None else f"{row.lag:.0f} s",
                "usual": lambda row: "" if row.usual_lag is None else f"{row.usual_lag:.0f} s",
                "seen": lambda row: moment(row.seen_at),
            },
            as_json=False,
            empty="",
        )
    console.print(
        f"Stated: at most one false alarm in {settings.run_length:,.0f} series of a device and "
        "protocol, on average."
    )


@app.command()
def show(context: typer.Context, number: Number, as_json: AsJson = False) -> None:
    """Show one device and protocol: its scores over time, and each attribute."""
    site = site_of(context)
    with site.database() as database, database.read() as tx:
        view = overview.show(tx, number, site.settings.drift)
    if view is None:
        fail(f"there is no stream {number}; `gatekeeper drift status` lists them")
    if as_json:
        emit_json(view)
        return
    _print(view)


@app.command()
def acknowledge(context: typer.Context, number: Number, why: Why = "", by: By = "") -> None:
    """Say that what was found has been seen; it stays until the reference begins anew."""
    with site_of(context).database() as database, database.begin() as tx:
        overview.acknowledge(tx, number, by or operating_user(), why)
    console.print(f"Stream {number} is acknowledged.")


@app.command()
def reset(context: typer.Context, number: Number, why: Why = "", by: By = "") -> None:
    """Begin the reference anew with the next series, as after a service or an upgrade."""
    with site_of(context).database() as database, database.begin() as tx:
        overview.reset(tx, number, by or operating_user(), why, time.time())
    console.print(f"The reference of stream {number} begins anew.")


@app.command(name="accept-clock")
def accept_clock(
    context: typer.Context,
    scanner: Annotated[str, typer.Argument(help="as `gatekeeper drift status` has it")],
    why: Why = "",
    by: By = "",
) -> None:
    """Take a scanner's present lag for its usual one."""
    with site_of(context).database() as database, database.begin() as tx:
        overview.accept_clock(tx, scanner, by or operating_user(), why)
    console.print("The present lag is the usual one now.")


def _print(view: StreamView) -> None:
    line = view.line
    console.print(
        f"{line.device}, {line.protocol}, {line.detector} ({view.terms}): {line.state}, "
        f"{line.series} series since {moment(line.begun_at)}",
        markup=False,
        highlight=False,
    )
    if view.scores:
        low, high = min(view.scores), max(view.scores)
        console.print(f"scores {low:.4g} to {high:.4g}, the oldest first")
        console.print(chart(view.scores), highlight=False)
        console.print("p-values 0 to 1")
        console.print(chart(view.p_values, 0.0, 1.0), highlight=False)
    emit_rows(
        "Attributes",
        view.attributes,
        {
            "attribute": lambda row: row.name,
            "reference median": lambda row: _median(row.reference),
            "latest median": _latest,
            "statistic": lambda row: f"{row.statistic:.3g}",
            "alarm at": lambda row: f"{row.limit:.3g}",
            "found": _found,
        },
        as_json=False,
        empty="",
    )


def chart(values: Sequence[float], low: float | None = None, high: float | None = None) -> str:
    """Return values as a line of bars, each the mean of neighbours where there are many."""
    bottom = min(values) if low is None else low
    span = (max(values) if high is None else high) - bottom
    parts = min(_WIDTH, len(values))
    means = [
        statistics.fmean(values[index * len(values) // parts : (index + 1) * len(values) // parts])
        for index in range(parts)
    ]
    steps = [0.5 if span <= 0 else (mean - bottom) / span for mean in means]
    return "".join(_BARS[min(len(_BARS) - 1, max(0, int(step * len(_BARS))))] for step in steps)


def _median(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.4g}" if values else ""


def _latest(row: AttributeLine) -> str:
    return _median(row.latest[-20:])


def _found(row: AttributeLine) -> str:
    if row.change is None:
        return ""
    seen = f", seen by {row.change.acknowledged_by}" if row.change.acknowledged_by else ""
    return f"{row.change.bet} since series {row.change.since}, {moment(row.change.at)}{seen}"
