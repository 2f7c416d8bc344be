"""One study: what was received, judged, held and sent of it, when, why and by whom."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.responses import Response

from gatekeeper import signing
from gatekeeper.admin import auditing
from gatekeeper.admin.console import Console
from gatekeeper.admin.deciding import NOTHING, Typed, carry_out, typed
from gatekeeper.admin.looking import looked_at
from gatekeeper.admin.rendering import go, live, render
from gatekeeper.admin.routing import Desk, NotFound, Routes, principal_of
from gatekeeper.admin.timeline import timeline
from gatekeeper.decision_record import PAYLOAD_TYPE
from gatekeeper.errors import ConfigurationError, GateRefused
from gatekeeper.explanations import explanations
from gatekeeper.history import StudyHistory, read_history, stage
from gatekeeper.identity.permission import Permission
from gatekeeper.verification import Answer, signed_of, verify_chain
from gatekeeper.web.guard import audit_of
from storage import audit, decision_records, study_headers
from storage.records import AuditEntry, ForwardState, Result, StudyHeader

routes = Routes()

_AUDIT_LINES = 50


@dataclass(frozen=True, slots=True)
class Made:
    """Results of one kind in one language."""

    kind: str
    language: str
    count: int
    size: int


@routes.get("/studies/{uid}", Permission.VIEW)
def show(request: Request, console: Desk, uid: str) -> Response:
    """Show a study."""
    return _page(request, console, uid)


@routes.get("/studies/{uid}/verdict", Permission.VIEW)
def verdict(request: Request, console: Desk, uid: str) -> Response:
    """Show the verdict and what is held again, if it has changed."""
    return live(request, "study_verdict.html", **_standing(console, uid))


@routes.get("/studies/{uid}/standing", Permission.VIEW)
def standing(request: Request, console: Desk, uid: str) -> Response:
    """Show its evidence and its way again, if they have changed."""
    return live(request, "study_standing.html", **_standing(console, uid))


@routes.post("/studies/{uid}/decide", Permission.REVIEW)
def decide(
    request: Request, console: Desk, uid: str, form: Annotated[Typed, Depends(typed)]
) -> Response:
    """Release or reject the study, or keep what is thought of its verdict."""
    audit_of(request.scope).study = uid
    try:
        said = carry_out(console, principal_of(request), uid, form)
    except GateRefused as error:
        return _page(request, console, uid, str(error), form)
    auditing.decided(request, uid)
    return go(request, f"/studies/{uid}", said)


@routes.get("/studies/{uid}/verify", Permission.VIEW)
def verify(request: Request, console: Desk, uid: str) -> Response:
    """Show whether the study's signed records are genuine and follow one another."""
    with console.database.read() as tx:
        records = decision_records.of_study(tx, uid)
    try:
        keys = signing.public_keys(console.settings.signing_key)
        answers: Sequence[Answer] = list(verify_chain(signed_of(records), keys, uid))
    except ConfigurationError as error:
        answers = [Answer("keys", False, str(error))]
    return render(request, "study_verified.html", answers=answers)


@routes.get("/studies/{uid}/record", Permission.VIEW)
def record(request: Request, console: Desk, uid: str) -> Response:
    """Return the study's signed records as a file, for `gatekeeper study verify --file`."""
    with console.database.read() as tx:
        records = decision_records.of_study(tx, uid)
    if not records:
        raise NotFound("no record of this study has been signed")
    looked_at(request, uid)
    envelopes = signing.envelope(signed_of(records), PAYLOAD_TYPE)
    name = "".join(letter for letter in uid if letter in "0123456789.")
    return Response(
        json.dumps(envelopes, indent=1) + "\n",
        media_type="application/json",
        headers={"Content-Disposition": f'attachment; filename="records-{name}.json"'},
    )


def _page(
    request: Request, console: Console, uid: str, problem: str = "", form: Typed = NOTHING
) -> Response:
    found = _standing(console, uid)
    looked_at(request, uid)
    principal = principal_of(request)
    lines: list[AuditEntry] = []
    with console.database.read() as tx:
        records = decision_records.of_study(tx, uid)
        if principal.may(Permission.AUDIT):
            lines = audit.listing(tx, study=uid, limit=_AUDIT_LINES)
    return render(
        request,
        "study.html",
        http_status=422 if problem else 200,
        problem=problem,
        form=form,
        records=records[::-1],
        lines=lines,
        **found,
    )


def _standing(console: Console, uid: str) -> dict[str, Any]:
    with console.database.read() as tx:
        history = read_history(tx, uid)
        header = study_headers.get(tx, uid)
    if history is None:
        raise NotFound("no study of this UID is known")
    moment = time.time()
    latest = next((one for one in history.jobs if one.outcome is not None), None)
    return {
        "uid": uid,
        "history": history,
        "header": header,
        "title": title_of(header),
        "stage": stage(history.study, history.jobs[0] if history.jobs else None),
        "lines_of_time": timeline(history, moment),
        "latest": latest,
        "explained": latest and latest.outcome and explanations(latest.outcome),
        "open": open_nodes(history),
        "now": moment,
        "made": {one.job.id: _made(one.results) for one in history.jobs},
    }


def title_of(header: StudyHeader | None) -> str:
    """Return what a study is called on its page; the patient's name as people write it."""
    name = "" if header is None else " ".join(header.patient_name.replace("^", " ").split())
    return name or "Study"


def open_nodes(history: StudyHistory) -> list[str]:
    """Return the nodes that a study can be released to, those that it is held from first."""
    gated = [one.forward for one in history.forwards if one.forward.gated]
    states = (ForwardState.HELD, ForwardState.WAITING)
    return [one.node for state in states for one in gated if one.state is state]


def _made(results: Sequence[Result]) -> list[Made]:
    found: dict[tuple[str, str], list[int]] = {}
    for one in results:
        found.setdefault((one.kind, one.language), []).append(one.size)
    return [Made(*key, len(sizes), sum(sizes)) for key, sizes in found.items()]
