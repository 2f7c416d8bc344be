"""How commands speak: tables for people, JSON for programs, errors that end the command."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import typer
from rich.console import Console, ConsoleDimensions
from rich.table import Table

_WIDTH_OF_FILES = 200
"""Columns of what goes to a file or another program, which has no width of its own."""

console = Console()
if not console.is_terminal and "COLUMNS" not in os.environ:
    console.size = ConsoleDimensions(_WIDTH_OF_FILES, console.height)
error_console = Console(stderr=True)

VERDICT_STYLE = {
    "CLEAR": "bold green",
    "SUSPECT": "bold red",
    "UNREADABLE": "bold yellow",
    "UNCALIBRATED": "bold cyan",
}


def emit_json(value: Any) -> None:
    """Print `value` as JSON; records become objects."""
    typer.echo(json.dumps(value, default=_plain, indent=2, ensure_ascii=False))


def emit_rows(
    title: str,
    rows: Sequence[Any],
    columns: Mapping[str, Callable[[Any], str]],
    *,
    as_json: bool,
    empty: str,
) -> None:
    """Print records as a table, or as a JSON list of whole records.

    Args:
        title: heading of the table.
        rows: the records.
        columns: heading and text of each column; one without any text is left out.
        as_json: print the whole records as JSON instead.
        empty: sentence printed when there are none.
    """
    if as_json:
        emit_json(list(rows))
        return
    if not rows:
        console.print(empty)
        return
    table = Table(title=title, title_justify="left")
    shown = {heading: [text(row) for row in rows] for heading, text in columns.items()}
    shown = {heading: texts for heading, texts in shown.items() if any(texts)}
    for heading in shown:
        table.add_column(heading, overflow="fold")
    for texts in zip(*shown.values(), strict=True):
        table.add_row(*texts)
    console.print(table)


def fail(message: str, code: int = 1) -> NoReturn:
    """Print `message` on standard error and end the command."""
    error_console.print(f"[bold red]error[/] {message}", highlight=False)
    raise typer.Exit(code)


def moment(seconds: float | None) -> str:
    """Return seconds since the epoch as local time, to the second; empty for None."""
    if not seconds:
        return ""
    local = datetime.datetime.fromtimestamp(seconds, datetime.UTC).astimezone()
    return local.strftime("%Y-%m-%d %H:%M:%S")


def short(digest: str) -> str:
    """Return the first twelve characters of a digest."""
    return digest[:12]


def verdict_text(verdict: str) -> str:
    """Return a verdict with its colour as Rich markup."""
    style = VERDICT_STYLE.get(verdict, "bold")
    return f"[{style}]{verdict}[/]"


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
    raise TypeError(f"{type(value).__name__} is not JSON")
