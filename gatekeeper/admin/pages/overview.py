"""The overview: how the site stands, on one page that keeps itself up to date."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import Response

from gatekeeper import standing
from gatekeeper.admin.console import Console
from gatekeeper.admin.pages import setup
from gatekeeper.admin.rendering import live, render
from gatekeeper.admin.routing import Desk, Routes, principal_of
from gatekeeper.identity.permission import Permission

routes = Routes()


@routes.get("/", Permission.VIEW)
def overview(request: Request, console: Desk) -> Response:
    """Show how the site stands."""
    may = Permission.CONFIGURE in principal_of(request).permissions
    return render(
        request,
        "overview.html",
        site=_standing(console),
        setup=may and setup.is_open(console),
    )


@routes.get("/overview/standing", Permission.VIEW)
def again(request: Request, console: Desk) -> Response:
    """Show it again, if it has changed."""
    return live(request, "overview_standing.html", site=_standing(console))


def _standing(console: Console) -> standing.Standing:
    return standing.read(console.database, console.spool, console.settings)
