"""Audit: who decided what, for good, and whether the trail is whole."""

from __future__ import annotations

import json
from typing import Annotated

from fastapi import Query, Request
from fastapi.responses import Response

from gatekeeper.admin import auditing
from gatekeeper.admin.rendering import render
from gatekeeper.admin.routing import Desk, Routes
from gatekeeper.identity.permission import Permission
from storage import audit
from storage.records import AuditEntry

routes = Routes()

_PAGE = 100


@routes.get("/audit", Permission.AUDIT)
def lines(
    request: Request,
    console: Desk,
    study: Annotated[str, Query(max_length=128)] = "",
    actor: Annotated[str, Query(max_length=128)] = "",
    before: Annotated[int | None, Query()] = None,
) -> Response:
    """List the lines, the newest first."""
    with console.database.read() as tx:
        found = audit.listing(tx, study.strip() or None, actor.strip() or None, _PAGE, before)
    auditing.read_trail(request)
    return render(
        request,
        "audit.html",
        lines=[(one, _detail(one)) for one in found],
        more=found[-1].id if len(found) == _PAGE else None,
        study=study,
        actor=actor,
    )


@routes.get("/audit/verify", Permission.AUDIT)
def verify(
    request: Request, console: Desk, head: Annotated[str, Query(max_length=64)] = ""
) -> Response:
    """Read the whole trail, and say whether it is whole."""
    with console.database.read() as tx:
        found = audit.verify(tx, head.strip())
    return render(request, "audit_verified.html", found=found, head=head)


def _detail(line: AuditEntry) -> list[tuple[str, str]]:
    return [
        (key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        for key, value in line.detail.items()
        if value not in (None, "")
    ]
