"""The guided set-up: our AE title, the first archive, the first scanner, a test transfer, done."""

from __future__ import annotations

import threading
from typing import Annotated, Any

from fastapi import Query, Request
from fastapi.responses import Response

from gatekeeper import node_sheet, set_up, settings_file, supervise
from gatekeeper.admin.calling import begin
from gatekeeper.admin.console import Console
from gatekeeper.admin.forms import Typed, word
from gatekeeper.admin.node_form import NodeForm
from gatekeeper.admin.pages.nodes import add_node, path_of
from gatekeeper.admin.rendering import go, live, render
from gatekeeper.admin.routing import Desk, Routes, principal_of
from gatekeeper.errors import ConfigurationError, GatekeeperError
from gatekeeper.identifiers import AeTitle
from gatekeeper.identity.permission import Permission
from gatekeeper.log import get_logger
from gatekeeper.node_calls import Call
from gatekeeper.set_up import AE_TITLE_KEY, Part, Progress
from gatekeeper.web.guard import audit_of
from storage.records import Role

routes = Routes()

log = get_logger()

_RESTART_SECONDS = 2.0
_ROLES = {Part.ARCHIVE: Role.ARCHIVE, Part.SCANNER: Role.SCANNER}


@routes.get("/setup", Permission.CONFIGURE)
def show(
    request: Request, console: Desk, part: Annotated[str, Query(max_length=16)] = ""
) -> Response:
    """Show the part that comes next, or one that is asked for."""
    return _page(request, console, part)


@routes.post("/setup/title", Permission.CONFIGURE)
def title(request: Request, console: Desk, form: Typed) -> Response:
    """Write our AE title into the settings file, and have the roles restarted."""
    typed = word(form, "ae_title")
    path = console.config_file
    try:
        wanted = AeTitle.parse(typed)
        why_not = settings_file.problem(path, AE_TITLE_KEY)
        if why_not or path is None:
            raise ConfigurationError(AE_TITLE_KEY, why_not)
        settings_file.put(path, AE_TITLE_KEY, wanted)
    except GatekeeperError as error:
        audit_of(request.scope).reason = str(error)
        return _page(request, console, Part.TITLE, problem=str(error), typed={"ae_title": typed})
    log.info("setting_written", role="web", key=AE_TITLE_KEY)
    if wanted == console.settings.listen.ae_title:
        return go(request, "/setup?part=archive", f"Our AE title is {wanted}.")
    if supervise.is_supervised():
        # Later, so that the next page is there before this process is told to end.
        threading.Timer(_RESTART_SECONDS, supervise.restart_all).start()
        text = f"Our AE title is {wanted}. Every role restarts with it within seconds."
        return go(request, "/setup?part=archive", text)
    text = f"{wanted} is written. Restart Gatekeeper: its processes go on with the title of before."
    return go(request, "/setup?part=archive", text, "warning")


@routes.post("/setup/node", Permission.CONFIGURE)
def add(request: Request, console: Desk, form: Typed) -> Response:
    """Add the first archive or the first scanner."""
    part = Part.SCANNER if word(form, "part") == Part.SCANNER else Part.ARCHIVE
    typed = {name: word(form, name) for name in ("ae_title", "address", "description")}
    empty = NodeForm.empty(_ROLES[part].value)
    studies = {"receives_studies": "yes"} if word(form, "studies") else {}
    try:
        node = add_node(
            request,
            console,
            NodeForm(dict(empty.texts) | typed | studies, empty.roles),
            "guided set-up",
        )
    except GatekeeperError as error:
        audit_of(request.scope).reason = str(error)
        return _page(request, console, part, problem=str(error), typed=typed)
    return go(request, f"/setup?part={part}", f"Saved node {node.ae_title}.")


@routes.post("/setup/call", Permission.OPERATE)
def call(request: Request, console: Desk, form: Typed) -> Response:
    """Call a node from here, and show what comes of it."""
    part = word(form, "part")
    try:
        run = begin(console, word(form, "node"), word(form, "call"))
    except GatekeeperError as error:
        audit_of(request.scope).reason = str(error)
        return _page(request, console, part, problem=str(error))
    if request.headers.get("hx-request"):
        return render(request, "node_run_live.html", run=run)
    return go(request, f"/setup?part={part if part in set(Part) else ''}&run={run.key}")


@routes.get("/setup-parts/transfer", Permission.VIEW)
def transfer(request: Request, console: Desk) -> Response:
    """Show how the first transfer goes on."""
    return live(request, "setup_transfer.html", signs=_signs(console))


@routes.post("/setup/end", Permission.CONFIGURE)
def end(request: Request, console: Desk) -> Response:
    """Have the set-up over."""
    with console.database.begin() as tx:
        set_up.end(tx, principal_of(request).name)
    return go(request, "/", "The set-up is over. Nodes, rules and settings are in the menu.")


def is_open(console: Console) -> bool:
    """Return whether the overview is to offer the set-up."""
    with console.database.read() as tx:
        progress = set_up.read(tx, console.config_file)
    return not progress.ended and progress.next is not None


def _signs(console: Console) -> list[set_up.Sign]:
    with console.database.read() as tx:
        progress = set_up.read(tx, console.config_file)
        return set_up.transfer(tx, progress.scanners, console.settings.listen.association_lease)


def _page(
    request: Request,
    console: Console,
    part: str,
    *,
    problem: str = "",
    typed: dict[str, str] | None = None,
) -> Response:
    with console.database.read() as tx:
        progress = set_up.read(tx, console.config_file)
    known = {one.value: one for one in Part}
    shown = known.get(part, progress.next or Part.TRANSFER)
    stated = settings_file.stated(console.config_file, AE_TITLE_KEY)
    own = stated or console.settings.listen.ae_title
    given = {"ae_title": own if shown is Part.TITLE else "", "address": "", "description": ""}
    return render(
        request,
        "setup.html",
        http_status=422 if problem else 200,
        problem=problem,
        progress=progress,
        parts_of=_parts(progress),
        part=shown.value,
        typed=given | (typed or {}),
        own=own,
        running=console.settings.listen.ae_title,
        why_not=settings_file.problem(console.config_file, AE_TITLE_KEY),
        line=settings_file.line(AE_TITLE_KEY, own),
        file=str(console.config_file or ""),
        supervised=supervise.is_supervised(),
        host=node_sheet.own_host(console.settings.listen.host),
        listen=console.settings.listen,
        signs=_signs(console) if shown is Part.TRANSFER else [],
        run=_run(request, console, progress, shown),
        path_of=path_of,
    )


def _run(request: Request, console: Console, progress: Progress, part: Part) -> Any:
    key = request.query_params.get("run", "")
    if key:
        return console.runs.get(key)
    if part not in (Part.ARCHIVE, Part.TRANSFER) or not progress.archives:
        return None
    latest = console.runs.latest(progress.archives[0].ae_title)
    is_of_part = latest is not None and (latest.call is Call.ROUNDTRIP) is (part is Part.TRANSFER)
    return latest if is_of_part else None


def _parts(progress: Progress) -> list[tuple[str, str, bool]]:
    names = {
        Part.TITLE: "Our AE title",
        Part.ARCHIVE: "First archive",
        Part.SCANNER: "First scanner",
        Part.TRANSFER: "Test transfer",
    }
    return [(part.value, name, part in progress.done) for part, name in names.items()]
