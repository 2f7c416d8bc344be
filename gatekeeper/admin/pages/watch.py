"""Health: whether the site can take studies, what a check of everything says, and the statement."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from fastapi.responses import Response

from gatekeeper import certificates, check, conformance
from gatekeeper.admin.console import Console
from gatekeeper.admin.rendering import live, render
from gatekeeper.admin.routing import Desk, Routes
from gatekeeper.errors import ConfigurationError
from gatekeeper.identity.permission import Permission
from gatekeeper.metrics.health import Readiness
from storage import audit_messages, pauses, watch

routes = Routes()

NEEDS = ("database", "schema", "spool", "space")
WORDS = {
    "database": ("Database", "answers"),
    "schema": ("Schema", "is of this version"),
    "spool": ("Spool", "takes files"),
    "space": ("Space", "is above the low-water mark"),
}


@routes.get("/watch", Permission.VIEW)
def health(request: Request, console: Desk) -> Response:
    """Show whether studies can be taken, and what limits that."""
    return render(request, "watch.html", **_health(console))


@routes.get("/watch/part", Permission.VIEW)
def again(request: Request, console: Desk) -> Response:
    """Show it again, if it has changed."""
    return live(request, "watch_part.html", **_health(console))


@routes.get("/watch/check", Permission.OPERATE)
def look(request: Request, console: Desk) -> Response:
    """Look at everything that a site needs, as `gatekeeper check` does."""
    answers = check.run(console.config_file)
    return render(request, "watch_check.html", answers=answers)


@routes.get("/watch/conformance.html", Permission.VIEW)
def statement(console: Desk) -> Response:
    """Hand out the DICOM conformance statement of the running configuration."""
    with console.database.read() as tx:
        text = conformance.html(console.settings, tx)
    headers = {"Content-Disposition": 'attachment; filename="conformance-statement.html"'}
    return Response(text, 200, headers, "text/html; charset=utf-8")


@routes.get("/watch/conformance.md", Permission.VIEW)
def statement_text(console: Desk) -> Response:
    """Hand out the same as Markdown."""
    with console.database.read() as tx:
        text = conformance.markdown(console.settings, tx)
    headers = {"Content-Disposition": 'attachment; filename="conformance-statement.md"'}
    return Response(text, 200, headers, "text/markdown; charset=utf-8")


def _health(console: Console) -> dict[str, Any]:
    failing = Readiness(console.settings, console.database, console.spool).failing()
    with console.database.read() as tx:
        paused = pauses.paused(tx)
        unsettled = watch.not_settled(tx)
        lost = audit_messages.drops(tx)
    try:
        expiries = certificates.in_use(console.settings.tls)
        problem = ""
    except ConfigurationError as error:
        expiries, problem = [], str(error)
    return {
        "needs": [(name, *WORDS[name], name not in failing) for name in NEEDS],
        "paused": paused,
        "unsettled": unsettled,
        "lost": lost,
        "free": console.spool.free_mib() * 1048576,
        "low_water": console.settings.spool.low_water_mib * 1048576,
        "expiries": expiries,
        "tls_problem": problem,
    }
