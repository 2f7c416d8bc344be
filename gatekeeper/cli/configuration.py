"""`gatekeeper config`: every version of what changes during the day, and the way back to each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from gatekeeper.cli.changes import By, Why, operating_user
from gatekeeper.cli.output import console, emit_json, emit_rows, fail, moment, short
from gatekeeper.cli.site import AsJson, Site, site_of
from gatekeeper.configuration import changes, file, history
from gatekeeper.configuration.document import Difference, Document, differences
from gatekeeper.configuration.models import NAME as MODELS
from gatekeeper.configuration.models import replaced
from gatekeeper.configuration.whole import Whole
from models.registry import Registry
from storage import configuration_versions as versions
from storage.engine import Database
from storage.records import ConfigurationVersion

app = typer.Typer(
    help="What changes during the day (nodes, models, policy, ...): versions, files, the way back.",
    no_args_is_help=True,
)
RUNNING = "running"

Yes = Annotated[bool, typer.Option("--yes", help="do not ask")]


@app.command()
def log(
    context: typer.Context,
    limit: Annotated[int, typer.Option(help="at most so many, the newest", min=1)] = 50,
    as_json: AsJson = False,
) -> None:
    """List the versions: who changed the configuration, when and why."""
    with site_of(context).database() as database, database.read() as tx:
        found = versions.listing(tx, limit)
    listed = [
        {
            "number": one.number,
            "at": one.at,
            "who": one.who,
            "why": one.why,
            "digest": one.digest,
            "restored_from": one.restored_from,
        }
        for one in found
    ]
    emit_rows(
        "Versions",
        listed,
        {
            "version": lambda one: str(one["number"]),
            "at": lambda one: moment(one["at"]),
            "who": lambda one: escape(one["who"]),
            "why": lambda one: escape(one["why"]),
            "back to": lambda one: str(one["restored_from"] or ""),
            "digest": lambda one: short(one["digest"]),
        },
        as_json=as_json,
        empty="Nothing was changed yet.",
    )


@app.command()
def show(
    context: typer.Context,
    number: Annotated[
        int | None, typer.Argument(help="of a version; what is in force if none")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print a version as the TOML that `config export` writes."""
    site = site_of(context)
    with site.database() as database:
        version = _in_force(database, site) if number is None else _version(database, number)
    if as_json:
        emit_json(version)
        return
    typer.echo(_text(version, site), nl=False)


@app.command()
def diff(
    context: typer.Context,
    first: Annotated[str, typer.Argument(help="version number, or FILE.toml")],
    second: Annotated[
        str, typer.Argument(help="version number, or FILE.toml; what is in force if none")
    ] = RUNNING,
    as_json: AsJson = False,
) -> None:
    """Show what differs between two versions, or between a file and what is in force."""
    site = site_of(context)
    with site.database() as database:
        found = differences(_document(database, site, first), _document(database, site, second))
    if as_json:
        emit_json(found)
    else:
        _print(found, "There is no difference.")


@app.command()
def export(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="TOML file to write")],
    version: Annotated[
        int | None, typer.Option(help="version to export; what is in force if none")
    ] = None,
    force: Annotated[bool, typer.Option(help="replace an existing file")] = False,
) -> None:
    """Write the configuration as one readable TOML file."""
    site = site_of(context)
    if path.exists() and not force:
        fail(f"{path} exists; --force replaces it")
    with site.database() as database:
        found = _in_force(database, site) if version is None else _version(database, version)
    path.write_text(_text(found, site), encoding="utf-8")
    console.print(f"Wrote version {found.number} to {path}.", highlight=False)


@app.command(name="import")
def import_file(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="TOML file, as `config export` writes it")],
    expect: Annotated[
        int | None, typer.Option(help="refuse unless this version is in force")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only show what would change")] = False,
    yes: Yes = False,
    by: By = "",
    why: Why = "",
) -> None:
    """Have what a file says in force; a section that it does not name is left as it is."""
    site = site_of(context)
    with site.database() as database:
        version = _in_force(database, site)
        if expect is not None and expect != version.number:
            raise changes.ConfigurationMoved(expect, version.number)
        wanted = _of_file(site, path, version.document)
        _put(database, site, version, wanted, by, why or f"import of {path.name}", dry_run, yes)


