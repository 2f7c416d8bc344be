"""Nodes: who is talked to, what each may do, how it stands, and whether it answers."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Query, Request
from fastapi.responses import Response

from gatekeeper import node_changes, node_sheet, node_words, peering
from gatekeeper.admin import printed
from gatekeeper.admin.calling import begin
from gatekeeper.admin.console import Console
from gatekeeper.admin.forms import Typed, word
from gatekeeper.admin.node_form import NodeForm, in_words_of_the_form
from gatekeeper.admin.rendering import go, live, render, trouble
from gatekeeper.admin.routing import Desk, Routes, principal_of
from gatekeeper.admin.runs import Run
from gatekeeper.admin.showing import shown
from gatekeeper.configuration.changes import changing
from gatekeeper.errors import GatekeeperError
from gatekeeper.identity.permission import Permission
from gatekeeper.node_calls import Call
from gatekeeper.node_calls import problem as why_not
from gatekeeper.node_entry import address_of
from gatekeeper.results import kinds
from gatekeeper.results.catalogue import languages
from gatekeeper.sop_classes import GROUPS
from gatekeeper.web.guard import audit_of
from storage import callers, deliveries, nodes
from storage.records import Node, Role

routes = Routes()

_LATEST = 12
_CALLS = {
    Call.ECHO: ("C-ECHO", "whether it answers, and how fast"),
    Call.CONTEXTS: ("Contexts", "what it accepts of what we would send, and what a refusal costs"),
    Call.ROUNDTRIP: (
        "Round trip",
        "a test picture is stored, found, fetched and compared; the node keeps it",
    ),
    Call.COMMITMENT: (
        "Commitment test",
        "a test picture is stored, and the node asked to commit to it; the node keeps it",
    ),
}
_STOP_POLLING = 286
"""What htmx takes as the last answer of a part that is asked for again and again."""


@routes.get("/nodes", Permission.VIEW)
def listing(request: Request, console: Desk) -> Response:
    """Show every node."""
    return render(request, "nodes.html", **_standing(console))


@routes.get("/node-parts/list", Permission.VIEW)
def listing_again(request: Request, console: Desk) -> Response:
    """Show them again, if something has changed."""
    return live(request, "nodes_list.html", **_standing(console))


@routes.get("/nodes/new", Permission.CONFIGURE)
def ask_new(
    request: Request, console: Desk, role: Annotated[str, Query()] = "", then: str = ""
) -> Response:
    """Ask for a new node."""
    return _form(request, console, NodeForm.empty(role), then=_then(then))


@routes.post("/nodes/new", Permission.CONFIGURE)
def add(request: Request, console: Desk, form: Typed) -> Response:
    """Add a node."""
    typed = NodeForm.typed(form)
    then = _then(word(form, "then"))
    try:
        node = add_node(request, console, typed, word(form, "why"))
    except GatekeeperError as error:
        return _form(
            request, console, typed, problem=_told(request, error), why=word(form, "why"), then=then
        )
    return go(request, then or path_of(node.ae_title), f"Saved node {node.ae_title}.")


@routes.get("/nodes/{ae:path}/edit", Permission.CONFIGURE)
def ask_edit(request: Request, console: Desk, ae: str) -> Response:
    """Ask for another shape of a node."""
    node = _known(console, ae)
    if node is None:
        return _missing(request, ae)
    return _form(request, console, NodeForm.of(node), before=node)


@routes.post("/nodes/{ae:path}/edit", Permission.CONFIGURE)
def edit(request: Request, console: Desk, ae: str, form: Typed) -> Response:
    """Change a node."""
    before = _known(console, ae)
    if before is None:
        return _missing(request, ae)
    typed = NodeForm.typed(form)
    try:
        node = typed.node(console.settings.results.catalogues, before)
        with changing(
            console.database,
            principal_of(request).name,
            word(form, "why") or f"node edit {ae}",
            console.settings,
        ) as tx:
            node_changes.known(tx, ae)
            nodes.save(tx, node)
    except GatekeeperError as error:
        told = _told(request, error)
        return _form(request, console, typed, before=before, problem=told, why=word(form, "why"))
    return go(request, path_of(ae), f"Saved node {ae}.")


@routes.get("/nodes/{ae:path}/sheet", Permission.VIEW)
def sheet(
    request: Request, console: Desk, ae: str, host: Annotated[str, Query(max_length=255)] = ""
) -> Response:
    """Show the onboarding sheet, to be printed."""
    node = _known(console, ae)
    if node is None:
        return _missing(request, ae)
    return printed.sheet(node, console.settings, host)


@routes.post("/nodes/{ae:path}/switch", Permission.CONFIGURE)
def switch(request: Request, console: Desk, ae: str, form: Typed) -> Response:
    """Enable or disable a node."""
    enabled = word(form, "enabled") == "yes"
    done = "enable" if enabled else "disable"
    try:
        with changing(
            console.database,
            principal_of(request).name,
            word(form, "why") or f"node {done} {ae}",
            console.settings,
        ) as tx:
            node_changes.switch(tx, ae, enabled=enabled)
    except GatekeeperError as error:
        return _node(request, console, ae, problem=_told(request, error))
    text = "enabled" if enabled else "disabled; deliveries to it wait"
    return go(request, path_of(ae), f"Node {ae} is {text}.")


@routes.post("/nodes/{ae:path}/remove", Permission.CONFIGURE)
def remove(request: Request, console: Desk, ae: str, form: Typed) -> Response:
    """Remove a node, unless rules name it."""
    try:
        with changing(
            console.database,
            principal_of(request).name,
            word(form, "why") or f"node remove {ae}",
            console.settings,
        ) as tx:
            disabled = node_changes.remove(
                tx, ae, disable_rules=word(form, "disable_rules") == "yes"
            )
    except node_changes.NodeNamed as error:
        told = _told(request, error).partition(", or disable")[0] + "."
        return _node(request, console, ae, problem=told, naming=error.naming)
    except GatekeeperError as error:
        return _node(request, console, ae, problem=_told(request, error))
    also = f" Disabled {', '.join(disabled)}." if disabled else ""
    return go(request, "/nodes", f"Removed node {ae}.{also}")


@routes.post("/nodes/{ae:path}/call", Permission.OPERATE)
def begin_call(request: Request, console: Desk, ae: str, form: Typed) -> Response:
    """Call a node, and show what comes of it step by step."""
    try:
        run = begin(console, ae, word(form, "call"))
    except GatekeeperError as error:
        return _node(request, console, ae, problem=_told(request, error))
    if request.headers.get("hx-request"):
        return render(request, "node_run_live.html", run=run)
    return go(request, f"{path_of(ae)}?run={run.key}#tests")


@routes.get("/node-parts/run/{key}", Permission.VIEW)
def run_again(request: Request, console: Desk, key: str) -> Response:
    """Show how a call goes on."""
    run = console.runs.get(key)
    response = live(request, "node_run.html", run=run)
    if run is None or run.called is not None:
        if response.status_code == 204:
            response = live(request, "node_run.html", run=run)
        response.status_code = _STOP_POLLING if response.status_code == 200 else 204
    return response


@routes.get("/node-parts/show/{ae:path}", Permission.VIEW)
def show_again(request: Request, console: Desk, ae: str) -> Response:
    """Show how a node stands again, if something has changed."""
    found = _history(console, ae)
    return live(request, "node_standing.html", **(found or {"node": None}))


@routes.get("/nodes/{ae:path}", Permission.VIEW)
def show(
    request: Request, console: Desk, ae: str, run: Annotated[str, Query(max_length=32)] = ""
) -> Response:
    """Show everything about one node."""
    return _node(request, console, ae, run=console.runs.get(run) if run else None)


def path_of(ae_title: str) -> str:
    """Return the address of a node's page."""
    return f"/nodes/{quote(ae_title, safe='')}"


