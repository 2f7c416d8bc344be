"""The site as a whole: `init`, `check`, `status`, and the context every command starts from."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from gatekeeper import check, config
from gatekeeper.cli.output import console, emit_json, fail
from gatekeeper.settings import Settings
from storage.engine import Database
from storage.spool import Spool


@dataclass
class Site:
    """What a command works on: its settings file, and from it the database and the spool."""

    config_file: Path | None

    @cached_property
    def settings(self) -> Settings:
        """The settings, read once.

        Raises:
            ConfigurationError: naming the key that is wrong.
        """
        return config.load(self.config_file)

    @property
    def spool(self) -> Spool:
        """The spool of received and made objects."""
        return Spool(Path(self.settings.spool.directory))

    @contextlib.contextmanager
    def database(self) -> Generator[Database]:
        """Open the database, its schema brought up to date."""
        database = Database.connect(
            self.settings.database.url, lock_seconds=self.settings.database.lock_seconds
        )
        try:
            database.migrate()
            yield database
        finally:
            database.dispose()


def site_of(context: typer.Context) -> Site:
    """Return the site of a command."""
    found = context.find_object(Site)
    return found if found is not None else Site(None)


AsJson = Annotated[bool, typer.Option("--json", help="print JSON for a program to read")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(init)
    app.command(name="check")(check_site)
    app.command()(status)


def init(
    path: Annotated[Path, typer.Argument(help="file to write")] = Path(config.DEFAULT_FILE),
    force: Annotated[bool, typer.Option(help="replace an existing file")] = False,
) -> None:
    """Write a commented settings file with every default."""
    if path.exists() and not force:
        fail(f"{path} exists; --force replaces it")
    path.write_text(config.template(), encoding="utf-8")
    # The file may come to hold a database password.
    path.chmod(0o600)
    console.print(
        f"Wrote {path}. Next: `gatekeeper node add`, `gatekeeper check`, `gatekeeper up`."
    )


def check_site(context: typer.Context, as_json: AsJson = False) -> None:
    """Validate settings, database, spool, nodes and models; exit 1 when anything is wrong."""
    answers = check.run(site_of(context).config_file)
    if as_json:
        emit_json([asdict(answer) for answer in answers])
    else:
        table = Table(show_header=False, box=None, padding=(0, 1))
        for answer in answers:
            mark = "[green]ok[/]" if answer.ok else "[bold red]wrong[/]"
            table.add_row(mark, answer.key, answer.text)
        console.print(table)
    if not all(answer.ok for answer in answers):
        raise typer.Exit(1)


def status(context: typer.Context, as_json: AsJson = False) -> None:
    """Show what is stored, queued, under way and stuck."""
    from gatekeeper.status import Status, read

    site = site_of(context)
    with site.database() as database:
        found: Status = read(database, site.spool, site.settings.tls)
    if as_json:
        emit_json(asdict(found))
        return
    table = Table(show_header=False, box=None, padding=(0, 1))
    for name, text in found.lines():
        table.add_row(name, text)
    console.print(table)
