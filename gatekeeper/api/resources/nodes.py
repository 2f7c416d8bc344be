"""Nodes: listed, entered, removed and called."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Query, Request, Response
from fastapi.responses import HTMLResponse
from pydantic import Field, StringConstraints

from gatekeeper import certificates, node_changes
from gatekeeper.admin import printed
from gatekeeper.admin.calling import begin
from gatekeeper.admin.routing import Desk, NotFound
from gatekeeper.admin.runs import Run
from gatekeeper.api.changes import ETAG, Expected, change, tag, tag_now
from gatekeeper.api.entry import ApiRoutes
from gatekeeper.api.fields import Ae, Answer, Asked, Json, Line, Text, Why
from gatekeeper.configuration.changes import ConfigurationRefused
from gatekeeper.configuration.fields import record_of
from gatekeeper.configuration.nodes import NAME, NodesSection
from gatekeeper.identifiers import AeTitle
from gatekeeper.identity.permission import Permission
from gatekeeper.node_calls import Call
from storage import deliveries, nodes
from storage.records import Confirm, Node, Retrieve, Role

routes = ApiRoutes("Nodes")

Lines = Annotated[list[Line], Field(max_length=200, default_factory=list)]


class NodeFields(Asked):
    """What is entered of a node; see `gatekeeper node add`."""

    host: Line
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    url: Text = ""
    roles: Annotated[list[Role], Field(max_length=8, default_factory=list)]
    may_send: bool = False
    receives_results: bool = False
    receives_studies: bool = False
    sop_classes: Lines
    retrieve: Retrieve = Retrieve.GET
    networks: Lines
    quiet_seconds: Annotated[float, Field(ge=0, le=86400)] | None = None
    objects: Lines
    language: Annotated[Line, StringConstraints(max_length=16)] = "en"
    tls: bool = False
    certificate: Line = ""
    confirm: Confirm = Confirm.NONE
    enabled: bool = True
    description: Text = ""


class NodeAnswer(Answer):
    """A node as it is in force."""

    ae_title: str
    host: str
    port: int
    url: str
    roles: list[Role]
    may_send: bool
    receives_results: bool
    receives_studies: bool
    gated: bool
    sop_classes: list[str]
    retrieve: Retrieve
    networks: list[str]
    quiet_seconds: float | None
    objects: list[str]
    language: str
    tls: bool
    certificate: str
    confirm: Confirm
    enabled: bool
    description: str


class Echo(Answer):
    """What it answered to the latest C-ECHO."""

    at: float
    answered: bool
    detail: str


class Known(Answer):
    """A node with how it stands."""

    node: NodeAnswer
    echo: Echo | None
    last_received_at: float | None
    deliveries: dict[str, int]


class Step(Answer):
    """One step of a call; `ok` is null when it was not to be done."""

    name: str
    ok: bool | None
    milliseconds: float
    text: str


class CallAnswer(Answer):
    """A call of a node as it goes on; `ok` is null while it runs."""

    key: str
    node: str
    call: Call
    begun_at: float
    seconds: float
    ok: bool | None
    leftover: str
    steps: list[Step]


class CallAsked(Asked):
    """What a node is called for."""

    call: Call


@routes.get("/nodes", Permission.VIEW, responses=ETAG)
def listing(console: Desk, response: Response) -> list[NodeAnswer]:
    """List the nodes by their AE titles."""
    with console.database.read() as tx:
        tag(response, tx)
        return [NodeAnswer.model_validate(node) for node in nodes.listing(tx)]


@routes.post("/nodes/{ae:path}/calls", Permission.OPERATE, status=202)
def call(console: Desk, response: Response, ae: Ae, asked: CallAsked) -> CallAnswer:
    """Call a node; ask for the call of the answered key until it has ended."""
    _known(console, ae)
    run = begin(console, ae, asked.call.value)
    response.headers["Location"] = f"/api/v1/calls/{run.key}"
    return _told(run)


@routes.get("/calls/{key}", Permission.VIEW)
def called(console: Desk, key: Annotated[Line, Path(max_length=32)]) -> CallAnswer:
    """Tell how a call goes on; the latest are kept, by the process that answers."""
    run = console.runs.get(key)
    if run is None:
        raise NotFound("no such call is kept")
    return _told(run)


@routes.get("/node-sheets/{ae:path}", Permission.VIEW, response_class=HTMLResponse)
def sheet(
    console: Desk,
    ae: Ae,
    host: Annotated[
        Line, Query(description="Address of ours as the node's engineer types it.")
    ] = "",
) -> Response:
    """Hand out a node's onboarding sheet, to be printed."""
    with console.database.read() as tx:
        node = node_changes.known(tx, ae)
    return printed.sheet(node, console.settings, host)


@routes.get("/nodes/{ae:path}", Permission.VIEW, responses=ETAG)
def show(console: Desk, response: Response, ae: Ae) -> Known:
    """Tell everything of one node."""
    with console.database.read() as tx:
        tag(response, tx)
        node = node_changes.known(tx, ae)
        echo = nodes.last_echo(tx, ae)
        return Known(
            node=NodeAnswer.model_validate(node),
            echo=None if echo is None else Echo.model_validate(echo),
            last_received_at=nodes.last_received(tx, ae),
            deliveries=deliveries.counts_of(tx, ae),
        )


@routes.put("/nodes/{ae:path}", Permission.CONFIGURE, 412, responses=ETAG)
def put(
    request: Request,
    console: Desk,
    response: Response,
    ae: Ae,
    asked: NodeFields,
    expect: Expected,
    why: Why = "",
) -> NodeAnswer:
    """Enter a node, or replace the one of this AE title as a whole."""
    title = str(AeTitle.parse(ae))
    given: Json = asked.model_dump(mode="json")
    if asked.certificate:
        given["certificate"] = certificates.parse_fingerprint(asked.certificate)
    section = NodesSection(console.settings.results.catalogues)
    items = section.parse({title: _without_defaults(given)})
    if found := section.problems({NAME: items}):
        raise ConfigurationRefused(found)
    node = record_of(Node, f"{NAME}.{title}", items[title], ae_title=title)
    with change(request, console, expect, why, f"node put {title}") as tx:
        nodes.save(tx, node)
    tag_now(response, console)
    return NodeAnswer.model_validate(node)


@routes.delete("/nodes/{ae:path}", Permission.CONFIGURE, 409, 412, responses=ETAG)
def remove(
    request: Request,
    console: Desk,
    response: Response,
    ae: Ae,
    expect: Expected,
    why: Why = "",
    disable_rules: Annotated[
        bool, Query(description="Disable the rules that name it, rather than refuse.")
    ] = False,
) -> list[str]:
    """Remove a node, and return the rules that were disabled with it."""
    with change(request, console, expect, why, f"node remove {ae}") as tx:
        disabled = node_changes.remove(tx, ae, disable_rules=disable_rules)
    tag_now(response, console)
    return list(disabled)


def _known(console: Desk, ae: str) -> None:
    with console.database.read() as tx:
        node_changes.known(tx, ae)


def _told(run: Run) -> CallAnswer:
    ended: Any = run.called
    return CallAnswer(
        key=run.key,
        node=run.node,
        call=run.call,
        begun_at=run.begun_at,
        seconds=run.seconds,
        ok=None if ended is None else ended.ok,
        leftover="" if ended is None else ended.leftover,
        steps=[Step.model_validate(step) for step in list(run.steps)],
    )


def _without_defaults(given: Json) -> Json:
    return {key: value for key, value in given.items() if value is not None}
