"""`gatekeeper shadow`: terms that decide beside those in force and do nothing, to be activated."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape

from gatekeeper.cli.backtest import (
    FalseHoldRate,
    Model,
    Out,
    PolicyValues,
    RuleFile,
    as_document,
    candidate_of,
    need_worker_libraries,
    show,
    write_page,
)
from gatekeeper.cli.changes import By, configuring, operating_user
from gatekeeper.cli.output import console, emit_json, emit_rows, fail, moment
from gatekeeper.cli.site import AsJson, site_of
from storage import shadows
from storage.records import Shadow, ShadowState

app = typer.Typer(
    help="Terms that decide beside those in force and do nothing, until they are activated.",
    no_args_is_help=True,
)
Name = Annotated[str, typer.Argument(help="its name")]
Why = Annotated[str, typer.Option("--why", help="why, for who reads it later")]
LONGEST_NAME = 64


@app.command()
def add(
    context: typer.Context,
    name: Name,
    false_hold_rate: FalseHoldRate = None,
    rules: RuleFile = None,
    policy: PolicyValues = None,
    model: Model = "",
    by: By = "",
    why: Why = "",
) -> None:
    """Decide by these terms too, from now on. Nothing is held, sent or told because of them."""
    need_worker_libraries()
    if not name.isprintable() or not 0 < len(name) <= LONGEST_NAME:
        fail(f"a name has 1 to {LONGEST_NAME} printable characters")
    site = site_of(context)
    with site.database() as database:
        wanted = candidate_of(site, database, false_hold_rate, rules, policy, None, model)
        with database.begin() as tx:
            added = shadows.add(
                tx,
                name,
                wanted.document,
                by or operating_user(),
                why,
                analyses=wanted.models is not None,
            )
    if not added:
        fail(f"there is a shadow '{name}' already; choose another name")
    console.print(f"Shadow {name} decides from now on: {wanted.in_words}.", markup=False)
    if wanted.models is not None:
        console.print("Workers analyse each study for it again when they have no other job.")


@app.command(name="list")
def list_shadows(context: typer.Context, as_json: AsJson = False) -> None:
    """List shadows, the newest first."""
    need_worker_libraries()
    from gatekeeper.backtest.candidate import Candidate

    with site_of(context).database() as database, database.read() as tx:
        found = shadows.listing(tx)
    emit_rows(
        "Shadows",
        found,
        {
            "name": lambda one: escape(one.name),
            "state": lambda one: one.state.value,
            "candidate": lambda one: escape(Candidate.of(one.candidate).in_words),
            "since": lambda one: moment(one.started_at),
            "by": lambda one: escape(one.started_by),
            "why": lambda one: escape(one.why),
            "ended": lambda one: f"{moment(one.ended_at)} {escape(one.ended_by)}".strip(),
        },
        as_json=as_json,
        empty="No shadows yet; `gatekeeper shadow add` adds one.",
    )


@app.command()
def report(context: typer.Context, name: Name, out: Out = None, as_json: AsJson = False) -> None:
    """Show what a shadow would have decided, beside what was decided."""
    need_worker_libraries()
    from gatekeeper.backtest.shadowing import report as reported

    with site_of(context).database() as database:
        with database.read() as tx:
            one = _known(shadows.get(tx, name), name)
        found = reported(database, one)
    if out is not None:
        write_page(out, found, f"Shadow {name}")
    if as_json:
        emit_json({"name": name, "state": one.state.value, **as_document(found)})
        return
    show(found)


@app.command()
def end(context: typer.Context, name: Name, by: By = "") -> None:
    """Stop deciding by a shadow's terms; what it would have decided is kept."""
    with site_of(context).database() as database, database.begin() as tx:
        _known(shadows.get(tx, name), name)
        ended = shadows.end(tx, name, by or operating_user(), ShadowState.ENDED)
    if not ended:
        fail(f"shadow '{name}' does not run")
    console.print(f"Shadow {name} has ended.", markup=False)


@app.command()
def activate(context: typer.Context, name: Name, by: By = "", why: Why = "") -> None:
    """Put a running shadow's terms in force: one version of the configuration."""
    need_worker_libraries()
    site = site_of(context)
    with site.database() as database, database.read() as tx:
        _known(shadows.get(tx, name), name)
    from gatekeeper.backtest.activation import succeed

    with configuring(context, by, why, f"shadow activate {name}") as tx:
        succeed(tx, name, by or operating_user(), site.settings)
    console.print(
        f"Shadow {name} is in force; `gatekeeper config restore` goes back.", markup=False
    )


def _known(one: Shadow | None, name: str) -> Any:
    if one is None:
        fail(f"there is no shadow '{name}'")
    return one
