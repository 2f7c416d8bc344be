"""`gatekeeper notification`: what channels were told, and what a number in a message stands for."""

from __future__ import annotations

from typing import Annotated

import typer

from gatekeeper.cli.output import console, emit_json, emit_rows, fail, moment
from gatekeeper.cli.site import AsJson, site_of
from gatekeeper.notify.render import sentence
from storage import notifications
from storage.records import Details, Notification, NotificationState

app = typer.Typer(
    help="Notifications: what channels were told, and what waits.", no_args_is_help=True
)

Number = Annotated[int, typer.Argument(help="number of the notification, as in its message")]


@app.command(name="list")
def list_notifications(
    context: typer.Context,
    state: Annotated[
        NotificationState | None, typer.Option(help="only notifications in this state")
    ] = None,
    channel: Annotated[str | None, typer.Option(help="only those of this channel")] = None,
    limit: Annotated[int, typer.Option(help="newest ones shown", min=1, max=10000)] = 50,
    as_json: AsJson = False,
) -> None:
    """List the newest notifications."""
    with site_of(context).database() as database, database.read() as tx:
        found = notifications.listing(tx, state, channel, limit)
    emit_rows(
        "Notifications",
        found,
        {
            "number": lambda one: str(one.id),
            "channel": lambda one: one.channel,
            "event": lambda one: one.event,
            "about": lambda one: one.subject,
            "state": lambda one: str(one.state),
            "attempt": lambda one: str(one.attempt),
            "happened": lambda one: moment(one.created_at),
            "reason": lambda one: one.reason,
        },
        as_json=as_json,
        empty="No notifications.",
    )


@app.command()
def show(context: typer.Context, number: Number, as_json: AsJson = False) -> None:
    """Show what a number in a message stands for: the study, the node, the reason."""
    with site_of(context).database() as database, database.read() as tx:
        found = notifications.get(tx, number)
        members = notifications.gathered(tx, number)
    if found is None:
        fail(f"notification {number} is not known")
    if as_json:
        emit_json({"notification": found, "gathered": members})
        return
    for one in members or [found]:
        _print(one)


@app.command()
def retry(context: typer.Context, number: Number) -> None:
    """Queue a dead notification again with a fresh number of attempts."""
    with site_of(context).database() as database, database.begin() as tx:
        found = notifications.get(tx, number)
        if found is None:
            fail(f"notification {number} is not known")
        if not notifications.retry(tx, number):
            fail(f"notification {number} is {found.state}; only a dead one can be queued again")
    console.print(f"Notification {number} is queued again.")


def _print(one: Notification) -> None:
    console.print(
        f"{one.id}  {moment(one.created_at)}  {sentence(one, Details.UIDS)}",
        highlight=False,
        markup=False,
    )
    console.print(
        f"  {one.event} to {one.channel}: {one.state}, attempt {one.attempt} {one.reason}",
        highlight=False,
        markup=False,
    )
