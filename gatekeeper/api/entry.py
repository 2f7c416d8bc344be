"""Who calls the API: a bearer token whose scopes are permissions, or the session of a browser.

A token that is shown is judged and nothing else is: a wrong one is refused, whatever cookie came
with it. A browser's request is judged as a page's is: what changes something must come from us.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import APIRouter, Depends, Request

from gatekeeper.admin.routing import (
    Forbidden,
    SignInNeeded,
    address_of,
    console_of,
    cookie_of,
    let_in,
)
from gatekeeper.api.problem import documented
from gatekeeper.identity.permission import Permission, Principal
from gatekeeper.web.access import Access
from gatekeeper.web.guard import audit_of
from storage.records import ApiToken

ROOT = "/api/v1"
_EVERYWHERE = (401, 403, 422, 429, 503)
_PERMISSIONS = frozenset(one.value for one in Permission)
SECURITY = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "Of `gatekeeper token add NAME --may view ...`.",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "gatekeeper",
        "description": "Of a browser that is signed in; by https `__Host-gatekeeper`.",
    },
}

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


class ApiRoutes:
    """Routes of one subject, each with the one permission that it needs.

    Args:
        tag: under which OpenAPI lists them.
    """

    def __init__(self, tag: str) -> None:
        self.router = APIRouter(tags=[tag])

    def add(
        self,
        method: str,
        path: str,
        needs: Permission | None,
        *refusals: int,
        status: int = 200,
        **more: Any,
    ) -> Callable[[Endpoint], Endpoint]:
        """Return a decorator for what answers a method here.

        Args:
            method: of HTTP.
            path: below the root of the API.
            needs: the permission; None lets everyone in whose token or session is good.
            *refusals: statuses that it may answer beside those that every route may.
            status: of success.
            **more: for the framework.
        """
        named = (404,) if "{" in path else ()
        with_body = (400, 413) if method in ("POST", "PUT", "PATCH") else ()
        responses = documented(*sorted({*_EVERYWHERE, *named, *with_body, *refusals}))
        own: dict[int | str, dict[str, Any]] = more.pop("responses", {})

        def judged(request: Request) -> None:
            audit_of(request.scope).route = ROOT + path
            admit(request, needs)

        def add(endpoint: Endpoint) -> Endpoint:
            self.router.add_api_route(
                path,
                endpoint,
                methods=[method],
                status_code=status,
                dependencies=[Depends(judged)],
                responses=responses | own,
                operation_id=f"{endpoint.__module__.rpartition('.')[2]}_{endpoint.__name__}",
                # What the role matrix of the tests reads.
                openapi_extra={
                    "x-needs": None if needs is None else needs.value,
                    "security": [{name: []} for name in SECURITY],
                },
                **more,
            )
            return endpoint

        return add

    def get(
        self, path: str, needs: Permission | None, *refusals: int, **more: Any
    ) -> Callable[[Endpoint], Endpoint]:
        """Return a decorator for what answers GET here; see `add`."""
        return self.add("GET", path, needs, *refusals, **more)

    def post(
        self, path: str, needs: Permission | None, *refusals: int, **more: Any
    ) -> Callable[[Endpoint], Endpoint]:
        """Return a decorator for what answers POST here; see `add`."""
        return self.add("POST", path, needs, *refusals, **more)

    def put(
        self, path: str, needs: Permission | None, *refusals: int, **more: Any
    ) -> Callable[[Endpoint], Endpoint]:
        """Return a decorator for what answers PUT here; see `add`."""
        return self.add("PUT", path, needs, *refusals, **more)

    def delete(
        self, path: str, needs: Permission | None, *refusals: int, **more: Any
    ) -> Callable[[Endpoint], Endpoint]:
        """Return a decorator for what answers DELETE here; see `add`."""
        return self.add("DELETE", path, needs, *refusals, **more)


def admit(request: Request, needs: Permission | None) -> None:
    """Judge a request, and keep who sent it for `principal_of`.

    Raises:
        Denied, SignInNeeded, Forbidden, CrossSite: if somebody else is to do this.
        DatabaseUnavailableError: if nobody can be judged.
    """
    shown = request.headers.get("authorization")
    if shown is None:
        if not cookie_of(request):
            raise SignInNeeded("a bearer token is needed")
        let_in(console_of(request), request, needs)
        if request.state.principal is None:
            raise SignInNeeded("the session is over: sign in again")
        return
    access: Access = request.app.state.access
    token = access.token(shown, address_of(request))
    principal = principal_of_token(token)
    request.state.principal = principal
    audit_of(request.scope).token = token.name
    if needs is not None and not principal.may(needs):
        raise Forbidden(f"this needs the permission '{needs}', which {principal.name} has not")


def principal_of_token(token: ApiToken) -> Principal:
    """Return who a token is; of its scopes, those are permissions that are called as one."""
    named = frozenset(Permission(one.value) for one in token.scopes if one.value in _PERMISSIONS)
    return Principal(f"token {token.name}", named)
