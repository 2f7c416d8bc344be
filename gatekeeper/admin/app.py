"""The pages put together: routes of every subject, assets, and what a person sees of an error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles
from starlette.types import Scope

from gatekeeper.admin.console import Console
from gatekeeper.admin.pages import (
    audit,
    configuration,
    drift,
    held,
    models,
    overview,
    queue,
    settings,
    sign_in,
    studies,
    study,
)
from gatekeeper.admin.rendering import STATIC, render
from gatekeeper.admin.routing import CrossSite, Forbidden, NotFound, Routes, SignInNeeded
from gatekeeper.errors import GatekeeperError
from gatekeeper.web.guard import audit_of

PAGES: Sequence[Routes] = (
    sign_in.routes,
    overview.routes,
    queue.routes,
    studies.routes,
    study.routes,
    held.routes,
    models.routes,
    drift.routes,
    configuration.routes,
    settings.routes,
    audit.routes,
)


class _Assets(StaticFiles):
    """Files whose address changes with their content."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        audit_of(scope).route = "/static"
        if scope["query_string"] and response.status_code == 200:
            response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


def add_pages(application: FastAPI, console: Console) -> None:
    """Add the pages to the application.

    Args:
        application: of the web role.
        console: what the pages work with.
    """
    application.state.console = console
    for routes in PAGES:
        application.include_router(routes.router)
    application.mount("/static", _Assets(directory=STATIC), name="static")
    application.add_exception_handler(SignInNeeded, _sign_in)
    application.add_exception_handler(Forbidden, _forbidden)
    application.add_exception_handler(CrossSite, _cross_site)
    application.add_exception_handler(NotFound, _not_found)
    application.add_exception_handler(GatekeeperError, _refused)


async def _sign_in(request: Request, error: Exception) -> Response:
    audit_of(request.scope).reason = str(error)
    asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    # What was asked by a form cannot be asked again.
    back = quote(asked if request.method == "GET" else "/", safe="/")
    if request.headers.get("hx-request"):
        here = quote(request.headers.get("hx-current-url", "/").split("//", 1)[-1], safe="/")
        path = "/" + here.partition("/")[2]
        return Response(status_code=401, headers={"HX-Redirect": f"/sign-in?next={path}"})
    return Response(status_code=303, headers={"Location": f"/sign-in?next={back}"})


async def _forbidden(request: Request, error: Exception) -> Response:
    return trouble(request, 403, "Not allowed", str(error))


async def _cross_site(request: Request, error: Exception) -> Response:
    return trouble(request, 403, "Not from here", str(error))


async def _not_found(request: Request, error: Exception) -> Response:
    return trouble(request, 404, "Not here", str(error))


async def _refused(request: Request, error: Exception) -> Response:
    return trouble(request, 422, "Not done", str(error))


def trouble(request: Request, status: int, title: str, text: str, **more: Any) -> Response:
    """Return a page that says what went wrong."""
    audit_of(request.scope).reason = text
    if not hasattr(request.state, "principal"):
        request.state.principal = None
    return render(request, "trouble.html", http_status=status, title=title, text=text, **more)
