"""`gatekeeper reconcile`: our books against what the archive says it has."""

from __future__ import annotations

from typing import Annotated

import typer

from gatekeeper.cli.output import console, emit_json, fail
from gatekeeper.cli.site import AsJson, site_of


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(reconcile)


def reconcile(
    context: typer.Context,
    node: Annotated[str | None, typer.Option(help="only this node")] = None,
    study: Annotated[str | None, typer.Option(help="only this Study Instance UID")] = None,
    limit: Annotated[int, typer.Option(help="newest studies looked at", min=1)] = 1000,
    originals: Annotated[
        bool, typer.Option(help="the node is to have the received instances as well")
    ] = False,
    resend: Annotated[bool, typer.Option(help="queue exactly what is missing again")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare received, analysed and delivered with the archive; exit 1 on any difference."""
    from gatekeeper.reconcile import Scope, run
    from storage import nodes, studies

    site = site_of(context)
    with site.database() as database:
        with database.read() as tx:
            if node is not None and nodes.get(tx, node) is None:
                fail(f"node {node} is not known")
            if study is not None and studies.get(tx, study) is None:
                fail(f"study {study} is not known")
        scope = Scope(node, study, limit, originals, resend)
        found = list(run(database, site.spool, site.settings, scope))
    unbalanced = [one for one in found if not one.balanced]
    if as_json:
        emit_json(found)
    else:
        for one in unbalanced:
            console.print(f"[bold]{one.study}[/] and {one.node}", highlight=False)
            for difference in one.differences:
                console.print(f"  {difference}", highlight=False, markup=False)
            if resend:
                console.print(f"  {one.resent} queued again", highlight=False)
        console.print(f"{len(found)} compared, {len(unbalanced)} not balanced", highlight=False)
    if unbalanced:
        raise typer.Exit(1)
