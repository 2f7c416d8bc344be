"""`gatekeeper ledger`: does everything acknowledged add up?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.table import Table

from gatekeeper.accounts import Entry
from gatekeeper.cli.output import console, emit_json
from gatekeeper.cli.site import AsJson, site_of
from gatekeeper.ledger import MOST_ENTRIES, OVERDUE_SECONDS, balance


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(ledger)


def ledger(
    context: typer.Context,
    verify: Annotated[
        bool, typer.Option(help="read every file and compare its content with its digest")
    ] = False,
    overdue: Annotated[
        float, typer.Option(help="seconds after which what waits unowned is a difference", min=0)
    ] = OVERDUE_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Balance the books, from instances to deliveries and promises; exit 1 on a difference."""
    site = site_of(context)
    with site.database() as database:
        books = balance(database, site.spool, verify=verify, overdue_seconds=overdue)
    if as_json:
        emit_json(
            {
                "balanced": books.balanced,
                "counts": dict(sorted(books.counts.items())),
                "differences": books.differences,
                "remarks": books.remarks,
            }
        )
    else:
        counts = Table(show_header=False, box=None, padding=(0, 1))
        for name, number in sorted(books.counts.items()):
            counts.add_row(name, str(number))
        console.print(counts)
        _show("Differences", books.differences, books.counts["differences"])
        _show("Remarks", books.remarks, books.counts["remarks"])
        console.print("[green]balanced[/]" if books.balanced else "[bold red]not balanced[/]")
    if not books.balanced:
        raise typer.Exit(1)


def _show(title: str, entries: Sequence[Entry], total: int) -> None:
    if not entries:
        return
    table = Table(title=title, title_justify="left")
    for heading in ("of", "which", "cause"):
        table.add_column(heading, overflow="fold")
    for entry in entries:
        table.add_row(entry.account, entry.key, entry.cause)
    console.print(table)
    if total > MOST_ENTRIES:
        console.print(f"and {total - MOST_ENTRIES} more")
