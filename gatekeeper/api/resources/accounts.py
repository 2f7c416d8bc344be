"""Accounts: who may sign in and who may call; the text of a token is answered once."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Request
from pydantic import Field, SecretStr, StringConstraints

from gatekeeper.admin.routing import Desk, NotFound, principal_of
from gatekeeper.api.entry import ApiRoutes
from gatekeeper.api.fields import Answer, Asked, Line
from gatekeeper.identity import accounts as people
from gatekeeper.identity import passwords
from gatekeeper.identity import tokens as keys
from gatekeeper.identity.permission import Permission
from storage import accounts, records, tokens
from storage.engine import Transaction
from storage.records import AccountRole, Scope

routes = ApiRoutes("Accounts")

AccountName = Annotated[Line, Path(max_length=64)]
Password = Annotated[SecretStr, Field(max_length=passwords.LONGEST)]
Roles = Annotated[list[AccountRole], Field(min_length=1, max_length=8)]


class Account(Answer):
    """Somebody who may sign in; `elsewhere` when it is by OpenID Connect."""

    name: str
    roles: list[AccountRole]
    elsewhere: bool
    disabled: bool
    created_at: float
    signed_in_at: float | None


class Session(Answer):
    """A browser that is signed in."""

    address: str
    created_at: float
    seen_at: float


class NewAccount(Asked):
    """An account to be made."""

    name: Annotated[Line, StringConstraints(max_length=64)]
    roles: Roles
    password: Password


class AccountChange(Asked):
    """What is to change; what is left out or null stays."""

    roles: Roles | None = None
    password: Password | None = None
    disabled: bool | None = None


class Token(Answer):
    """A bearer token, without its text."""

    name: str
    scopes: list[Scope]
    node: str
    created_at: float
    expires_at: float | None
    disabled: bool
    expired: bool


class NewToken(Asked):
    """A token to be made; `node` for one that sends by STOW-RS, and for it alone."""

    name: Annotated[Line, StringConstraints(max_length=64)]
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=16)]
    node: Annotated[Line, StringConstraints(max_length=16)] = ""
    days: Annotated[float, Field(gt=0, le=36500)] | None = None


class MadeToken(Answer):
    """A token that was made; this is the only time that its text is told."""

    name: str
    token: str


@routes.get("/accounts", Permission.ACCOUNTS)
def listing(console: Desk) -> list[Account]:
    """List the accounts by name."""
    with console.database.read() as tx:
        return [_told(one) for one in accounts.listing(tx)]


@routes.post("/accounts", Permission.ACCOUNTS, status=201)
def make(request: Request, console: Desk, asked: NewAccount) -> Account:
    """Make a local account."""
    with console.database.begin() as tx:
        made = people.enter(
            tx,
            console.settings,
            asked.name,
            asked.roles,
            asked.password.get_secret_value(),
            principal_of(request).name,
        )
        return _one(tx, made.name)


@routes.get("/accounts/{name}", Permission.ACCOUNTS)
def show(console: Desk, name: AccountName) -> Account:
    """Tell one account."""
    with console.database.read() as tx:
        return _one(tx, name)


@routes.add("PATCH", "/accounts/{name}", Permission.ACCOUNTS)
def change(request: Request, console: Desk, name: AccountName, asked: AccountChange) -> Account:
    """Change an account; with a new password, or disabled, its sessions end."""
    password = None if asked.password is None else asked.password.get_secret_value()
    with console.database.begin() as tx:
        _one(tx, name)
        people.alter(
            tx,
            console.settings,
            name,
            principal_of(request).name,
            roles=asked.roles,
            password=password,
            disabled=asked.disabled,
        )
        return _one(tx, name)


@routes.get("/accounts/{name}/sessions", Permission.ACCOUNTS)
def sessions(console: Desk, name: AccountName) -> list[Session]:
    """List the sessions of an account, the latest used first."""
    with console.database.read() as tx:
        _one(tx, name)
        return [Session.model_validate(one) for one in accounts.sessions(tx, name)]


@routes.delete("/accounts/{name}/sessions", Permission.ACCOUNTS, status=204)
def end_sessions(console: Desk, name: AccountName) -> None:
    """End all sessions of an account."""
    with console.database.begin() as tx:
        _one(tx, name)
        accounts.sign_out_everywhere(tx, name)


@routes.get("/tokens", Permission.ACCOUNTS)
def list_tokens(console: Desk) -> list[Token]:
    """List the tokens by name; their texts are not kept."""
    with console.database.read() as tx:
        return [Token.model_validate(one) for one in tokens.listing(tx)]


@routes.post("/tokens", Permission.ACCOUNTS, status=201)
def make_token(request: Request, console: Desk, asked: NewToken) -> MadeToken:
    """Make a token and tell its text, this once."""
    who = principal_of(request).name
    with console.database.begin() as tx:
        text = keys.make(
            tx, console.settings, asked.name, asked.scopes, who, asked.node, asked.days
        )
    return MadeToken(name=asked.name, token=text)


@routes.delete("/tokens/{name}", Permission.ACCOUNTS, status=204)
def revoke_token(request: Request, console: Desk, name: AccountName) -> None:
    """Revoke a token, from the next request on and for good."""
    with console.database.begin() as tx:
        if all(one.name != name for one in tokens.listing(tx)):
            raise NotFound("no token of this name is known")
        keys.revoke(tx, console.settings, name, principal_of(request).name)


def _one(tx: Transaction, name: str) -> Account:
    found = accounts.get(tx, name)
    if found is None:
        raise NotFound("no account of this name is known")
    return _told(found)


def _told(account: records.Account) -> Account:
    return Account(
        name=account.name,
        roles=list(account.roles),
        elsewhere=bool(account.subject),
        disabled=account.disabled,
        created_at=account.created_at,
        signed_in_at=account.signed_in_at,
    )
