"""Accounts: who may sign in, with which roles, and which programs may call; secrets shown once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import Response

from gatekeeper.admin.console import Console
from gatekeeper.admin.forms import Typed, word, words
from gatekeeper.admin.pages.sign_in import signed_in_again
from gatekeeper.admin.rendering import go, render
from gatekeeper.admin.routing import Desk, NotFound, Routes, address_of, principal_of
from gatekeeper.errors import GatekeeperError
from gatekeeper.identity import accounts as people
from gatekeeper.identity import passwords
from gatekeeper.identity import tokens as keys
from gatekeeper.identity.permission import ALLOWS, Permission
from gatekeeper.web.guard import audit_of
from storage import accounts, nodes, tokens
from storage.records import Account, AccountRole, Scope

routes = Routes()

ROLES = {
    AccountRole.ADMINISTRATOR: "configures the site, and looks after its queue and its accounts",
    AccountRole.REVIEWER: "decides about held studies",
    AccountRole.PHYSICIST: "chooses models, thresholds and references",
    AccountRole.VIEWER: "looks",
}
MAY = {
    Scope.VIEW: "see studies, queue, nodes, rules, models and how the site stands",
    Scope.REVIEW: "release and reject held studies",
    Scope.OPERATE: "restart, pause and test",
    Scope.CONFIGURE: "change nodes, rules, policy and whole versions",
    Scope.JUDGE: "choose models, and what is usual of a device",
    Scope.AUDIT: "read who did what",
    Scope.ACCOUNTS: "make and change accounts and tokens",
    Scope.READ: "query and retrieve by DICOMweb",
    Scope.METRICS: "read the metrics",
    Scope.STOW: "send studies by DICOMweb, as the node below",
}


@routes.get("/accounts", Permission.ACCOUNTS)
def listing(request: Request, console: Desk) -> Response:
    """Show accounts and tokens."""
    return _listing(request, console)


@routes.get("/accounts/new", Permission.ACCOUNTS)
def ask_new(request: Request, console: Desk) -> Response:
    """Ask for a new account."""
    return _new(request, console)


@routes.post("/accounts/new", Permission.ACCOUNTS)
def make(request: Request, console: Desk, form: Typed) -> Response:
    """Make an account."""
    name, chosen = word(form, "name"), words(form, "roles")
    try:
        with console.database.begin() as tx:
            made = people.enter(
                tx,
                console.settings,
                name,
                _roles(chosen),
                _secret(form, "password"),
                principal_of(request).name,
            )
    except GatekeeperError as error:
        return _new(request, console, _told(request, error), name, chosen)
    return go(request, "/accounts", f"{made.name} may sign in.")


@routes.get("/accounts/person/{name}", Permission.ACCOUNTS)
def show(request: Request, console: Desk, name: str) -> Response:
    """Show one account."""
    return _person(request, console, name)


@routes.post("/accounts/person/{name}/roles", Permission.ACCOUNTS)
def set_roles(request: Request, console: Desk, name: str, form: Typed) -> Response:
    """Give an account other roles, from its next request on."""
    return _change(request, console, name, "has these roles now", roles=words(form, "roles"))


@routes.post("/accounts/person/{name}/switch", Permission.ACCOUNTS)
def switch(request: Request, console: Desk, name: str, form: Typed) -> Response:
    """Disable an account, which ends its sessions, or enable it again."""
    disabled = word(form, "enabled") != "yes"
    done = "is disabled and signed out everywhere" if disabled else "may sign in again"
    return _change(request, console, name, done, disabled=disabled)


@routes.post("/accounts/person/{name}/reset", Permission.ACCOUNTS)
def reset(request: Request, console: Desk, name: str) -> Response:
    """Give an account a new password that nobody chose, and show it once."""
    try:
        with console.database.begin() as tx:
            code = people.reset(tx, console.settings, name, principal_of(request).name)
    except GatekeeperError as error:
        return _person(request, console, name, _told(request, error))
    return _person(request, console, name, code=code)


@routes.post("/accounts/person/{name}/sign-out", Permission.ACCOUNTS)
def sign_out(request: Request, console: Desk, name: str) -> Response:
    """End all sessions of an account."""
    with console.database.begin() as tx:
        accounts.sign_out_everywhere(tx, name)
    return go(request, _path(name), f"{name[:64]} is signed out everywhere.")


@routes.get("/accounts/tokens/new", Permission.ACCOUNTS)
def ask_token(request: Request, console: Desk) -> Response:
    """Ask for a new token."""
    return _token(request, console)


@routes.post("/accounts/tokens/new", Permission.ACCOUNTS)
def make_token(request: Request, console: Desk, form: Typed) -> Response:
    """Make a token and show its text, this once."""
    name, chosen, node = word(form, "name"), words(form, "scopes"), word(form, "node")
    expires = word(form, "days")
    typed = {"name": name, "chosen": chosen, "node": node, "days": expires}
    try:
        scopes = [scope for scope in Scope if scope.value in chosen]
        days = _days(expires)
        with console.database.begin() as tx:
            who = principal_of(request).name
            text = keys.make(tx, console.settings, name, scopes, who, node, days)
    except GatekeeperError as error:
        return _token(request, console, _told(request, error), typed)
    return render(request, "token_made.html", name=name, text=text)


@routes.post("/accounts/tokens/{name}/revoke", Permission.ACCOUNTS)
def revoke(request: Request, console: Desk, name: str) -> Response:
    """Revoke a token, from the next request on and for good."""
    try:
        with console.database.begin() as tx:
            keys.revoke(tx, console.settings, name, principal_of(request).name)
    except GatekeeperError as error:
        return go(request, "/accounts", _told(request, error), "danger")
    return go(request, "/accounts", f"The token {name} is revoked.")


@routes.get("/account", Permission.VIEW)
def own(request: Request, console: Desk) -> Response:
    """Show somebody's own account."""
    return _own(request, console)


