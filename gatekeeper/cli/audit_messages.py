"""`gatekeeper audit messages | retry | test`: what the site's audit repository is told."""

from __future__ import annotations

import dataclasses
import time
from typing import Annotated

import typer

from gatekeeper.cli.changes import operating_user
from gatekeeper.cli.output import console, emit_json, emit_rows, fail, moment
from gatekeeper.cli.site import AsJson, site_of
from storage import audit_messages
from storage.records import AuditMessageState


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (messages, retry, test):
        app.command()(command)


def messages(
    context: typer.Context,
    state: Annotated[
        AuditMessageState | None, typer.Option(help="only messages in this state")
    ] = None,
    limit: Annotated[int, typer.Option(help="newest ones shown", min=1, max=100000)] = 50,
    content: Annotated[
        bool, typer.Option("--content", help="with --json: their XML, which may name patients")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what waits for the audit repository, what it has, and what was lost."""
    site = site_of(context)
    with site.database() as database, database.read() as tx:
        counts = audit_messages.counts(tx)
        drops = audit_messages.drops(tx)
        found = audit_messages.listing(tx, [state] if state is not None else [], limit)
    shown = found if content else [dataclasses.replace(one, content="") for one in found]
    if as_json:
        emit_json({"counts": counts, "lost": drops, "messages": shown})
        return
    emit_rows(
        "Audit messages",
        shown,
        {
            "number": lambda one: str(one.id),
            "happened": lambda one: moment(one.happened_at),
            "event": lambda one: one.event,
            "about": lambda one: one.subject,
            "state": lambda one: str(one.state),
            "attempt": lambda one: str(one.attempt),
            "reason": lambda one: one.reason,
        },
        as_json=False,
        empty="No audit messages.",
    )
    console.print(", ".join(f"{number} {name}" for name, number in counts.items()))
    for one in drops:
        console.print(
            f"[bold red]{one.count} of {one.event} not kept[/], the outbox was full: "
            f"{moment(one.first_at)} to {moment(one.last_at)}",
            highlight=False,
        )
    if not site.settings.audit.enabled:
        console.print("Audit messages are off: audit.host is not set.")


def retry(context: typer.Context) -> None:
    """Queue every dead audit message again with a fresh number of attempts."""
    with site_of(context).database() as database, database.begin() as tx:
        count = audit_messages.retry(tx)
    console.print(f"{count} audit messages are queued again.")


def test(context: typer.Context) -> None:
    """Send one message to the audit repository now, past the outbox, and say what became of it."""
    from gatekeeper.atna import line, outbox, syslog
    from gatekeeper.atna.events import AuditLogUsed
    from gatekeeper.errors import TransportError
    from gatekeeper.tls import Credentials

    settings = site_of(context).settings
    audit = settings.audit
    if not audit.enabled:
        fail("audit.host: not set; audit messages are off")
    event = AuditLogUsed(operating_user(), "", time.time(), "gatekeeper:audit/test")
    made = event.message(outbox.ourselves(settings))
    text = syslog.line(
        outbox.xml_of(made, settings), made.happened_at, outbox.severity(made), audit.facility
    )
    try:
        line.send([text], audit, Credentials(settings.tls))
    except TransportError as error:
        fail(f"not taken: {error}")
    where = f"{audit.host}:{audit.port}"
    if audit.protocol == "udp":
        console.print(f"Sent {len(text)} bytes to {where}. Nobody confirms UDP: look there.")
    else:
        console.print(f"{where} took {len(text)} bytes and ended the connection in order.")
