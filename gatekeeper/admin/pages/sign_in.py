"""Signing in and out, and the first account."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import Form, Query, Request
from fastapi.responses import Response

from gatekeeper.admin import auditing
from gatekeeper.admin.console import Console
from gatekeeper.admin.rendering import go, render
from gatekeeper.admin.routing import Desk, Routes, address_of, cookie_name, keep_cookie
from gatekeeper.errors import GatekeeperError
from gatekeeper.identity.sign_on import SignInRefused
from gatekeeper.web.guard import audit_of
from storage.records import Account, AccountRole

routes = Routes()

_ALSO = (AccountRole.REVIEWER.value, AccountRole.PHYSICIST.value)


@routes.get("/sign-in", None)
def ask(request: Request, console: Desk, next: Annotated[str, Query()] = "/") -> Response:
    """Ask for name and password, or lead on."""
    if console.first_start.needed():
        return go(request, "/first-start")
    if request.state.principal is not None:
        return go(request, local(next))
    return render(request, "sign_in.html", problem="", name="", next=local(next))


@routes.post("/sign-in", None)
def sign_in(
    request: Request,
    console: Desk,
    name: Annotated[str, Form()] = "",
    password: Annotated[str, Form()] = "",
    next: Annotated[str, Form()] = "/",
) -> Response:
    """Sign somebody in."""
    try:
        text = console.sign_on.sign_in(name, password, address_of(request))
    except GatekeeperError as error:
        audit_of(request.scope).reason = str(error)
        wait = error.retry_after if isinstance(error, SignInRefused) else None
        auditing.not_let_in(request, name, str(error), throttled=wait is not None)
        response = render(
            request,
            "sign_in.html",
            http_status=429 if wait else 403,
            problem=str(error),
            name=name,
            next=local(next),
        )
        if wait:
            response.headers["Retry-After"] = str(int(wait) + 1)
        return response
    auditing.signed_in(request, name)
    return _signed_in(request, console, text, local(next))


@routes.post("/sign-out", None)
def sign_out(request: Request, console: Desk) -> Response:
    """End the session."""
    if request.state.principal is not None:
        console.sign_on.sign_out(request.state.principal.session)
        auditing.signed_out(request, request.state.principal.name)
    response = go(request, "/sign-in")
    response.delete_cookie(cookie_name(request), path="/")
    return response


@routes.get("/first-start", None)
def first(request: Request, console: Desk) -> Response:
    """Ask for the one-time code and the first account."""
    if not console.first_start.needed():
        return go(request, "/sign-in")
    return _first(request, console)


@routes.post("/first-start", None)
def make_first(
    request: Request,
    console: Desk,
    code: Annotated[str, Form()] = "",
    name: Annotated[str, Form()] = "",
    password: Annotated[str, Form()] = "",
    roles: Annotated[list[str] | None, Form()] = None,
) -> Response:
    """Make the first account and sign it in."""
    if not console.first_start.needed():
        return go(request, "/sign-in")
    also = [role for role in _ALSO if role in (roles or ())]
    try:
        account = _make(request, console, code, name, password, also)
    except GatekeeperError as error:
        audit_of(request.scope).reason = str(error)
        return _first(request, console, 403, str(error), code, name, also)
    text = console.sign_on.begin(account, address_of(request))
    auditing.signed_in(request, account.name)
    return _signed_in(request, console, text, "/setup", f"Welcome, {account.name}.")


def signed_in_again(
    request: Request, console: Console, account: Account, path: str, notice: str
) -> Response:
    """Begin a session for somebody whose other ones ended."""
    text = console.sign_on.begin(account, address_of(request))
    return _signed_in(request, console, text, path, notice)


def local(path: str) -> str:
    """Return a path of this server, whatever was asked for."""
    is_path = path.startswith("/") and not path.startswith(("//", "/\\"))
    return path if is_path and path.isprintable() and len(path) < 500 else "/"


def _make(
    request: Request, console: Console, code: str, name: str, password: str, also: Sequence[str]
) -> Account:
    console.first_start.check(code, address_of(request))
    shortest = console.settings.accounts.password_characters
    chosen = [AccountRole(role) for role in also]
    with console.database.begin() as tx:
        return console.first_start.make(tx, name, password, shortest, chosen)


def _signed_in(
    request: Request, console: Console, cookie: str, path: str, notice: str = ""
) -> Response:
    response = go(request, path, notice)
    seconds = console.sign_on.longest_seconds
    keep_cookie(request, response, cookie_name(request), cookie, seconds)
    return response


def _first(
    request: Request,
    console: Console,
    http_status: int = 200,
    problem: str = "",
    code: str = "",
    name: str = "",
    also: Sequence[str] = _ALSO,
) -> Response:
    return render(
        request,
        "first_start.html",
        http_status=http_status,
        problem=problem,
        code=code,
        name=name,
        roles=also,
        shortest=console.settings.accounts.password_characters,
    )
