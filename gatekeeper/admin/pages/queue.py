"""The queue: every stage, what waits, runs and is stuck in it, and what people do about that."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Form, Query, Request
from fastapi.responses import Response

from gatekeeper import queue
from gatekeeper.admin.console import Console
from gatekeeper.admin.rendering import go, live, render
from gatekeeper.admin.routing import Desk, NotFound, Routes, principal_of
from gatekeeper.errors import GatekeeperError
from gatekeeper.identity.permission import Permission
from storage import queues
from storage.engine import moment_now
from storage.queues import Stage
from storage.waiting import STATES

routes = Routes()

_PAGE = 50
_SHOWN = 10
WORDS = {"queued": "waits", "claimed": "runs", "dead": "given up"}
"""What a state is called where people read it."""


@routes.get("/queue", Permission.VIEW)
def stages(request: Request, console: Desk) -> Response:
    """Show how every stage stands, and what was given up."""
    return render(request, "queue.html", **_stages(console))


@routes.get("/queue/stages", Permission.VIEW)
def stages_again(request: Request, console: Desk) -> Response:
    """Show it again, if it has changed."""
    return live(request, "queue_stages.html", **_stages(console))


@routes.get("/queue/{stage}", Permission.VIEW)
def rows(
    request: Request,
    console: Desk,
    stage: str,
    state: Annotated[str, Query()] = "dead",
    before: Annotated[int | None, Query()] = None,
) -> Response:
    """Show the rows of one stage in one state."""
    return render(request, "queue_stage.html", **_rows(console, stage, state, before))


@routes.get("/queue/{stage}/rows", Permission.VIEW)
def rows_again(
    request: Request,
    console: Desk,
    stage: str,
    state: Annotated[str, Query()] = "dead",
    before: Annotated[int | None, Query()] = None,
) -> Response:
    """Show them again, if they have changed."""
    return live(request, "queue_rows.html", **_rows(console, stage, state, before))


@routes.post("/queue/{stage}/pause", Permission.OPERATE)
def pause(
    request: Request, console: Desk, stage: str, why: Annotated[str, Form()] = ""
) -> Response:
    """Have a stage take up nothing new."""
    of = _stage(stage)
    try:
        with console.database.begin() as tx:
            queue.pause(tx, of, principal_of(request).name, why)
    except GatekeeperError as error:
        return go(request, "/queue", str(error), "danger")
    return go(request, "/queue", f"{of.value} is paused. What is under way is finished.")


@routes.post("/queue/{stage}/resume", Permission.OPERATE)
def resume(request: Request, console: Desk, stage: str) -> Response:
    """Have a stage go on."""
    of = _stage(stage)
    try:
        with console.database.begin() as tx:
            queue.resume(tx, of, principal_of(request).name)
    except GatekeeperError as error:
        return go(request, "/queue", str(error), "danger")
    return go(request, "/queue", f"{of.value} goes on.")


@routes.post("/queue/{stage}/restart", Permission.OPERATE)
def restart(
    request: Request, console: Desk, stage: str, number: Annotated[int | None, Form()] = None
) -> Response:
    """Give one that was given up, or all of a stage, all attempts again."""
    of = _stage(stage)
    who = principal_of(request).name
    try:
        with console.database.begin() as tx:
            if number is None:
                done = f"{queue.restart_all(tx, of, who)} queued again at {of.value}."
            else:
                queue.restart(tx, of, number, who)
                done = f"{of.value} {number} is queued again."
    except GatekeeperError as error:
        return go(request, f"/queue/{of.value}", str(error), "danger")
    return go(request, f"/queue/{of.value}", done)


def _stage(name: str) -> Stage:
    try:
        return Stage(name)
    except ValueError:
        raise NotFound(f"there is no stage {name[:32]!r}") from None


def _stages(console: Console) -> dict[str, Any]:
    with console.database.read() as tx:
        standing = queues.standing(tx)
        stuck = {
            one.stage.value: queues.rows(tx, one.stage, "dead", _SHOWN)
            for one in standing
            if one.dead
        }
    return {"standing": standing, "stuck": stuck}


def _rows(console: Console, stage: str, state: str, before: int | None) -> dict[str, Any]:
    of = _stage(stage)
    if state not in STATES:
        raise NotFound(f"there is no state {state[:32]!r}")
    with console.database.read() as tx:
        standing = next(one for one in queues.standing(tx) if one.stage is of)
        found = queues.rows(tx, of, state, _PAGE, before)
        now = moment_now(tx)
    return {
        "stage": of.value,
        "standing": standing,
        "state": state,
        "states": [(one, WORDS[one], _number(standing, one)) for one in STATES],
        "rows": found,
        "more": found[-1].id if len(found) == _PAGE else None,
        "before": before,
        "now": now,
    }


def _number(standing: queues.Standing, state: str) -> int:
    return {"queued": standing.queued, "claimed": standing.claimed, "dead": standing.dead}[state]
