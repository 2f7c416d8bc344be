"""Held: the studies that wait for a person, whose hold ends first on top, and the decision."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Depends, Form, Request
from fastapi.responses import Response

from gatekeeper.admin import auditing
from gatekeeper.admin.console import Console
from gatekeeper.admin.deciding import NOTHING, Typed, carry_out, typed
from gatekeeper.admin.looking import looked_at
from gatekeeper.admin.pages.study import open_nodes, title_of
from gatekeeper.admin.rendering import go, live, render
from gatekeeper.admin.routing import Desk, Routes, principal_of
from gatekeeper.errors import GateRefused
from gatekeeper.history import JobHistory, StudyHistory, read_history
from gatekeeper.identity.permission import Permission
from gatekeeper.web.guard import audit_of
from storage import forwards, study_headers
from storage.records import Forward, StudyHeader

routes = Routes()

STUDIES_A_PAGE = 25


@dataclass(frozen=True, slots=True)
class Held:
    """A study that is held.

    Attributes:
        uid: the Study Instance UID.
        header: what its headers say; None before they were read.
        forwards: that are held, at least one; whose hold ends first comes first.
    """

    uid: str
    header: StudyHeader | None
    forwards: Sequence[Forward]


@dataclass(frozen=True, slots=True)
class Chosen:
    """The study that is being decided about."""

    uid: str
    title: str
    history: StudyHistory
    latest: JobHistory | None
    open: Sequence[str]


@routes.get("/held", Permission.VIEW)
def show(request: Request, console: Desk, study: str = "", after: str = "") -> Response:
    """Show what is held, and the form for one study."""
    return _page(request, console, study, after)


@routes.get("/held/list", Permission.VIEW)
def listed(request: Request, console: Desk, study: str = "", after: str = "") -> Response:
    """Show what is held again, if it has changed."""
    return live(request, "held_list.html", **_held(console, study, after))


@routes.post("/held/decide", Permission.REVIEW)
def decide(
    request: Request,
    console: Desk,
    form: Annotated[Typed, Depends(typed)],
    study: Annotated[str, Form()] = "",
    after: Annotated[str, Form()] = "",
) -> Response:
    """Release or reject a study, or keep what is thought of its verdict."""
    audit_of(request.scope).study = study
    try:
        said = carry_out(console, principal_of(request), study, form)
    except GateRefused as error:
        return _page(request, console, study, after, str(error), form)
    auditing.decided(request, study)
    return go(request, "/held", said)


def _page(
    request: Request,
    console: Console,
    study: str,
    after: str,
    problem: str = "",
    form: Typed = NOTHING,
) -> Response:
    chosen = _chosen(console, study) if study else None
    if chosen is not None:
        looked_at(request, chosen.uid)
    return render(
        request,
        "held.html",
        http_status=422 if problem else 200,
        problem=problem,
        form=form,
        chosen=chosen,
        **_held(console, study, after),
    )


def _chosen(console: Console, uid: str) -> Chosen | None:
    with console.database.read() as tx:
        history = read_history(tx, uid)
        header = study_headers.get(tx, uid)
    if history is None:
        return None
    latest = next((one for one in history.jobs if one.outcome is not None), None)
    return Chosen(uid, title_of(header), history, latest, open_nodes(history))


def _held(console: Console, study: str, after: str) -> dict[str, Any]:
    with console.database.read() as tx:
        found = forwards.held_studies(tx, STUDIES_A_PAGE + 1, _after(after))
        page = found[:STUDIES_A_PAGE]
        uids = [uid for _, uid in page]
        of = forwards.held_of(tx, uids)
        headers = study_headers.of_studies(tx, uids)
    rest = len(found) > len(page)
    return {
        "held": [Held(uid, headers.get(uid), of[uid]) for uid in uids],
        "now": time.time(),
        "study": study,
        "after": after,
        "query": urlencode({"study": study, "after": after}),
        "following": urlencode({"after": f"{page[-1][0]!r}~{page[-1][1]}"}) if rest else "",
    }


def _after(text: str) -> tuple[float, str] | None:
    at, _, uid = text.partition("~")
    try:
        return (float(at), uid[:64]) if uid else None
    except ValueError:
        return None
