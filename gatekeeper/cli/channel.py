"""`gatekeeper channel`: where people, or their programs, are told what happens here."""

from __future__ import annotations

import uuid
from typing import Annotated

import typer

from gatekeeper.cli.output import console, emit_json, emit_rows, fail
from gatekeeper.cli.site import AsJson, site_of
from gatekeeper.errors import GatekeeperError
from gatekeeper.notify import readiness
from gatekeeper.notify.address import channel_name, mail_address, webhook_target
from gatekeeper.notify.events import Event
from storage import channels
from storage.records import Channel, ChannelKind, Details

app = typer.Typer(
    help="Channels: who is told what happens, by e-mail or webhook.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(help="name of the channel")]


@app.command()
def add(
    context: typer.Context,
    name: Name,
    email: Annotated[str, typer.Option(help="e-mail address that is told")] = "",
    webhook_url: Annotated[
        str, typer.Option("--webhook", help="URL that is called: https://HOST/PATH")
    ] = "",
    event: Annotated[
        list[Event] | None, typer.Option(help="event that it is told; repeat; default: all")
    ] = None,
    details: Annotated[
        Details,
        typer.Option(help="of which study: none, our own numbers alone; uids, its UID too"),
    ] = Details.NONE,
    disabled: Annotated[
        bool, typer.Option("--disabled", help="it is told nothing for now")
    ] = False,
) -> None:
    """Add a channel, or replace the one of this name; no process needs a restart."""
    if bool(email) == bool(webhook_url):
        fail("say where it leads: --email ADDRESS or --webhook URL")
    site = site_of(context)
    notify = site.settings.notify
    if email:
        kind, address = ChannelKind.EMAIL, mail_address(email)
    else:
        webhook_target(webhook_url, notify.plain_hosts)
        kind, address = ChannelKind.WEBHOOK, webhook_url
    channel = Channel(
        name=channel_name(name),
        kind=kind,
        address=address,
        events=tuple(str(one) for one in event or ()),
        details=details,
        enabled=not disabled,
    )
    with site.database() as database, database.begin() as tx:
        channels.save(tx, channel)
    console.print(f"Saved channel {name}.")
    problem = readiness.problem(channel, notify)
    if problem is not None:
        console.print(f"[yellow]It cannot be sent to yet[/]: {problem}", highlight=False)


@app.command(name="list")
def list_channels(context: typer.Context, as_json: AsJson = False) -> None:
    """List the channels."""
    with site_of(context).database() as database, database.read() as tx:
        found = channels.listing(tx)
    emit_rows(
        "Channels",
        found,
        {
            "channel": lambda one: one.name,
            "by": lambda one: str(one.kind),
            "to": lambda one: one.address,
            "events": lambda one: ", ".join(one.events) or "all",
            "details": lambda one: str(one.details),
            "enabled": lambda one: "yes" if one.enabled else "no",
        },
        as_json=as_json,
        empty="No channels yet; `gatekeeper channel add` adds one.",
    )


@app.command()
def show(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Show a channel and what it is told."""
    channel = _known(context, name)
    if as_json:
        emit_json(channel)
        return
    console.print(f"[bold]{channel.name}[/]: {channel.kind} to {channel.address}", highlight=False)
    console.print(f"details {channel.details}, {'enabled' if channel.enabled else 'disabled'}")
    console.print("events: " + (", ".join(channel.events) or f"all of {', '.join(Event)}"))


@app.command()
def remove(context: typer.Context, name: Name) -> None:
    """Remove a channel; what waits for it is set aside as dead."""
    with site_of(context).database() as database, database.begin() as tx:
        removed = channels.remove(tx, name)
    if not removed:
        fail(f"channel {name} is not known")
    console.print(f"Removed channel {name}.")


@app.command()
def test(context: typer.Context, name: Name) -> None:
    """Send a test message to a channel now, past the outbox, and say what became of it."""
    from gatekeeper.notify.messenger import deliver
    from gatekeeper.notify.render import test_message

    channel = _known(context, name)
    settings = site_of(context).settings
    message = test_message(str(uuid.uuid4()), settings.listen.ae_title)
    try:
        deliver(message, channel, settings.notify)
    except GatekeeperError as error:
        fail(f"not sent: {error}")
    console.print(f"Channel {name} took the test message.")


def _known(context: typer.Context, name: str) -> Channel:
    with site_of(context).database() as database, database.read() as tx:
        found = channels.get(tx, name)
    if found is None:
        fail(f"channel {name} is not known")
    return found
