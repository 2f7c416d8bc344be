"""`gatekeeper rule add | list | show | edit | enable | disable | move | remove`.

What knows of DICOM is imported by the command that needs it: that takes as long as all the rest.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gatekeeper.cli.changes import By, Why, configuring
from gatekeeper.cli.output import console, emit_json, emit_rows, fail, moment
from gatekeeper.cli.site import AsJson, site_of
from storage import rules as stored

Name = Annotated[str, typer.Argument(help="its name")]
Nodes = list[str] | None


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(add)
    app.command(name="list")(list_rules)
    app.command()(show)
    app.command()(edit)
    app.command()(enable)
    app.command()(disable)
    app.command()(move)
    app.command()(remove)


def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="its name; of one rule in --file without it")] = "",
    when: Annotated[
        list[str] | None,
        typer.Option(help="test such as 'Modality is MR'; repeat; without any, every study"),
    ] = None,
    any_of: Annotated[
        bool, typer.Option("--any/--all", help="whether one test is enough, or all have to hold")
    ] = False,
    analyse: Annotated[str, typer.Option(help="bundle to analyse the series with")] = "",
    skip: Annotated[bool, typer.Option("--skip", help="analyse nothing of it")] = False,
    forward: Annotated[Nodes, typer.Option(help="node to forward to; repeat")] = None,
    hold: Annotated[Nodes, typer.Option(help="gated node to hold from, or '*'; repeat")] = None,
    hours: Annotated[float | None, typer.Option(help="longest hold, in hours")] = None,
    notify: Annotated[Nodes, typer.Option(help="channel to tell; repeat")] = None,
    priority: Annotated[str, typer.Option(help="routine, urgent, or a whole number")] = "",
    priors: Annotated[str, typer.Option(help="archive to fetch prior studies from")] = "",
    count: Annotated[int, typer.Option(help="prior studies at most")] = 1,
    modality: Annotated[str, typer.Option(help="of prior studies; default: the study's")] = "",
    stop: Annotated[
        bool, typer.Option("--stop", help="ask no later rule where it applies")
    ] = False,
    disabled: Annotated[bool, typer.Option("--disabled", help="save it without asking it")] = False,
    description: Annotated[str, typer.Option(help="for people")] = "",
    position: Annotated[int | None, typer.Option(help="1 for the first; default: last")] = None,
    file: Annotated[
        Path | None, typer.Option(help="TOML file of one rule, or of several as [[rule]]")
    ] = None,
    by: By = "",
    why: Why = "",
) -> None:
    """Add a rule, from options or from a file; refused when it names what is not there."""
    from gatekeeper.rules.book import save, surroundings
    from gatekeeper.rules.document import parse_rule
    from gatekeeper.rules.toml_text import read_rules

    then: list[dict[str, Any]] = [{"analyse": analyse}] if analyse else []
    then += [{"skip": True}] if skip else []
    then += [{"forward": node} for node in forward or ()]
    then += [_with({"hold": node}, hours=hours) for node in hold or ()]
    then += [{"notify": channel} for channel in notify or ()]
    then += [{"priority": _number(priority)}] if priority else []
    then += [_with({"priors": priors}, count=count, modality=modality)] if priors else []
    if file is not None:
        if then or when:
            fail("say --file, or options, not both")
        rules = read_rules(file, name)
    else:
        tests: list[Any] = [{"any": when or []}] if any_of else list(when or [])
        document: dict[str, Any] = {"name": name, "description": description, "when": tests}
        document |= {"then": then, "stop": stop, "enabled": not disabled}
        rules = [parse_rule(document)]
    names = ", ".join(rule.name for rule in rules)
    site = site_of(context)
    with configuring(context, by, why, f"rule add {names}") as tx:
        around = surroundings(tx, site.settings)
        for offset, rule in enumerate(rules):
            if stored.get(tx, rule.name) is not None:
                fail(f"there is a rule '{rule.name}'; `gatekeeper rule edit` changes it")
            save(tx, rule, around)
            if position is not None:
                stored.move(tx, rule.name, position + offset)
    for rule in rules:
        console.print(f"Saved rule {rule.name}.", markup=False)


def list_rules(context: typer.Context, as_json: AsJson = False) -> None:
    """List the rules in the order in which they are asked."""
    from gatekeeper.rules import words
    from gatekeeper.rules.book import parse_book

    with site_of(context).database() as database, database.read() as tx:
        rows = stored.listing(tx)
        book = parse_book(rows)
    rules = {rule.name: rule for rule in book.rules}
    emit_rows(
        "Rules",
        rows,
        {
            "": lambda row: str(rows.index(row) + 1),
            "name": lambda row: row.name,
            "asked": lambda row: words.asked(rules.get(row.name)),
            "when": lambda row: words.when(rules.get(row.name), book.problems.get(row.name, "")),
            "then": lambda row: words.then(rules.get(row.name)),
            "changed": lambda row: moment(row.updated_at),
        },
        as_json=as_json,
        empty="No rules yet; `gatekeeper rule add` adds one.",
    )


def show(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Show a rule as TOML, to be edited and given to `gatekeeper rule edit`."""
    from gatekeeper.rules.book import rule_of
    from gatekeeper.rules.document import write_rule
    from gatekeeper.rules.rule import RuleError
    from gatekeeper.rules.toml_text import write_toml

    with site_of(context).database() as database, database.read() as tx:
        row = stored.get(tx, name)
    if row is None:
        fail(f"rule '{name}' is not known")
    try:
        rule = rule_of(row)
    except RuleError as error:
        emit_json(row)
        fail(str(error))
    if as_json:
        emit_json(write_rule(rule))
    else:
        typer.echo(write_toml(rule), nl=False)


