"""`gatekeeper token`: who may call by DICOMweb, or read the metrics."""

from __future__ import annotations

import re
import time
from typing import Annotated

import typer
from sqlalchemy import Connection

from gatekeeper.atna.alerts import AccessChanged
from gatekeeper.atna.outbox import record
from gatekeeper.cli.changes import operating_user
from gatekeeper.cli.output import console, emit_json, emit_rows, fail, moment
from gatekeeper.cli.site import AsJson, Site, site_of
from gatekeeper.identifiers import AeTitle
from gatekeeper.web.access import new_token
from storage import nodes, tokens
from storage.records import ApiToken, Scope

app = typer.Typer(
    help="Bearer tokens: who may send to us by DICOMweb, query and retrieve, or read metrics.",
    no_args_is_help=True,
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@app.command()
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="for people and the log; never used again")],
    stow: Annotated[bool, typer.Option("--stow", help="may send studies; needs --node")] = False,
    read: Annotated[
        bool, typer.Option("--read", help="may query and retrieve what web.serves says")
    ] = False,
    metrics: Annotated[bool, typer.Option("--metrics", help="may read /metrics")] = False,
    node: Annotated[
        str, typer.Option(help="AE title of the node, one that --sends, that what it sends is from")
    ] = "",
    days: Annotated[
        float | None, typer.Option(help="days until it expires; default: never", min=0)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a token and show it, this once; only its SHA-256 is kept."""
    if not _NAME.fullmatch(name):
        fail(f"{name}: a name has up to 64 letters, digits, '.', '_' and '-'")
    given = {Scope.STOW: stow, Scope.READ: read, Scope.METRICS: metrics}
    scopes = tuple(scope for scope, wanted in given.items() if wanted)
    if not scopes:
        fail("say what it may do: --stow, --read, --metrics")
    if stow != bool(node):
        fail("--stow and --node go together: what is sent comes from a node")
    ae_title = AeTitle.parse(node) if node else ""
    text, token = new_token(name, scopes, ae_title)
    site = site_of(context)
    with site.database() as database, database.begin() as tx:
        known = nodes.get(tx, ae_title) if node else None
        if node and (known is None or not known.may_send):
            fail(f"node {node} is not known or does not send: `gatekeeper node add ... --sends`")
        if not tokens.add(tx, token, days):
            fail(f"there is or was a token {name}; names are used once")
        _tell(tx, site, name, f"may {', '.join(scopes)}")
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
        revoked = tokens.revoke(tx, name)
        if revoked:
            _tell(tx, site, name, "revoked")
    if not revoked:
        fail(f"there is no token {name}")
    console.print(f"Revoked token {name}.")


def _tell(tx: Connection, site: Site, name: str, what: str) -> None:
    changed = AccessChanged(operating_user(), "", name, what, roles=True, at=time.time())
    record(tx, site.settings, changed)


def _state(token: ApiToken) -> str:
    return "revoked" if token.disabled else "expired" if token.expired else ""
