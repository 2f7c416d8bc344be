"""`gatekeeper account`: people who sign in to the pages."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from gatekeeper.cli.changes import By, operating_user
from gatekeeper.cli.output import console, emit_json, emit_rows, fail, moment
from gatekeeper.cli.site import AsJson, site_of
from storage import accounts
from storage.records import AccountRole

app = typer.Typer(
    help="People who sign in to the pages: administrators configure, reviewers decide about held "
    "studies, physicists choose models, viewers look.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(help="of the account")]
Roles = Annotated[list[AccountRole] | None, typer.Option("--role", help="repeat for several")]
FromStdin = Annotated[
    bool,
    typer.Option("--password-stdin", help="read the password from standard input, one line"),
]


@app.command()
def add(
    context: typer.Context,
    name: Name,
    role: Roles = None,
    password_stdin: FromStdin = False,
    by: By = "",
    as_json: AsJson = False,
) -> None:
    """Make an account; without --password-stdin its password is made, and shown this once."""
    # argon2 is of the extra `web`, and most commands need none of it.
    from gatekeeper.identity import accounts as people

    site = site_of(context)
    who = by or operating_user()
    password = _typed() if password_stdin else people.new_code()
    with site.database() as database, database.begin() as tx:
        made = people.enter(tx, site.settings, name, role or (), password, who)
    _tell(made.name, "" if password_stdin else password, as_json=as_json)


@app.command(name="list")
def list_accounts(context: typer.Context, as_json: AsJson = False) -> None:
    """List the accounts."""
    with site_of(context).database() as database, database.read() as tx:
        found = accounts.listing(tx)
    if as_json:
        emit_json(
            [
                {
                    "name": one.name,
                    "roles": one.roles,
                    "elsewhere": bool(one.subject),
                    "disabled": one.disabled,
                    "created_at": one.created_at,
                    "signed_in_at": one.signed_in_at,
                }
                for one in found
            ]
        )
        return
    emit_rows(
        "Accounts",
        found,
        {
            "name": lambda one: one.name,
            "roles": lambda one: ", ".join(one.roles),
            "signs in": lambda one: "elsewhere" if one.subject else "here",
            "made": lambda one: moment(one.created_at),
            "last signed in": lambda one: moment(one.signed_in_at),
            "state": lambda one: "disabled" if one.disabled else "",
        },
        as_json=False,
        empty="No accounts yet; the web role's log has the code for the first one.",
    )


@app.command()
def change(context: typer.Context, name: Name, role: Roles = None, by: By = "") -> None:
    """Give an account other roles, from its next request on."""
    from gatekeeper.identity import accounts as people

    if not role:
        fail("say which: --role, once or more")
    site = site_of(context)
    with site.database() as database, database.begin() as tx:
        people.alter(tx, site.settings, name, by or operating_user(), roles=role)
    console.print(f"{name} is {', '.join(role)}.")


@app.command()
def disable(context: typer.Context, name: Name, by: By = "") -> None:
    """Let an account sign in no more, and end its sessions."""
    _switch(context, name, by, disabled=True)


@app.command()
def enable(context: typer.Context, name: Name, by: By = "") -> None:
    """Let an account sign in again."""
    _switch(context, name, by, disabled=False)


@app.command(name="reset-code")
def reset_code(context: typer.Context, name: Name, by: By = "", as_json: AsJson = False) -> None:
    """Give an account a new password, shown this once; its sessions end."""
    from gatekeeper.identity import accounts as people

    site = site_of(context)
    with site.database() as database, database.begin() as tx:
        code = people.reset(tx, site.settings, name, by or operating_user())
    _tell(name, code, as_json=as_json)


def _switch(context: typer.Context, name: str, by: str, *, disabled: bool) -> None:
    from gatekeeper.identity import accounts as people

    site = site_of(context)
    with site.database() as database, database.begin() as tx:
        people.alter(tx, site.settings, name, by or operating_user(), disabled=disabled)
    console.print(f"{name} is {'disabled' if disabled else 'enabled'}.")


def _tell(name: str, code: str, *, as_json: bool) -> None:
    if as_json:
        emit_json({"name": name, "password": code})
    elif code:
        console.print(f"Password of {name}, shown this once; it is to be changed under My account:")
        typer.echo(code)
    else:
        console.print(f"{name} may sign in.")


def _typed() -> str:
    password = sys.stdin.readline(10_000).rstrip("\r\n")
    if not password:
        fail("standard input has no password")
    return password
