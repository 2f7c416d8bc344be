"""Slices: a series of a study to look through, with the map over it and its regions."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from fastapi import Request
from fastapi.responses import Response

from gatekeeper.admin.console import Console
from gatekeeper.admin.looking import looked_at
from gatekeeper.admin.rendering import render
from gatekeeper.admin.routing import Desk, NotFound, Routes
from gatekeeper.history import read_history
from gatekeeper.identifiers import Digest
from gatekeeper.identity.permission import Permission
from gatekeeper.viewing.asking import shown_series, view_request
from gatekeeper.viewing.renderer import State
from gatekeeper.web.guard import audit_of

routes = Routes()

_NAME = re.compile(r"[0-9]{1,5}(-map)?\.png")
_PRIVATE = {"Cache-Control": "private, no-store"}


@routes.get("/studies/{uid}/viewer", Permission.VIEW)
def viewer(request: Request, console: Desk, uid: str, series: str = "") -> Response:
    """Show the slices of a series, or how far they are; the first who asks has them drawn."""
    with console.database.read() as tx:
        history = read_history(tx, uid)
        found = [] if history is None else shown_series(tx, history)
    if history is None:
        raise NotFound("no study of this UID is known")
    audit_of(request.scope).study = uid
    chosen = next((one for one in found if one.uid == series), found[0] if found else None)
    context: dict[str, Any] = {"uid": uid, "all": found, "chosen": chosen}
    if chosen is None:
        return render(request, "slices.html", progress=None, manifest=None, key="", **context)
    asked = view_request(history, chosen, console.spool, console.settings.viewing)
    progress = console.viewer.ask(asked)
    manifest = None
    if progress.state is State.READY:
        manifest = console.viewer.cache.manifest(Digest(asked.key))
        looked_at(request, uid)
    return render(
        request,
        "slices.html",
        progress=progress,
        manifest=manifest,
        figure=None if manifest is None else _figure(uid, asked.key, manifest),
        key=asked.key,
        **context,
    )


@routes.get("/studies/{uid}/view/{key}/{name}", Permission.VIEW)
def picture(request: Request, console: Desk, uid: str, key: str, name: str) -> Response:
    """Return the picture of one slice, or what lies over it."""
    audit_of(request.scope).study = uid
    content = _picture(console, uid, key, name)
    if content is None:
        return Response(status_code=404, headers=_PRIVATE)
    return Response(content, media_type="image/png", headers=_PRIVATE)


def _picture(console: Console, uid: str, key: str, name: str) -> bytes | None:
    try:
        digest = Digest.parse(key)
    except ValueError:
        return None
    if not _NAME.fullmatch(name):
        return None
    manifest = console.viewer.cache.manifest(digest)
    if manifest is None or manifest["study"] != uid:
        return None
    return console.viewer.cache.picture(digest, name)


def _figure(uid: str, key: str, manifest: Mapping[str, Any]) -> str:
    """Return what the script of the viewer needs, as JSON."""
    figure = {
        "path": f"/studies/{uid}/view/{key}/",
        "slices": manifest["slices"],
        "regions": manifest["regions"],
        "aspect": manifest["aspect"],
    }
    return json.dumps(figure, separators=(",", ":"))
