"""`gatekeeper node show`: everything about one node, in words."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from gatekeeper import node_words
from gatekeeper.cli.output import console, emit_json, fail, moment
from gatekeeper.cli.site import AsJson, site_of
from gatekeeper.identifiers import AeTitle
from gatekeeper.node_history import NodeHistory, read_node
from gatekeeper.peering import does
from gatekeeper.results.kinds import USUAL
from gatekeeper.settings import Settings
from storage.records import Delivery


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(show)


def show(
    context: typer.Context,
    ae_title: Annotated[str, typer.Argument(help="its AE title")],
    as_json: AsJson = False,
) -> None:
    """Show one node: what it may do, when it was last heard of, and what waits for it."""
    site = site_of(context)
    with site.database() as database, database.read() as tx:
        found = read_node(tx, AeTitle.parse(ae_title))
    if found is None:
        fail(f"node {ae_title} is not known")
    if as_json:
        emit_json(asdict(found))
        return
    table = Table(show_header=False, box=None, padding=(0, 1))
    for name, text in lines(found, site.settings):
        table.add_row(name, Text(text))
    console.print(table)


def lines(found: NodeHistory, settings: Settings) -> list[tuple[str, str]]:
    """Return name and text of each line about a node."""
    node = found.node
    rows = [
        ("node", node.ae_title + (f": {node.description}" if node.description else "")),
        ("state", "enabled" if node.enabled else "disabled: nothing is sent, calls are refused"),
        ("role", ", ".join(node.roles) or "none stated"),
        ("does", "; ".join(does(node))),
        ("called at", f"{node.host}:{node.port}" if node.port else "never: it has no port"),
        ("calls us from", ", ".join(node.networks) or f"the addresses of {node.host}"),
        ("TLS", node_words.tls(node, settings)),
        ("SOP classes", node_words.classes(node)),
        ("last echo", _echo(found)),
        ("last received", moment(found.last_received_at) or "nothing yet"),
    ]
    if node.quiet_seconds is not None:
        rows.insert(7, ("quiet time", f"{node.quiet_seconds:g} s complete a study from it"))
    if node.receives_results:
        rows.insert(7, ("results", f"{', '.join(node.objects or USUAL)}, in '{node.language}'"))
    if node.port:
        rows += [
            ("confirms", node_words.CONFIRMS[node.confirm]),
            ("last delivery", _delivery(found.last_delivery) or "none yet"),
            ("last trouble", _delivery(found.last_trouble) or "none"),
            ("deliveries", _counts(found)),
        ]
    return rows


def _echo(found: NodeHistory) -> str:
    if found.echo is None:
        return f"never; `gatekeeper node echo {found.node.ae_title}`"
    outcome = "answered" if found.echo.answered else "failed"
    return f"{moment(found.echo.at)}: {outcome}, {found.echo.detail}"


def _delivery(delivery: Delivery | None) -> str:
    if delivery is None:
        return ""
    left_out = f", {delivery.items_left_out} left out" if delivery.items_left_out else ""
    at = moment(delivery.delivered_at or delivery.created_at)
    reason = f": {delivery.reason}" if delivery.reason else ""
    return (
        f"{at}, number {delivery.id}, {delivery.state}, "
        f"{delivery.items_stored} of {delivery.items} stored{left_out}{reason}"
    )


def _counts(found: NodeHistory) -> str:
    counts = ", ".join(f"{number} {state}" for state, number in found.deliveries.items())
    return f"{found.waiting} waiting" + (f" ({counts})" if counts else "")