@app.command()
def restore(
    context: typer.Context,
    number: Annotated[int, typer.Argument(help="version to return to, as `config log` lists it")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only show what would change")] = False,
    yes: Yes = False,
    by: By = "",
    why: Why = "",
) -> None:
    """Return to a version: a new version with the same content."""
    site = site_of(context)
    with site.database() as database:
        version = _in_force(database, site)
        wanted = Whole.of(site.settings).parse(_version(database, number).document)
        otherwise = f"return to version {number}"
        _put(database, site, version, wanted, by, why or otherwise, dry_run, yes, number)


@app.command()
def accept(
    context: typer.Context,
    why: Annotated[str, typer.Option("--why", help="why it was changed that way")],
    by: By = "",
) -> None:
    """Answer for a change that was made past `gatekeeper`, once it was looked at."""
    site = site_of(context)
    with site.database() as database:
        if not changes.accept(database, by or operating_user(), why, site.settings):
            fail("the version in force was made by way of gatekeeper: there is nothing to accept")
        console.print(f"Configuration version {_in_force(database, site).number}.", highlight=False)


def _put(
    database: Database,
    site: Site,
    version: ConfigurationVersion,
    wanted: Document,
    by: str,
    why: str,
    dry_run: bool,
    yes: bool,
    restored_from: int | None = None,
) -> None:
    """Show what would change, ask, and change it: what was shown, or nothing."""
    found = differences(version.document, wanted)
    _print(found, "Nothing would change.")
    if not found:
        return
    whole = Whole.of(site.settings)
    known = whole.problems(version.document)
    if problems := [one for one in whole.problems(wanted) if one not in known]:
        raise changes.ConfigurationRefused(problems)
    for sentence in replaced(Registry(site.settings.models.directories), wanted.get(MODELS, {})):
        console.print(f"[bold yellow]note[/] {escape(sentence)}", highlight=False)
    if dry_run:
        return
    if not yes and not typer.confirm("Change it?", default=False):
        fail("nothing was changed")
    changes.put(
        database,
        wanted,
        by or operating_user(),
        why,
        site.settings,
        expect=version.number,
        restored_from=restored_from,
    )
    with database.read() as tx:
        console.print(f"Configuration version {versions.latest_number(tx)}.", highlight=False)


def _in_force(database: Database, site: Site) -> ConfigurationVersion:
    return changes.noticed(database, site.settings)


def _version(database: Database, number: int) -> ConfigurationVersion:
    with database.read() as tx:
        return history.version(tx, number)


def _document(database: Database, site: Site, name: str) -> Document:
    """Return what a version number, a file, or `RUNNING` names."""
    if name == RUNNING:
        return _in_force(database, site).document
    if name.isdecimal():
        return _version(database, int(name)).document
    return _of_file(site, Path(name), _in_force(database, site).document)


def _of_file(site: Site, path: Path, running: Document) -> Document:
    """Return a file's document, with the sections that it does not name as they are."""
    stated = file.stated(path)
    document = Whole.of(site.settings).parse(stated)
    return {name: items for name, items in running.items() if name not in stated} | document


def _text(version: ConfigurationVersion, site: Site) -> str:
    return file.heading(version) + file.written(version.document, Whole.of(site.settings).sections)


def _print(found: tuple[Difference, ...], empty: str) -> None:
    if not found:
        console.print(empty)
    for one in found:
        path = escape(f"{one.section}.{one.item}")
        if one.key:
            console.print(
                f"[yellow]~[/] {path} {escape(one.key)}: [red]{_shown(one.before)}[/] -> "
                f"[green]{_shown(one.after)}[/]",
                highlight=False,
            )
            continue
        sign, style, item = (
            ("-", "red", one.before) if one.after is None else ("+", "green", one.after)
        )
        keys = ", ".join(f"{key} {_shown(item[key])}" for key in sorted(item))
        console.print(f"[{style}]{sign} {path}[/] {keys}", highlight=False)


def _shown(value: Any) -> str:
    return "(default)" if value is None else escape(json.dumps(value, ensure_ascii=False))
