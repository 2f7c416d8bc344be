"""Studies: found, told whole, and decided about by a person."""

from __future__ import annotations

import datetime
from typing import Annotated, Any

from fastapi import Query, Request

from gatekeeper import signing
from gatekeeper.admin import auditing
from gatekeeper.admin.looking import looked_at
from gatekeeper.admin.routing import Desk, NotFound, principal_of
from gatekeeper.api.entry import ApiRoutes
from gatekeeper.api.fields import After, Answer, Asked, Limit, Line, Reason, StudyUid, Text
from gatekeeper.api.paging import Page, moment_and_text_of, place
from gatekeeper.api.study import (
    Delivery,
    Explanations,
    Forward,
    Header,
    Judged,
    Listed,
    Opinion,
    Outcome,
    Prior,
    Received,
    Result,
    Signed,
    Study,
    Verified,
)
from gatekeeper.decision_record import PAYLOAD_TYPE
from gatekeeper.errors import ConfigurationError
from gatekeeper.explanations import explanations
from gatekeeper.gate import people
from gatekeeper.gate.passing import Proceedings
from gatekeeper.history import StudyHistory, find_studies, read_history, stage
from gatekeeper.identity.permission import Permission
from gatekeeper.rules.verdict import Verdict
from gatekeeper.verification import signed_of, verify_chain
from gatekeeper.web.guard import audit_of
from storage import decision_records, study_headers
from storage.records import ForwardState
from storage.records import Outcome as Kept
from storage.study_search import Position, Stage, StudyFilter

routes = ApiRoutes("Studies")


class Decision(Asked):
    """What a person decides."""

    reason: Reason
    node: Annotated[Line, "AE title"] = ""
    """AE title; empty for all that the study is held from."""


class Opined(Asked):
    """What a person thinks of the latest verdict."""

    agrees: bool
    remark: Text = ""


class Passed(Answer):
    """What became of a study for one node; no delivery where the node has all of it."""

    node: str
    state: ForwardState
    delivery: int | None


@routes.get("/studies", Permission.VIEW)
def listing(
    console: Desk,
    text: Annotated[
        Line,
        Query(description="Words, each somewhere in name, number, accession, description or UID."),
    ] = "",
    verdict: Verdict | None = None,
    stage: Stage | None = None,
    held: bool | None = None,
    modality: Annotated[Line, Query(max_length=16)] = "",
    source: Annotated[Line, Query(max_length=16, description="Calling AE title.")] = "",
    device: Line = "",
    received_from: Annotated[datetime.date | None, Query(description="By local time.")] = None,
    received_to: Annotated[datetime.date | None, Query(description="Included.")] = None,
    study_from: datetime.date | None = None,
    study_to: datetime.date | None = None,
    limit: Limit = 50,
    after: After = "",
) -> Page[Listed]:
    """List the studies that have all that is asked for, the latest received first."""
    asked = StudyFilter(
        text=text,
        verdict="" if verdict is None else verdict.value,
        stage=stage,
        held=held,
        modality=modality.upper(),
        source_ae=source,
        device=device,
        received_from=None if received_from is None else _midnight(received_from, 0),
        received_to=None if received_to is None else _midnight(received_to, 1),
        study_date_from="" if study_from is None else study_from.strftime("%Y%m%d"),
        study_date_to="" if study_to is None else study_to.strftime("%Y%m%d"),
    )
    ended = moment_and_text_of(after)
    with console.database.read() as tx:
        page = find_studies(tx, asked, limit, None if ended is None else Position(*ended))
    items = [
        Listed.model_validate(
            {name: getattr(line.summary, name) for name in Listed.model_fields if name != "header"}
            | {"header": line.header}
        )
        for line in page.lines
    ]
    end = page.following
    return Page(
        items=items, next=None if end is None else place(end.received_at, end.study_instance_uid)
    )


@routes.get("/studies/{uid}", Permission.VIEW)
def show(request: Request, console: Desk, uid: StudyUid) -> Study:
    """Tell all that is known of a study."""
    with console.database.read() as tx:
        history = read_history(tx, uid)
        header = study_headers.get(tx, uid)
    if history is None:
        raise NotFound("no study of this UID is known")
    looked_at(request, uid)
    return _told(history, None if header is None else Header.model_validate(header))


