"""`gatekeeper conformance`: the DICOM conformance statement of this installation."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from gatekeeper.cli.output import console
from gatekeeper.cli.site import site_of


class Format(enum.StrEnum):
    """How the statement is written."""

    HTML = "html"
    MARKDOWN = "markdown"


_NAMES = {
    Format.HTML: "conformance-statement.html",
    Format.MARKDOWN: "conformance-statement.md",
}


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(name="conformance")(write_statement)


def write_statement(
    context: typer.Context,
    output: Annotated[
        Path | None, typer.Option(help="folder to write to; without one, to standard output")
    ] = None,
    formats: Annotated[
        list[Format] | None,
        typer.Option(
            "--format", help="may be given twice; without it, both to a folder, html to the output"
        ),
    ] = None,
) -> None:
    """Write the DICOM conformance statement (PS3.2) of the running configuration."""
    from gatekeeper import conformance

    site = site_of(context)
    chosen = formats or (list(Format) if output is not None else [Format.HTML])
    with site.database() as database, database.read() as tx:
        texts = {
            one: (conformance.html if one is Format.HTML else conformance.markdown)(
                site.settings, tx
            )
            for one in chosen
        }
    if output is None:
        for text in texts.values():
            typer.echo(text, nl=False)
        return
    output.mkdir(parents=True, exist_ok=True)
    for one, text in texts.items():
        path = output / _NAMES[one]
        path.write_text(text, encoding="utf-8")
        console.print(f"Wrote {path}.", highlight=False)
