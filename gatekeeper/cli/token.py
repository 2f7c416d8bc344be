"""`gatekeeper token`: who may call by DICOMweb and by REST."""

from __future__ import annotations

from typing import Annotated

import typer

from gatekeeper.cli.changes import operating_user
from gatekeeper.cli.output import console, emit_json, emit_rows, fail, moment
from gatekeeper.cli.site import AsJson, site_of
from gatekeeper.identity import tokens as keys
from gatekeeper.identity.permission import Permission
from storage import tokens
from storage.records import ApiToken, Scope

app = typer.Typer(
    help="Bearer tokens: who may send to us, query and retrieve, read metrics, and call by REST.",
    no_args_is_help=True,
)


@app.command()
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="for people and the log; never used again")],
    stow: Annotated[bool, typer.Option("--stow", help="may send studies; needs --node")] = False,
    read: Annotated[
        bool, typer.Option("--read", help="may query and retrieve what web.serves says")
    ] = False,
    metrics: Annotated[bool, typer.Option("--metrics", help="may read /metrics")] = False,
    may: Annotated[
        list[Permission] | None,
        typer.Option(help="may do so by REST; repeat; `gatekeeper account --help` says what it is"),
    ] = None,
    node: Annotated[
        str, typer.Option(help="AE title of the node, one that --sends, that what it sends is from")
    ] = "",
    days: Annotated[
        float | None, typer.Option(help="days until it expires; default: never", min=0)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a token and show it, this once; only its SHA-256 is kept."""
    given = {Scope.STOW: stow, Scope.READ: read, Scope.METRICS: metrics}
    scopes = [scope for scope, wanted in given.items() if wanted]
    scopes += [Scope(permission.value) for permission in may or ()]
    if not scopes:
        fail("say what it may do: --stow, --read, --metrics, --may")
    if stow != bool(node):
        fail("--stow and --node go together: what is sent comes from a node")
    site = site_of(context)
    with site.database() as database, database.begin() as tx:
        text = keys.make(tx, site.settings, name, scopes, operating_user(), node, days)
    if as_json:
        emit_json({"name": name, "token": text})
        return
    console.print(f"Token {name}, shown this once:")
    typer.echo(text)


@app.command(name="list")
def list_tokens(context: typer.Context, as_json: AsJson = False) -> None:
    """List the tokens; the texts are not kept."""
    with site_of(context).database() as database, database.read() as tx:
        found = tokens.listing(tx)
    emit_rows(
        "Tokens",
        found,
        {
            "name": lambda token: token.name,
            "may": lambda token: ", ".join(token.scopes),
            "node": lambda token: token.node,
            "made": lambda token: moment(token.created_at),
            "expires": lambda token: moment(token.expires_at),
            "state": _state,
        },
        as_json=as_json,
        empty="No tokens yet; `gatekeeper token add` makes one.",
    )


@app.command()
def revoke(
    context: typer.Context, name: Annotated[str, typer.Argument(help="of the token")]
) -> None:
    """Revoke a token, from the next request on and for good."""
    site = site_of(context)
    with site.database() as database, database.begin() as tx:
        keys.revoke(tx, site.settings, name, operating_user())
    console.print(f"Revoked token {name}.")


def _state(token: ApiToken) -> str:
    return "revoked" if token.disabled else "expired" if token.expired else ""
