"""Drift: whether what a device sends is like what it sent before, and what people say of it."""

from __future__ import annotations

import time
from typing import Annotated, Literal

from fastapi import Path, Request
from pydantic import Field

from gatekeeper.admin.routing import Desk, NotFound, principal_of
from gatekeeper.api.entry import ApiRoutes
from gatekeeper.api.fields import LARGEST_NUMBER, Answer, Asked, Line, Reason
from gatekeeper.drift import overview
from gatekeeper.identity.permission import Permission
from models.drift.clock import ClockState

routes = ApiRoutes("Drift")

StreamNumber = Annotated[int, Path(ge=1, le=LARGEST_NUMBER)]


class Change(Answer):
    """What was found in one attribute of a stream."""

    attribute: str
    bet: str
    number: int
    since: int
    at: float
    acknowledged_by: str


class Stream(Answer):
    """The series of one device and protocol, as one detector judged them."""

    number: int
    device: str
    protocol: str
    detector: str
    state: Literal["collecting", "steady", "drifting", "acknowledged"]
    series: int
    begun_at: float
    statistic: float = Field(description="Of the score, as a part of what raises an alarm.")
    changes: list[Change]


class Attribute(Answer):
    """One attribute of a stream, with its values since the reference began."""

    name: str
    statistic: float
    limit: float
    reference: list[float]
    latest: list[float]
    change: Change | None


class StreamWhole(Answer):
    """One stream with its attributes, and its scores over time."""

    line: Stream
    terms: str
    attributes: list[Attribute]
    times: list[float]
    scores: list[float]
    p_values: list[float]


class Scanner(Answer):
    """One scanner with its software and its clock."""

    name: str
    device: str
    station: str
    serial: str
    software: str
    software_since: float | None
    versions: int
    clock: ClockState
    clock_since: float | None
    lag: float | None
    usual_lag: float | None
    seen_at: float


class Said(Asked):
    """Why."""

    reason: Reason


class OfScanner(Said):
    """A scanner, and why."""

    scanner: Line


@routes.get("/drift/streams", Permission.VIEW)
def streams(console: Desk) -> list[Stream]:
    """List devices and protocols, those that drift first."""
    with console.database.read() as tx:
        found = overview.streams(tx, console.settings.drift)
    return [Stream.model_validate(one) for one in found]


@routes.get("/drift/streams/{number}", Permission.VIEW)
def show(console: Desk, number: StreamNumber) -> StreamWhole:
    """Tell one device and protocol: its scores over time, and each attribute."""
    with console.database.read() as tx:
        found = overview.show(tx, number, console.settings.drift)
    if found is None:
        raise NotFound("no such stream is known")
    return StreamWhole.model_validate(found)


@routes.get("/drift/scanners", Permission.VIEW)
def scanners(console: Desk) -> list[Scanner]:
    """List the scanners with their software and clocks."""
    with console.database.read() as tx:
        found = overview.scanners(tx, console.settings.drift)
    return [Scanner.model_validate(one) for one in found]


@routes.post("/drift/streams/{number}/acknowledge", Permission.JUDGE, status=204)
def acknowledge(request: Request, console: Desk, number: StreamNumber, asked: Said) -> None:
    """Say that what was found has been seen; it stays until the reference begins anew."""
    with console.database.begin() as tx:
        overview.acknowledge(tx, number, principal_of(request).name, asked.reason)


@routes.post("/drift/streams/{number}/reset", Permission.JUDGE, status=204)
def reset(request: Request, console: Desk, number: StreamNumber, asked: Said) -> None:
    """Begin the reference anew with the next series, as after a service or an upgrade."""
    with console.database.begin() as tx:
        overview.reset(tx, number, principal_of(request).name, asked.reason, time.time())


@routes.post("/drift/clocks/accept", Permission.JUDGE, status=204)
def accept_clock(request: Request, console: Desk, asked: OfScanner) -> None:
    """Take a scanner's present lag for its usual one."""
    with console.database.begin() as tx:
        overview.accept_clock(tx, asked.scanner, principal_of(request).name, asked.reason)
