"""Routes of pages: each names the one permission that it needs, or that it needs none.

Before a page runs, the browser's session is looked up and its permission judged. A request that
changes something must come from a page of ours, as Sec-Fetch-Site says (W3C Fetch Metadata), or
Origin for a browser that does not send it; a request that says neither is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from gatekeeper.admin.console import Console
from gatekeeper.errors import GatekeeperError
from gatekeeper.identity.permission import Permission, Principal
from gatekeeper.web.guard import audit_of

COOKIE = "gatekeeper"
SECURE_COOKIE = "__Host-gatekeeper"
_SAFE = frozenset({"GET", "HEAD"})

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


class SignInNeeded(GatekeeperError):
    """Nobody is signed in."""


class Forbidden(GatekeeperError):
    """Somebody is signed in who may not do this; says what it takes."""


class CrossSite(GatekeeperError):
    """A request that was not sent by a page of ours."""


class NotFound(GatekeeperError):
    """There is no such thing; says which."""


class Routes:
    """Routes of one subject, as a page's module declares them."""

    def __init__(self) -> None:
        self.router = APIRouter()

    def get(self, path: str, needs: Permission | None) -> Callable[[Endpoint], Endpoint]:
        """Return a decorator for what answers GET here; `None` lets everybody in."""
        return self._add(path, "GET", needs)

    def post(self, path: str, needs: Permission | None) -> Callable[[Endpoint], Endpoint]:
        """Return a decorator for what answers POST here; `None` lets everybody in."""
        return self._add(path, "POST", needs)

    def _add(
        self, path: str, method: str, needs: Permission | None
    ) -> Callable[[Endpoint], Endpoint]:
        def judged(request: Request) -> None:
            audit_of(request.scope).route = path
            let_in(console_of(request), request, needs)

        def add(endpoint: Endpoint) -> Endpoint:
            self.router.add_api_route(
                path,
                endpoint,
                methods=[method],
                dependencies=[Depends(judged)],
                response_model=None,
                response_class=Response,
                # What the role matrix of the tests reads.
                openapi_extra={"x-needs": None if needs is None else needs.value},
            )
            return endpoint

        return add


def console_of(request: Request) -> Console:
    """Return what the pages of this application work with."""
    console: Console = request.app.state.console
    return console


Desk = Annotated[Console, Depends(console_of)]
"""The console, as an endpoint's argument."""


def let_in(console: Console, request: Request, needs: Permission | None) -> None:
    """Judge a request, and keep who sent it for `principal_of`.

    Raises:
        CrossSite: if it changes something and was not sent by a page of ours.
        SignInNeeded, Forbidden: if somebody else is to do this.
        DatabaseUnavailableError: if nobody can be judged.
    """
    if request.method not in _SAFE and not _is_ours(request):
        raise CrossSite("this request was not sent by a page of this server")
    principal = console.sign_on.who(cookie_of(request))
    request.state.principal = principal
    if needs is None:
        return
    if principal is None:
        raise SignInNeeded("sign in first")
    audit_of(request.scope).token = principal.name
    if not principal.may(needs):
        raise Forbidden(f"this needs the permission '{needs}', which {principal.name} has not")


def principal_of(request: Request) -> Principal:
    """Return who is signed in.

    Raises:
        SignInNeeded: if nobody is.
    """
    principal: Principal | None = getattr(request.state, "principal", None)
    if principal is None:
        raise SignInNeeded("sign in first")
    return principal


def address_of(request: Request) -> str:
    """Return the literal IP address of the browser."""
    return request.client.host if request.client is not None else ""


def cookie_of(request: Request) -> str | None:
    """Return the text of the session's cookie."""
    return request.cookies.get(cookie_name(request))


def cookie_name(request: Request) -> str:
    """Return the name of the cookie: by https the one that no other host can set (RFC 6265bis)."""
    return SECURE_COOKIE if request.url.scheme == "https" else COOKIE


def keep_cookie(
    request: Request, response: Response, name: str, text: str, seconds: float | None
) -> None:
    """Have the browser keep a cookie that no script reads; None keeps it until it closes."""
    response.set_cookie(
        name,
        text,
        max_age=None if seconds is None else int(seconds),
        httponly=True,
        secure=request.url.scheme == "https",
        samesite="lax",
        path="/",
    )


def _is_ours(request: Request) -> bool:
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get("origin")
    if origin is None:
        return False
    parts = urlsplit(origin)
    return (parts.scheme, parts.netloc) == (request.url.scheme, request.headers.get("host", ""))