def add_node(request: Request, console: Console, typed: NodeForm, why: str) -> Node:
    """Add a node that was typed in, and return it.

    Raises:
        GatekeeperError: naming the rule that it breaks.
    """
    node = typed.node(console.settings.results.catalogues)
    who = principal_of(request).name
    with changing(
        console.database, who, why or f"node add {node.ae_title}", console.settings
    ) as tx:
        if nodes.get(tx, node.ae_title) is not None:
            raise GatekeeperError(f"there is a node {node.ae_title} already: edit it")
        nodes.save(tx, node)
    return node


def _standing(console: Console) -> dict[str, Any]:
    with console.database.read() as tx:
        return {
            "nodes": nodes.listing(tx),
            "heard": callers.heard(tx, console.settings.listen.association_lease),
            "echoes": nodes.echoes(tx),
            "unfinished": callers.unfinished(tx),
            "does": peering.does,
            "address_of": address_of,
            "path_of": path_of,
        }


def _history(console: Console, ae: str) -> dict[str, Any] | None:
    with console.database.read() as tx:
        node = nodes.get(tx, ae)
        if node is None:
            return None
        return {
            "node": node,
            "echo": nodes.last_echo(tx, ae),
            "heard": callers.heard_of(tx, ae, console.settings.listen.association_lease),
            "counts": deliveries.counts_of(tx, ae),
            "latest": deliveries.listing(tx, node=ae, limit=_LATEST),
        }


def _node(
    request: Request,
    console: Console,
    ae: str,
    *,
    run: Run | None = None,
    problem: str = "",
    naming: tuple[str, ...] = (),
) -> Response:
    found = _history(console, ae)
    if found is None:
        return _missing(request, ae)
    node: Node = found["node"]
    return render(
        request,
        "node.html",
        http_status=422 if problem else 200,
        **found,
        path=path_of(ae),
        address=address_of(node),
        does=peering.does(node),
        tls=node_words.tls(node, console.settings),
        classes=node_words.classes(node),
        confirms=node_words.CONFIRMS[node.confirm],
        usual=kinds.USUAL,
        calls=_calls(node),
        host=node_sheet.own_host(console.settings.listen.host),
        run=run or console.runs.latest(ae),
        problem=problem,
        naming=naming,
    )


def _calls(node: Node) -> list[tuple[str, str, str, str]]:
    """Return key, label, explanation, and why not, of each way to call a node."""
    return [(one.value, *_CALLS[one], why_not(node, one)) for one in Call]


def _form(
    request: Request,
    console: Console,
    typed: NodeForm,
    *,
    before: Node | None = None,
    problem: str = "",
    why: str = "",
    then: str = "",
) -> Response:
    return render(
        request,
        "node_form.html",
        http_status=422 if problem else 200,
        form=typed,
        before=before,
        path="/nodes" if before is None else path_of(before.ae_title),
        problem=problem,
        why=why,
        then=then,
        roles=Role,
        kinds=kinds.KINDS,
        usual=kinds.USUAL,
        groups=list(GROUPS),
        languages=[(one, one) for one in languages(console.settings.results.catalogues)],
    )


def _known(console: Console, ae: str) -> Node | None:
    with console.database.read() as tx:
        return nodes.get(tx, ae)


def _missing(request: Request, ae: str) -> Response:
    return trouble(request, 404, "There is no such node", f"node {shown(ae, 32)} is not known")


def _then(path: str) -> str:
    return path if path == "/setup" else ""


def _told(request: Request, error: GatekeeperError) -> str:
    text = in_words_of_the_form(str(error))
    audit_of(request.scope).reason = text
    return text
