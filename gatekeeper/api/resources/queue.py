"""The queue: how every stage stands, its rows, and pausing, resuming and restarting it."""

from __future__ import annotations

from typing import Literal

from fastapi import Request

from gatekeeper import queue
from gatekeeper.admin.routing import Desk, principal_of
from gatekeeper.api.entry import ApiRoutes
from gatekeeper.api.fields import After, Answer, Asked, Limit, Number, Reason
from gatekeeper.api.paging import Page, number_of, place_after
from gatekeeper.identity.permission import Permission
from storage import queues
from storage.queues import Stage

routes = ApiRoutes("Queue")


class Pause(Answer):
    """Who paused a stage, when and why."""

    since: float
    by: str
    why: str


class Standing(Answer):
    """How a stage stands: rows that wait, are worked on, and were given up."""

    stage: Stage
    queued: int
    claimed: int
    dead: int
    oldest_seconds: float | None
    paused: Pause | None


class Row(Answer):
    """A row of a stage; `about` names its study, or for a notification what it tells of."""

    id: int
    state: str
    about: str
    node: str
    attempt: int
    created_at: float
    updated_at: float
    not_before: float
    worker: str
    reason: str


class Why(Asked):
    """Why a stage is paused."""

    reason: Reason


class Which(Asked):
    """What is restarted."""

    number: Number | None = None
    """Of the row; null for all that the stage gave up."""


class Restarted(Answer):
    """How many rows were queued again."""

    restarted: int


@routes.get("/queue", Permission.VIEW)
def stages(console: Desk) -> list[Standing]:
    """Tell how every stage stands."""
    with console.database.read() as tx:
        return [Standing.model_validate(one) for one in queues.standing(tx)]


@routes.get("/queue/{stage}", Permission.VIEW)
def rows(
    console: Desk,
    stage: Stage,
    state: Literal["queued", "claimed", "dead"] = "dead",
    limit: Limit = 50,
    after: After = "",
) -> Page[Row]:
    """List the rows of a stage in one state, the newest first."""
    with console.database.read() as tx:
        found = queues.rows(tx, stage, state, limit, number_of(after))
    end = place_after(found, limit, found[-1].id) if found else None
    return Page(items=[Row.model_validate(one) for one in found], next=end)


@routes.post("/queue/{stage}/pause", Permission.OPERATE, 409)
def pause(request: Request, console: Desk, stage: Stage, asked: Why) -> Standing:
    """Have a stage take up nothing new; what is under way is finished."""
    with console.database.begin() as tx:
        queue.pause(tx, stage, principal_of(request).name, asked.reason)
    return _standing(console, stage)


@routes.post("/queue/{stage}/resume", Permission.OPERATE, 409)
def resume(request: Request, console: Desk, stage: Stage) -> Standing:
    """Have a stage go on."""
    with console.database.begin() as tx:
        queue.resume(tx, stage, principal_of(request).name)
    return _standing(console, stage)


@routes.post("/queue/{stage}/restart", Permission.OPERATE, 409)
def restart(request: Request, console: Desk, stage: Stage, asked: Which) -> Restarted:
    """Give one row that was given up, or all of a stage, all attempts again."""
    who = principal_of(request).name
    with console.database.begin() as tx:
        if asked.number is None:
            return Restarted(restarted=queue.restart_all(tx, stage, who))
        queue.restart(tx, stage, asked.number, who)
    return Restarted(restarted=1)


def _standing(console: Desk, stage: Stage) -> Standing:
    with console.database.read() as tx:
        found = next(one for one in queues.standing(tx) if one.stage is stage)
    return Standing.model_validate(found)
