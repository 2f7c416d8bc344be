"""The pages put together: routes of every subject, assets, and what a person sees of an error."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool
from starlette.types import Scope

from gatekeeper.admin.console import Console
from gatekeeper.admin.forms import FormRefused
from gatekeeper.admin.pages import (
    audit,
    configuration,
    drift,
    held,
    models,
    nodes,
    overview,
    queue,
    rule_trial,
    rules,
    settings,
    setup,
    sign_in,
    slices,
    studies,
    study,
    watch,
)
from gatekeeper.admin.rendering import STATIC, trouble
from gatekeeper.admin.routing import (
    CrossSite,
    Forbidden,
    NotFound,
    Routes,
    SignInNeeded,
    cookie_of,
)
from gatekeeper.errors import GatekeeperError
from gatekeeper.web.guard import audit_of

PAGES: Sequence[Routes] = (
    sign_in.routes,
    overview.routes,
    queue.routes,
    studies.routes,
    study.routes,
    slices.routes,
    held.routes,
    models.routes,
    drift.routes,
    configuration.routes,
    settings.routes,
    audit.routes,
    watch.routes,
    nodes.routes,
    rule_trial.routes,
    rules.routes,
    setup.routes,
)


_TITLES = {
    404: "There is no such page",
    405: "This cannot be done here",
    422: "This address is not right",
    503: "The database does not answer",
}


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
    application.add_exception_handler(FormRefused, _form_refused)
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


async def _form_refused(request: Request, error: Exception) -> Response:
    return trouble(request, 400, "This form cannot be read", str(error))


async def _cross_site(request: Request, error: Exception) -> Response:
    return trouble(request, 403, "Not from here", str(error))


async def _not_found(request: Request, error: Exception) -> Response:
    return trouble(request, 404, "Not here", str(error))


async def _refused(request: Request, error: Exception) -> Response:
    return trouble(request, 422, "Not done", str(error))


async def not_served(request: Request, status: int, text: str) -> Response:
    """Return the page of an error that no page of ours answers for."""
    console: Console = request.app.state.console
    request.state.principal = None
    if status != 503:
        who = functools.partial(console.sign_on.who, cookie_of(request))
        request.state.principal = await run_in_threadpool(who)
    title = _TITLES.get(status, "This cannot be answered")
    return trouble(request, status, title, text)
