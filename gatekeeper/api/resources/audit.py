"""Audit: who decided what, for good, and whether the trail is whole."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request

from gatekeeper.admin import auditing
from gatekeeper.admin.routing import Desk
from gatekeeper.api.entry import ApiRoutes
from gatekeeper.api.fields import After, Answer, Json, Limit, Line
from gatekeeper.api.paging import Page, number_of, place_after
from gatekeeper.identity.permission import Permission
from storage import audit

routes = ApiRoutes("Audit")


class Entry(Answer):
    """One line of the trail, chained to the one before by its digest."""

    id: int
    at: float
    actor: str
    action: str
    study: str
    job: int | None
    detail: Json
    previous: str
    digest: str


class Verified(Answer):
    """What reading the whole trail found; `broken` is the first line that does not fit."""

    lines: int
    head: str
    broken: int | None
    problem: str


@routes.get("/audit", Permission.AUDIT)
def lines(
    request: Request,
    console: Desk,
    study: Annotated[Line, Query(max_length=128)] = "",
    actor: Annotated[Line, Query(max_length=128)] = "",
    limit: Limit = 100,
    after: After = "",
) -> Page[Entry]:
    """List the lines, the newest first."""
    with console.database.read() as tx:
        found = audit.listing(tx, study or None, actor or None, limit, number_of(after))
    auditing.read_trail(request)
    end = place_after(found, limit, found[-1].id) if found else None
    return Page(items=[Entry.model_validate(one) for one in found], next=end)


@routes.get("/audit/verification", Permission.AUDIT)
def verify(
    console: Desk,
    head: Annotated[
        Line, Query(max_length=64, description="Digest of a line that has to be in it.")
    ] = "",
) -> Verified:
    """Read the whole trail, and tell whether it is whole."""
    with console.database.read() as tx:
        return Verified.model_validate(audit.verify(tx, head))