def edit(
    context: typer.Context,
    name: Name,
    file: Annotated[Path, typer.Argument(help="TOML file with the whole rule", exists=True)],
    by: By = "",
    why: Why = "",
) -> None:
    """Replace a rule where it stands."""
    from gatekeeper.rules.book import save, surroundings
    from gatekeeper.rules.toml_text import read_rules

    rules = read_rules(file, name)
    if len(rules) != 1 or rules[0].name != name:
        fail(f"{file.name} has to hold one rule named '{name}'")
    site = site_of(context)
    with configuring(context, by, why, f"rule edit {name}") as tx:
        if stored.get(tx, name) is None:
            fail(f"rule '{name}' is not known")
        save(tx, rules[0], surroundings(tx, site.settings))
    console.print(f"Saved rule {name}.", markup=False)


def enable(context: typer.Context, name: Name, by: By = "", why: Why = "") -> None:
    """Have a rule asked again; refused when it names what is no longer there."""
    from gatekeeper.rules.book import rule_of, surroundings
    from gatekeeper.rules.check import check_rule

    site = site_of(context)
    with configuring(context, by, why, f"rule enable {name}") as tx:
        row = stored.get(tx, name)
        if row is None:
            fail(f"rule '{name}' is not known")
        check_rule(rule_of(row), surroundings(tx, site.settings))
        stored.enable(tx, name, enabled=True)
    console.print(f"Enabled rule {name}.", markup=False)


def disable(context: typer.Context, name: Name, by: By = "", why: Why = "") -> None:
    """Ask a rule no longer; it stays."""
    with configuring(context, by, why, f"rule disable {name}") as tx:
        known = stored.enable(tx, name, enabled=False)
    if not known:
        fail(f"rule '{name}' is not known")
    console.print(f"Disabled rule {name}.", markup=False)


def move(
    context: typer.Context,
    name: Name,
    position: Annotated[int, typer.Argument(help="1 for the first", min=1)],
    by: By = "",
    why: Why = "",
) -> None:
    """Ask a rule earlier or later."""
    with configuring(context, by, why, f"rule move {name} {position}") as tx:
        known = stored.move(tx, name, position)
    if not known:
        fail(f"rule '{name}' is not known")
    console.print(f"Moved rule {name}.", markup=False)


def remove(context: typer.Context, name: Name, by: By = "", why: Why = "") -> None:
    """Remove a rule."""
    with configuring(context, by, why, f"rule remove {name}") as tx:
        known = stored.remove(tx, name)
    if not known:
        fail(f"rule '{name}' is not known")
    console.print(f"Removed rule {name}.", markup=False)


def _with(action: dict[str, Any], **values: Any) -> dict[str, Any]:
    return action | {key: value for key, value in values.items() if value not in (None, "")}


def _number(words: str) -> Any:
    return int(words) if words.lstrip("-").isdecimal() else words
