"""Drift: whether devices send what they sent before, and what people say of what was found."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Form, Query, Request
from fastapi.responses import Response

from gatekeeper.admin import drawn
from gatekeeper.admin.console import Console
from gatekeeper.admin.drawn import Figure
from gatekeeper.admin.rendering import go, live, render
from gatekeeper.admin.routing import Desk, NotFound, Routes, principal_of
from gatekeeper.drift import overview
from gatekeeper.drift.course import Step, course
from gatekeeper.drift.overview import AttributeLine
from gatekeeper.drift.values import ABSENT, HEADER, SCORE
from gatekeeper.errors import GatekeeperError
from gatekeeper.identity.permission import Permission
from storage import drift as stored
from storage.records import DriftDevice

routes = Routes()

_LONGEST_WHY = 300
_LATEST = 20
_LOWEST_STATISTIC = 0.01


@dataclass(frozen=True, slots=True)
class AttributeRow:
    """An attribute of a stream as it is shown.

    Attributes:
        name: ``score`` or an attribute of the header.
        words: the same for people.
        before: median of the reference; None without one.
        spread: lower and upper quartile of the reference; None with too few.
        latest: median of the latest series after it.
        part: of the limit that raises an alarm, that its statistic has reached.
        change: what was found; None when nothing was.
    """

    name: str
    words: str
    before: float | None
    spread: tuple[float, float] | None
    latest: float | None
    part: float
    change: overview.Change | None


@routes.get("/drift", Permission.VIEW)
def listing(request: Request, console: Desk) -> Response:
    """List devices and protocols, those that drift first, and scanners."""
    return render(request, "drift.html", **_listing(console))


@routes.get("/drift/list", Permission.VIEW)
def listing_again(request: Request, console: Desk) -> Response:
    """List them again, if anything has changed."""
    return live(request, "drift_list.html", **_listing(console))


@routes.get("/drift/{number:int}", Permission.VIEW)
def stream(
    request: Request,
    console: Desk,
    number: int,
    attribute: Annotated[str, Query(max_length=64)] = SCORE,
) -> Response:
    """Show a device and protocol: its statistic against the limit, and what it sends."""
    return _stream(request, console, number, attribute)


@routes.post("/drift/{number:int}", Permission.JUDGE)
def decide(
    request: Request,
    console: Desk,
    number: int,
    do: Annotated[str, Form()] = "",
    why: Annotated[str, Form()] = "",
) -> Response:
    """Say that what was found has been seen, or begin the reference anew."""
    who, reason = principal_of(request).name, why.strip()[:_LONGEST_WHY]
    if do not in ("acknowledge", "reset"):
        return _stream(request, console, number, SCORE, "nothing was chosen", why)
    if not reason:
        return _stream(request, console, number, SCORE, "say why, for who reads it later", why)
    try:
        with console.database.begin() as tx:
            if do == "acknowledge":
                overview.acknowledge(tx, number, who, reason)
                said = "Noted that you have seen it. It stays until the reference begins anew."
            else:
                overview.reset(tx, number, who, reason, time.time())
                said = "The reference begins anew with the next series."
    except GatekeeperError as error:
        return _stream(request, console, number, SCORE, str(error), why)
    return go(request, f"/drift/{number}", said)


@routes.get("/drift/scanner", Permission.VIEW)
def scanner(
    request: Request, console: Desk, name: Annotated[str, Query(max_length=300)] = ""
) -> Response:
    """Show a scanner: its software over time, and its clock."""
    return _scanner(request, console, name)


@routes.post("/drift/scanner", Permission.JUDGE)
def accept_clock(
    request: Request,
    console: Desk,
    name: Annotated[str, Form()] = "",
    why: Annotated[str, Form()] = "",
) -> Response:
    """Take the present lag of a scanner for its usual one."""
    reason = why.strip()[:_LONGEST_WHY]
    if not reason:
        return _scanner(request, console, name, "say why, for who reads it later")
    try:
        with console.database.begin() as tx:
            overview.accept_clock(tx, name, principal_of(request).name, reason)
    except GatekeeperError as error:
        return _scanner(request, console, name, str(error), why)
    return go(request, "/drift", "The present lag is the usual one now.")


def _listing(console: Console) -> dict[str, Any]:
    settings = console.settings.drift
    with console.database.read() as tx:
        return {
            "streams": overview.streams(tx, settings),
            "scanners": overview.scanners(tx, settings),
            "settings": settings,
            "words": words,
            "bet": bet_in_words,
        }


def _stream(
    request: Request,
    console: Console,
    number: int,
    attribute: str,
    problem: str = "",
    why: str = "",
) -> Response:
    settings = console.settings.drift
    if attribute not in (SCORE, *HEADER):
        raise NotFound(f"no attribute {attribute[:32]!r} is looked at")
    with console.database.read() as tx:
        found = stored.get(tx, number)
        if found is None:
            raise NotFound(f"there is no device and protocol of number {number}")
        observed = stored.observations(tx, found)
    view = overview.view_of(found, observed, settings)
    steps = course(observed, attribute, settings.reference_series)
    chosen = next(one for one in view.attributes if one.name == attribute)
    return render(
        request,
        "drift_stream.html",
        http_status=422 if problem else 200,
        line=view.line,
        terms=view.terms,
        settings=settings,
        rows=[row_of(one) for one in view.attributes],
        attribute=attribute,
        words=words,
        bet=bet_in_words,
        statistic=statistic_figure(steps, chosen.limit),
        values=values_figure(steps, settings.reference_series, words(attribute)),
        spread=drawn.shares(
            {
                "reference": (_stated(chosen.reference), "muted"),
                "since": (_stated(chosen.latest), "primary"),
            },
            words(attribute),
        ),
        problem=problem,
        why=why,
    )


def _scanner(
    request: Request, console: Console, name: str, problem: str = "", why: str = ""
) -> Response:
    settings = console.settings.drift
    with console.database.read() as tx:
        device = stored.device(tx, name)
        lines = overview.scanners(tx, settings)
    line = next((one for one in lines if one.name == name), None)
    if device is None or line is None:
        raise NotFound("there is no such scanner")
    return render(
        request,
        "drift_scanner.html",
        http_status=422 if problem else 200,
        line=line,
        device=device,
        versions=list(reversed(device.software)),
        lags=lags_figure(device, settings.clock_seconds),
        settings=settings,
        problem=problem,
        why=why,
    )


def words(attribute: str) -> str:
    """Return the name of an attribute for people."""
    return attribute.replace("_", " ")


def bet_in_words(bet: str) -> str:
    """Return what a change is, as `models.drift.sequential.BETS` names it, for people."""
    direction, by, much = bet.partition(" by ")
    if not by:
        return f"spread {bet}"
    return f"{direction} by about {much} standard deviation{'' if much == '1' else 's'}"


def row_of(one: AttributeLine) -> AttributeRow:
    """Return an attribute as it is shown."""
    before, latest = _stated(one.reference), _stated(one.latest[-_LATEST:])
    quartiles = statistics.quantiles(before, n=4) if len(before) > 1 else None
    return AttributeRow(
        name=one.name,
        words=words(one.name),
        before=statistics.median(before) if before else None,
        spread=None if quartiles is None else (quartiles[0], quartiles[2]),
        latest=statistics.median(latest) if latest else None,
        part=one.statistic / one.limit,
        change=one.change,
    )


def statistic_figure(steps: Sequence[Step], limit: float) -> Figure | None:
    """Return the statistic's course against the limit that raises an alarm; None before any."""
    points = [
        (float(one.number), max(_LOWEST_STATISTIC, one.statistic))
        for one in steps
        if one.statistic is not None
    ]
    if not points:
        return None
    return {
        "type": "line",
        "x": {"title": "series", "min": points[0][0], "max": max(points[-1][0], points[0][0] + 1)},
        "y": {"title": "statistic", "log": True},
        "series": [{"name": "statistic", "values": drawn.thinned(points), "color": "primary"}],
        "lines": [{"name": f"alarm at {limit:,.0f}", "y": limit, "color": "danger"}],
    }