@routes.post("/account/password", Permission.VIEW)
def change_own_password(request: Request, console: Desk, form: Typed) -> Response:
    """Change one's own password, which signs out every other browser."""
    name = principal_of(request).name
    try:
        if _secret(form, "new") != _secret(form, "again"):
            raise people.AccountRefused("the new password was typed in two ways")
        account = console.sign_on.confirm(name, _secret(form, "old"), address_of(request))
        with console.database.begin() as tx:
            people.alter(tx, console.settings, name, name, password=_secret(form, "new"))
    except GatekeeperError as error:
        return _own(request, console, _told(request, error))
    said = "Your password is changed, and every other browser is signed out."
    return signed_in_again(request, console, account, "/account", said)


@routes.post("/account/sign-out", Permission.VIEW)
def sign_out_own(request: Request, console: Desk) -> Response:
    """End all of one's own sessions, this one among them."""
    with console.database.begin() as tx:
        accounts.sign_out_everywhere(tx, principal_of(request).name)
    return go(request, "/sign-in", "You are signed out everywhere.")


def _change(
    request: Request,
    console: Console,
    name: str,
    done: str,
    *,
    roles: Sequence[str] | None = None,
    disabled: bool | None = None,
) -> Response:
    try:
        with console.database.begin() as tx:
            people.alter(
                tx,
                console.settings,
                name,
                principal_of(request).name,
                roles=None if roles is None else _roles(roles),
                disabled=disabled,
            )
    except GatekeeperError as error:
        return _person(request, console, name, _told(request, error))
    return go(request, _path(name), f"{name} {done}.")


def _listing(request: Request, console: Console) -> Response:
    with console.database.read() as tx:
        found, programs = accounts.listing(tx), tokens.listing(tx)
    return render(request, "accounts.html", accounts=found, tokens=programs, path=_path)


def _new(
    request: Request,
    console: Console,
    problem: str = "",
    name: str = "",
    chosen: Sequence[str] = (AccountRole.VIEWER.value,),
) -> Response:
    return render(
        request,
        "account_new.html",
        http_status=422 if problem else 200,
        problem=problem,
        name=name,
        chosen=chosen,
        roles=ROLES,
        shortest=console.settings.accounts.password_characters,
        longest=passwords.LONGEST,
    )


def _person(
    request: Request, console: Console, name: str, problem: str = "", code: str = ""
) -> Response:
    with console.database.read() as tx:
        account = accounts.get(tx, name)
        sessions = accounts.sessions(tx, name)
    if account is None:
        raise NotFound("there is no account of this name")
    return render(
        request,
        "account_person.html",
        http_status=422 if problem else 200,
        problem=problem,
        code=code,
        account=account,
        sessions=sessions,
        roles=ROLES,
        path=_path(name),
    )


def _token(
    request: Request, console: Console, problem: str = "", typed: dict[str, Any] | None = None
) -> Response:
    with console.database.read() as tx:
        senders = [node.ae_title for node in nodes.listing(tx) if node.may_send]
    return render(
        request,
        "token_new.html",
        http_status=422 if problem else 200,
        problem=problem,
        typed=typed or {"name": "", "chosen": ["view"], "node": "", "days": ""},
        scopes=MAY,
        senders=senders,
    )


def _own(request: Request, console: Console, problem: str = "") -> Response:
    principal = principal_of(request)
    with console.database.read() as tx:
        account = accounts.get(tx, principal.name)
        sessions = accounts.sessions(tx, principal.name)
    if account is None:
        raise NotFound("there is no account of this name")
    return render(
        request,
        "account_own.html",
        http_status=422 if problem else 200,
        problem=problem,
        account=account,
        sessions=sessions,
        this=principal.session,
        allowed=_allowed(account),
        shortest=console.settings.accounts.password_characters,
        longest=passwords.LONGEST,
    )


def _allowed(account: Account) -> list[str]:
    return [f"{role.value}: {ROLES[role]}" for role in account.roles if role in ALLOWS]


def _roles(chosen: Sequence[str]) -> list[AccountRole]:
    return [role for role in AccountRole if role.value in chosen]


def _secret(form: Any, name: str) -> str:
    """Return a password as typed, blanks included."""
    value = form.get(name, "")
    return value if isinstance(value, str) else ""


def _days(text: str) -> float | None:
    if not text:
        return None
    try:
        days = float(text)
    except ValueError:
        days = 0.0
    if not 0 < days <= 36500:
        raise keys.TokenRefused(f"{text[:20]}: days are a number over 0, at most 36500")
    return days


def _path(name: str) -> str:
    return f"/accounts/person/{quote(name, safe='')}"


def _told(request: Request, error: GatekeeperError) -> str:
    audit_of(request.scope).reason = str(error)
    return str(error)