@routes.post("/studies/{uid}/release", Permission.REVIEW, 409)
def release(request: Request, console: Desk, uid: StudyUid, asked: Decision) -> list[Passed]:
    """Send a study on that is held, or that waits for its verdict."""
    return _decide(request, console, uid, asked, people.release)


@routes.post("/studies/{uid}/reject", Permission.REVIEW, 409)
def reject(request: Request, console: Desk, uid: StudyUid, asked: Decision) -> list[Passed]:
    """Keep a held study from going on for good."""
    return _decide(request, console, uid, asked, people.reject)


@routes.post("/studies/{uid}/feedback", Permission.REVIEW, 409, status=201)
def comment(request: Request, console: Desk, uid: StudyUid, asked: Opined) -> Opinion:
    """Keep what is thought of the latest verdict."""
    who = principal_of(request).name
    _known(console, request, uid)
    with console.database.begin() as tx:
        kept = people.comment(tx, uid, who, agrees=asked.agrees, remark=asked.remark)
    auditing.decided(request, uid)
    return Opinion.model_validate(kept)


@routes.get("/studies/{uid}/record", Permission.VIEW)
def record(request: Request, console: Desk, uid: StudyUid) -> list[Signed]:
    """Return the study's signed records, as `gatekeeper study verify --file` reads them."""
    with console.database.read() as tx:
        records = decision_records.of_study(tx, uid)
    if not records:
        raise NotFound("no record of this study has been signed")
    looked_at(request, uid)
    return [
        Signed.model_validate(one) for one in signing.envelope(signed_of(records), PAYLOAD_TYPE)
    ]


@routes.get("/studies/{uid}/record/verification", Permission.VIEW)
def verify(console: Desk, uid: StudyUid) -> list[Verified]:
    """Tell whether the study's signed records are genuine and follow one another."""
    with console.database.read() as tx:
        records = decision_records.of_study(tx, uid)
    if not records:
        raise NotFound("no record of this study has been signed")
    try:
        keys = signing.public_keys(console.settings.signing_key)
    except ConfigurationError as error:
        return [Verified(what="keys", ok=False, text=str(error))]
    return [Verified.model_validate(one) for one in verify_chain(signed_of(records), keys, uid)]


def _known(console: Desk, request: Request, uid: str) -> None:
    audit_of(request.scope).study = uid
    with console.database.read() as tx:
        if read_history(tx, uid) is None:
            raise NotFound("no study of this UID is known")


def _decide(
    request: Request, console: Desk, uid: str, asked: Decision, decide: Any
) -> list[Passed]:
    _known(console, request, uid)
    with console.database.begin() as tx:
        done: Proceedings = decide(tx, uid, principal_of(request).name, asked.reason, asked.node)
    done.log()
    auditing.decided(request, uid)
    return [
        Passed(node=one.forward.node, state=one.state, delivery=one.delivery_id)
        for one in done.passed
    ]


def _told(history: StudyHistory, header: Header | None) -> Study:
    newest = history.jobs[0] if history.jobs else None
    jobs = [
        Judged(
            **{
                name: getattr(one.job, name)
                for name in Judged.model_fields
                if name not in ("outcome", "results", "deliveries")
            },
            outcome=None if one.outcome is None else _found(one.outcome),
            results=[Result.model_validate(result) for result in one.results],
            deliveries=[Delivery.model_validate(delivery) for delivery in one.deliveries],
        )
        for one in history.jobs
    ]
    return Study(
        study=Received.model_validate(history.study),
        stage=stage(history.study, newest),
        header=header,
        jobs=jobs,
        forwards=[Forward.model_validate(one.forward) for one in history.forwards],
        priors=[Prior.model_validate(one) for one in history.priors],
        feedback=[Opinion.model_validate(one) for one in history.feedback],
    )


def _found(outcome: Kept) -> Outcome:
    said = {name: getattr(outcome, name) for name in Outcome.model_fields if name != "explanations"}
    return Outcome(**said, explanations=Explanations.model_validate(explanations(outcome)))


def _midnight(day: datetime.date, later: int) -> float:
    """Return the beginning of a day, or of so many later, by local time."""
    last = datetime.date.max - datetime.timedelta(days=2)
    first = datetime.date(1970, 1, 2)
    moment = min(max(day, first), last) + datetime.timedelta(days=later)
    return datetime.datetime.combine(moment, datetime.time()).astimezone().timestamp()
