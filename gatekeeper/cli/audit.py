"""`gatekeeper audit`: who decided what, and whether that record is whole."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from gatekeeper.atna.events import AuditLogUsed
from gatekeeper.atna.outbox import told
from gatekeeper.cli.changes import operating_user
from gatekeeper.cli.output import console, emit_json, emit_rows, fail, moment
from gatekeeper.cli.site import AsJson, site_of
from storage import audit

app = typer.Typer(help="Audit trail: who decided what, for good.", no_args_is_help=True)


@app.command(name="list")
def list_lines(
    context: typer.Context,
    study: Annotated[str | None, typer.Option(help="only about this Study Instance UID")] = None,
    actor: Annotated[str | None, typer.Option(help="only by this person, rule or policy")] = None,
    limit: Annotated[int, typer.Option(help="newest lines shown", min=1, max=100000)] = 50,
    as_json: AsJson = False,
) -> None:
    """List the newest lines of the trail."""
    site = site_of(context)
    with site.database() as database:
        told(database, site.settings, AuditLogUsed(operating_user(), "", time.time()))
        with database.read() as tx:
            found = audit.listing(tx, study, actor, limit)
    emit_rows(
        "Audit trail",
        found,
        {
            "line": lambda row: str(row.id),
            "at": lambda row: moment(row.at),
            "who": lambda row: row.actor,
            "what": lambda row: row.action,
            "study": lambda row: row.study,
            "node": lambda row: str(row.detail.get("node", "")),
            "why": lambda row: str(row.detail.get("reason", row.detail.get("remark", ""))),
        },
        as_json=as_json,
        empty="Nothing was decided yet.",
    )


@app.command()
def verify(
    context: typer.Context,
    head: Annotated[
        str, typer.Option(help="digest printed by an earlier `verify`: its line has to be there")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Read the whole trail; exit 1 when a line was changed, left out or put in."""
    with site_of(context).database() as database, database.read() as tx:
        found = audit.verify(tx, head)
    if as_json:
        emit_json(found)
    if found.broken is not None:
        fail(f"line {found.broken} of the audit trail: {found.problem}")
    if not as_json:
        console.print(f"{found.lines} lines, whole. Keep this digest elsewhere:\n{found.head}")
