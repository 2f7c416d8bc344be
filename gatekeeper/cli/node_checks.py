"""`gatekeeper node contexts`, `roundtrip` and `sheet`: is it set up as it should be, both ways?"""

from __future__ import annotations

import datetime
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from gatekeeper.cli.output import console, emit_json, fail
from gatekeeper.cli.site import AsJson, site_of
from gatekeeper.identifiers import AeTitle
from storage import instances, nodes
from storage.engine import Database
from storage.records import Node

Title = Annotated[str, typer.Argument(help="its AE title")]
_MARKS = {True: "[green]ok[/]", False: "[bold red]failed[/]", None: "[yellow]not done[/]"}


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (contexts, roundtrip, sheet):
        app.command()(command)


def contexts(context: typer.Context, ae_title: Title, as_json: AsJson = False) -> None:
    """Ask a node which presentation contexts it accepts of what we would send it.

    Ends with 1 when something that we would send cannot be delivered.
    """
    from pydicom.uid import UID

    from gatekeeper.send.contexts import ask, wanted
    from gatekeeper.sop_classes import name_of

    site = site_of(context)
    with site.database() as database:
        node = _called(database, ae_title)
        with database.read() as tx:
            received = instances.latest_classes(tx)
    answers = ask(node, wanted(node, received, site.settings.results.compression), site.settings)
    if as_json:
        emit_json([asdict(one) | {"ok": one.ok, "meaning": one.meaning} for one in answers])
    else:
        table = Table(title=f"What {node.ae_title} accepts", title_justify="left")
        for heading in ("SOP class", "transfer syntaxes", "means"):
            table.add_column(heading, overflow="fold")
        for one in answers:
            syntaxes = ", ".join(UID(uid).name for uid in one.accepted) or "none"
            style = "" if one.ok else "bold red"
            table.add_row(name_of(one.sop_class_uid), syntaxes, escape(one.meaning), style=style)
        console.print(table)
    if not all(one.ok for one in answers):
        raise typer.Exit(1)


def roundtrip(context: typer.Context, ae_title: Title, as_json: AsJson = False) -> None:
    """Store a test picture at a node, find it, fetch it and compare it byte for byte."""
    from gatekeeper.send.roundtrip import Baggage, Step, travel

    def tell(step: Step) -> None:
        if not as_json:
            console.print(
                f"{_MARKS[step.ok]} {step.name} ({step.milliseconds:.0f} ms): {escape(step.text)}",
                highlight=False,
            )

    site = site_of(context)
    with site.database() as database:
        node = _called(database, ae_title)
        trip = travel(Baggage(node, site.settings, database, site.spool), tell)
    if as_json:
        emit_json(asdict(trip) | {"ok": trip.ok})
    elif trip.leftover:
        console.print(trip.leftover, highlight=False)
    if not trip.ok:
        raise typer.Exit(1)


def sheet(
    context: typer.Context,
    ae_title: Title,
    out: Annotated[Path, typer.Option(help="HTML file to write")],
    host: Annotated[
        str, typer.Option(help="name or address at which the node reaches us; default: this host's")
    ] = "",
) -> None:
    """Write a page for the engineer who sets up the node, to be printed on A4."""
    from gatekeeper.node_sheet import own_host
    from gatekeeper.node_sheet import sheet as page

    site = site_of(context)
    with site.database() as database:
        node = _known(database, ae_title)
    today = datetime.datetime.now(datetime.UTC).astimezone().date()
    text = page(node, site.settings, host or own_host(site.settings.listen.host), today)
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        fail(f"{out}: {error.strerror or 'cannot be written'}")
    console.print(f"Wrote {out}.")


def _known(database: Database, ae_title: str) -> Node:
    with database.read() as tx:
        node = nodes.get(tx, AeTitle.parse(ae_title))
    if node is None:
        fail(f"node {ae_title} is not known")
    return node


def _called(database: Database, ae_title: str) -> Node:
    node = _known(database, ae_title)
    if node.url:
        fail(f"node {ae_title} is called by DICOMweb: `gatekeeper node echo {ae_title}` tries it")
    if not node.port:
        fail(f"node {ae_title} has no port: `gatekeeper node edit {ae_title} --address HOST:PORT`")
    return node
