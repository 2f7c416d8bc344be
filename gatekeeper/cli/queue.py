"""`gatekeeper queue`: every stage, what is stuck in it, and pausing it."""

from __future__ import annotations

from typing import Annotated

import typer

from gatekeeper import queue
from gatekeeper.cli.changes import By, operating_user
from gatekeeper.cli.output import console, emit_rows, moment
from gatekeeper.cli.site import AsJson, site_of
from storage import queues
from storage.leases import DEAD
from storage.queues import Stage

app = typer.Typer(
    help="The queue: what waits at which stage, what was given up, pausing and going on.",
    no_args_is_help=True,
)


@app.command()
def show(context: typer.Context, as_json: AsJson = False) -> None:
    """Show how every stage stands."""
    with site_of(context).database() as database, database.read() as tx:
        found = queues.standing(tx)
    emit_rows(
        "Queue",
        found,
        {
            "stage": lambda one: one.stage.value,
            "waits": lambda one: str(one.queued),
            "runs": lambda one: str(one.claimed),
            "given up": lambda one: str(one.dead),
            "oldest": lambda one: (
                "" if one.oldest_seconds is None else f"{one.oldest_seconds:.0f} s"
            ),
            "paused": lambda one: (
                "" if one.paused is None else f"by {one.paused.by}: {one.paused.why}"
            ),
        },
        as_json=as_json,
        empty="No stage.",
    )


@app.command()
def dead(
    context: typer.Context,
    stage: Annotated[Stage, typer.Argument(help="whose rows")],
    limit: Annotated[int, typer.Option(help="newest shown", min=1, max=10000)] = 50,
    as_json: AsJson = False,
) -> None:
    """List what a stage gave up, and why."""
    with site_of(context).database() as database, database.read() as tx:
        found = queues.rows(tx, stage, DEAD, limit)
    emit_rows(
        "Given up",
        found,
        {
            "number": lambda one: str(one.id),
            "about": lambda one: one.about,
            "for": lambda one: one.node,
            "attempts": lambda one: str(one.attempt),
            "at": lambda one: moment(one.updated_at),
            "reason": lambda one: one.reason,
        },
        as_json=as_json,
        empty="Nothing was given up.",
    )


@app.command()
def pause(
    context: typer.Context,
    stage: Annotated[Stage, typer.Argument(help="to pause")],
    why: Annotated[str, typer.Option("--why", help="for who resumes it")],
    by: By = "",
) -> None:
    """Have a stage take up nothing new; intake goes on, and nothing is lost."""
    with site_of(context).database() as database, database.begin() as tx:
        queue.pause(tx, stage, by or operating_user(), why)
    console.print(f"{stage.value} is paused: `gatekeeper queue resume {stage.value}`.")


@app.command()
def resume(
    context: typer.Context,
    stage: Annotated[Stage, typer.Argument(help="to go on")],
    by: By = "",
) -> None:
    """Have a paused stage go on."""
    with site_of(context).database() as database, database.begin() as tx:
        queue.resume(tx, stage, by or operating_user())
    console.print(f"{stage.value} goes on.")


@app.command()
def restart(
    context: typer.Context,
    stage: Annotated[Stage, typer.Argument(help="that gave up")],
    number: Annotated[
        int | None, typer.Argument(help="as `queue dead` lists it; all when left out")
    ] = None,
    by: By = "",
) -> None:
    """Give what was given up all its attempts again."""
    who = by or operating_user()
    with site_of(context).database() as database, database.begin() as tx:
        if number is None:
            done = queue.restart_all(tx, stage, who)
        else:
            queue.restart(tx, stage, number, who)
            done = 1
    console.print(f"{done} queued again at {stage.value}.")
