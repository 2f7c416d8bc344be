"""Configuration: every version of what changes during the day, what differs, and the way back."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import Form, Query, Request, UploadFile
from fastapi.responses import Response

from gatekeeper.admin.console import Console
from gatekeeper.admin.rendering import go, render
from gatekeeper.admin.routing import Desk, NotFound, Routes, principal_of
from gatekeeper.configuration import changes, file, history
from gatekeeper.configuration.document import Difference, Document, differences
from gatekeeper.configuration.whole import Whole
from gatekeeper.errors import ConfigurationError, GatekeeperError
from gatekeeper.identity.permission import Permission
from storage import configuration_versions as versions
from storage.engine import Transaction
from storage.records import ConfigurationVersion

routes = Routes()

_PAGE = 50
_LONGEST_WHY = 300


@routes.get("/configuration", Permission.VIEW)
def log(request: Request, console: Desk, before: Annotated[int | None, Query()] = None) -> Response:
    """List the versions, the newest first."""
    return _log(request, console, before)


@routes.get("/configuration/{number:int}", Permission.VIEW)
def show(
    request: Request,
    console: Desk,
    number: int,
    against: Annotated[int | None, Query()] = None,
) -> Response:
    """Show a version, and what differs between it and another: the one before if none is named."""
    with console.database.read() as tx:
        version = _version(tx, number)
        other = against if against is not None else number - 1
        before = _version(tx, other) if other >= 1 else None
        newest = versions.latest_number(tx)
    found = differences({} if before is None else before.document, version.document)
    return render(
        request,
        "configuration_version.html",
        version=version,
        before=before,
        newest=newest,
        differences=[_shown(one) for one in found],
        text=_text(console, version),
        problem="",
    )


@routes.get("/configuration/{number:int}/gatekeeper-configuration.toml", Permission.VIEW)
def export(console: Desk, number: int) -> Response:
    """Hand out a version as the file that `gatekeeper config import` reads."""
    with console.database.read() as tx:
        version = _version(tx, number)
    name = f"gatekeeper-configuration-{number}.toml"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(_text(console, version), 200, headers, "application/toml")


@routes.post("/configuration/{number:int}/restore", Permission.CONFIGURE)
def restore(
    request: Request,
    console: Desk,
    number: int,
    expect: Annotated[int, Form()],
    why: Annotated[str, Form()] = "",
) -> Response:
    """Return to a version, unless the configuration has moved since the page was drawn."""
    settings = console.settings
    try:
        with console.database.read() as tx:
            wanted = Whole.of(settings).parse(history.version(tx, number).document)
        changes.put(
            console.database,
            wanted,
            principal_of(request).name,
            why[:_LONGEST_WHY] or f"return to version {number}",
            settings,
            expect=expect,
            restored_from=number,
        )
    except GatekeeperError as error:
        return go(request, f"/configuration/{number}", str(error), "danger")
    return go(request, "/configuration", f"The configuration is that of version {number} again.")


@routes.post("/configuration/accept", Permission.CONFIGURE)
def accept(request: Request, console: Desk, why: Annotated[str, Form()] = "") -> Response:
    """Answer for what was changed past Gatekeeper."""
    if not why.strip():
        return _log(request, console, None, 422, "say why it was changed that way")
    who = principal_of(request).name
    changes.accept(console.database, who, why.strip()[:_LONGEST_WHY], console.settings)
    return go(request, "/configuration", "The change stands under your name now.")


@routes.post("/configuration/import", Permission.CONFIGURE)
def look(request: Request, console: Desk, upload: UploadFile) -> Response:
    """Show what a file would change; nothing is changed yet."""
    data = upload.file.read(file.LARGEST_BYTES + 1)
    if len(data) > file.LARGEST_BYTES:
        return _log(request, console, None, 422, "the file is too large to be a configuration")
    return _look(request, console, data.decode("utf-8", "replace"))


@routes.post("/configuration/import/do", Permission.CONFIGURE)
def put(
    request: Request,
    console: Desk,
    text: Annotated[str, Form()],
    expect: Annotated[int, Form()],
    why: Annotated[str, Form()] = "",
) -> Response:
    """Have in force what a file says, as it was shown."""
    try:
        version = changes.noticed(console.database, console.settings)
        wanted = _wanted(console, text, version.document)
        changes.put(
            console.database,
            wanted,
            principal_of(request).name,
            why[:_LONGEST_WHY] or "import of a file",
            console.settings,
            expect=expect,
        )
    except GatekeeperError as error:
        return _log(request, console, None, 422, str(error))
    return go(request, "/configuration", "What the file says is in force.")


def _version(tx: Transaction, number: int) -> ConfigurationVersion:
    try:
        return history.version(tx, number)
    except ConfigurationError as error:
        raise NotFound(str(error)) from None


def _look(request: Request, console: Console, text: str) -> Response:
    try:
        version = changes.noticed(console.database, console.settings)
        wanted = _wanted(console, text, version.document)
    except GatekeeperError as error:
        return _log(request, console, None, 422, str(error))
    whole = Whole.of(console.settings)
    known = whole.problems(version.document)
    return render(
        request,
        "configuration_import.html",
        version=version,
        differences=[_shown(one) for one in differences(version.document, wanted)],
        problems=[one for one in whole.problems(wanted) if one not in known],
        text=text,
    )


def _wanted(console: Console, text: str, running: Document) -> Document:
    stated = file.parsed(text, "the file")
    document = Whole.of(console.settings).parse(stated)
    return {name: items for name, items in running.items() if name not in stated} | document


def _log(
    request: Request,
    console: Console,
    before: int | None,
    http_status: int = 200,
    problem: str = "",
) -> Response:
    try:
        newest = changes.noticed(console.database, console.settings)
    except ConfigurationError as error:
        newest, problem = None, problem or str(error)
    with console.database.read() as tx:
        found = versions.listing(tx, _PAGE, before)
    return render(
        request,
        "configuration.html",
        http_status=http_status,
        versions=found,
        more=found[-1].number if len(found) == _PAGE else None,
        newest=newest,
        unknown=newest is not None and newest.who == changes.UNKNOWN,
        problem=problem,
    )


def _text(console: Console, version: ConfigurationVersion) -> str:
    sections = Whole.of(console.settings).sections
    return file.heading(version) + file.written(version.document, sections)


def _shown(one: Difference) -> dict[str, Any]:
    whole = not one.key
    return {
        "path": f"{one.section}.{one.item}",
        "key": one.key,
        "sign": "~" if one.key else "+" if one.before is None else "-",
        "before": _value(one.before, whole),
        "after": _value(one.after, whole),
    }


def _value(value: Any, whole: bool) -> str:
    if value is None:
        return "" if whole else "(default)"
    if whole and isinstance(value, dict):
        found: dict[str, Any] = value
        return ", ".join(
            f"{key} {json.dumps(found[key], ensure_ascii=False)}" for key in sorted(found)
        )
    return json.dumps(value, ensure_ascii=False)
