"""`gatekeeper policy`: thresholds and the gate's policy, changed while everything runs."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape

from gatekeeper.cli.changes import By, Why, configuring
from gatekeeper.cli.output import console, emit_rows, fail
from gatekeeper.cli.site import AsJson, site_of
from gatekeeper.configuration import policy
from gatekeeper.settings import describe
from storage import policies

app = typer.Typer(
    help="Thresholds and the gate's policy: in force at once, over those of gatekeeper.toml.",
    no_args_is_help=True,
)
Key = Annotated[str, typer.Argument(help="as `policy show` lists it: models.false_hold_rate")]


@app.command()
def show(context: typer.Context, as_json: AsJson = False) -> None:
    """List what is in force, and where it was set."""
    site = site_of(context)
    with site.database() as database, database.read() as tx:
        found, given = policy.in_force(tx, site.settings), policies.values(tx)
        rates = policy.rates(tx)
    listed: list[dict[str, Any]] = [
        {
            "key": key,
            "value": getattr(getattr(found, row.section), row.name),
            "set_by": "policy" if key in given else "settings",
            "meaning": describe(row),
        }
        for key, row in policy.open_rows().items()
    ]
    meaning = "the same, for series of this profile"
    listed += [
        {"key": f"{policy.RATES}.{one}", "value": rate, "set_by": "policy", "meaning": meaning}
        for one, rate in rates.items()
    ]
    emit_rows(
        "Policy",
        listed,
        {
            "key": lambda one: one["key"],
            "value": lambda one: escape(str(one["value"])),
            "set by": lambda one: one["set_by"],
            "meaning": lambda one: escape(one["meaning"]),
        },
        as_json=as_json,
        empty="No key may be set here.",
    )


@app.command(name="set")
def set_value(
    context: typer.Context,
    key: Key,
    value: Annotated[str, typer.Argument(help="as it would stand in gatekeeper.toml")],
    by: By = "",
    why: Why = "",
) -> None:
    """Set a value in place of the one in gatekeeper.toml; no process needs a restart."""
    usable = policy.checked(key, policy.read_text(value))
    with configuring(context, by, why, f"policy set {key} {value}") as tx:
        policies.save(tx, key, usable)
    console.print(f"{key} is {escape(str(usable))}.", highlight=False)


@app.command()
def unset(context: typer.Context, key: Key, by: By = "", why: Why = "") -> None:
    """Leave a key to gatekeeper.toml again."""
    with configuring(context, by, why, f"policy unset {key}") as tx:
        if not policies.remove(tx, key):
            fail(f"{key} is not set")
    console.print(f"{key} is left to the settings.", highlight=False)