def values_figure(steps: Sequence[Step], reference_series: int, title: str) -> Figure | None:
    """Return the values series by series, those of the reference apart; None without any."""
    kept = [one for one in steps if one.value != ABSENT]
    if not kept:
        return None
    places = {one.number: place for place, one in enumerate(steps)}
    old = [(float(one.number), one.value) for one in kept if places[one.number] < reference_series]
    new = [(float(one.number), one.value) for one in kept if places[one.number] >= reference_series]
    return {
        "type": "scatter",
        "x": {"title": "series"},
        "y": {"title": title},
        "series": [
            {"name": name, "values": drawn.dots(points), "color": color}
            for name, points, color in (("reference", old, "muted"), ("since", new, "primary"))
            if points
        ],
    }


def lags_figure(device: DriftDevice, limit: float) -> Figure | None:
    """Return the lags of a scanner's first and latest images; None without any."""
    length = max(len(device.first_lags), len(device.latest_lags))
    if not length:
        return None
    return {
        "type": "line",
        "labels": [str(number) for number in range(1, length + 1)],
        "x": {"title": "image"},
        "y": {"title": "seconds from making to receipt"},
        "series": [
            {
                "name": "first images",
                "values": list(device.first_lags),
                "color": "muted",
                "points": 3,
            },
            {
                "name": "latest images",
                "values": list(device.latest_lags),
                "color": "primary",
                "points": 3,
            },
        ],
        "lines": [
            {"name": f"the future, by more than {limit:,.0f} s", "y": -limit, "color": "danger"}
        ],
    }


def _stated(values: Sequence[float]) -> list[float]:
    return [value for value in values if value != ABSENT]
