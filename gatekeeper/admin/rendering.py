"""Rendering: templates that escape everything, the headers that keep scripts out, and live parts.

A page is drawn by Jinja with autoescape; there is no inline script and no inline style, and the
policy (W3C CSP level 3) allows none, so that a name from a scanner can only ever be text.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from gatekeeper import __version__
from gatekeeper.admin.navigation import MENU
from gatekeeper.admin.routing import keep_cookie
from gatekeeper.admin.showing import FILTERS
from gatekeeper.identity.permission import Permission, Principal
from gatekeeper.web.guard import audit_of

STATIC = Path(__file__).parent / "static"
_NOTICE = "gatekeeper-notice"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
_LONGEST_NOTICE = 1500

Tone = Literal["success", "danger", "warning", "info"]


def render(
    request: Request, template: str, *, http_status: int = 200, **context: Any
) -> HTMLResponse:
    """Return a page.

    Args:
        request: that asks for it.
        template: file below `templates`.
        http_status: of the answer.
        **context: what the template shows.
    """
    principal: Principal | None = getattr(request.state, "principal", None)
    may = set[Permission]() if principal is None else principal.permissions
    notice = _read_notice(request)
    text = (
        _environment()
        .get_template(template)
        .render(
            request=request,
            principal=principal,
            may={one.value for one in may},
            menu=MENU,
            here=request.url.path,
            notice=notice,
            release=__version__,
            **context,
        )
    )
    response = HTMLResponse(text, http_status, {"Content-Security-Policy": _POLICY})
    if notice is not None:
        response.delete_cookie(_NOTICE, path="/")
    return response


def trouble(request: Request, status: int, title: str, text: str) -> HTMLResponse:
    """Return a page that says what went wrong."""
    audit_of(request.scope).reason = text
    if not hasattr(request.state, "principal"):
        request.state.principal = None
    return render(request, "trouble.html", http_status=status, title=title, text=text)


def live(request: Request, template: str, **context: Any) -> Response:
    """Return a part of a page that the browser asks for again and again.

    What it has already is not sent again: 204, and nothing on the screen moves.
    """
    response = render(request, template, **context)
    seen = hashlib.sha256(response.body).hexdigest()[:16]
    if request.headers.get("x-seen") == seen:
        return Response(status_code=204, headers={"X-Seen": seen})
    response.headers["X-Seen"] = seen
    return response


def go(request: Request, path: str, notice: str = "", tone: Tone = "success") -> RedirectResponse:
    """Return a redirect to a page of ours after something was done, which then says so."""
    response = RedirectResponse(path, 303, {"Content-Security-Policy": _POLICY})
    if request.headers.get("hx-request"):
        response.status_code = 204
        response.headers["HX-Redirect"] = path
    if notice:
        said = json.dumps({"text": notice[:_LONGEST_NOTICE], "tone": tone}).encode()
        keep_cookie(request, response, _NOTICE, base64.urlsafe_b64encode(said).decode(), 60)
    return response


def _read_notice(request: Request) -> Mapping[str, str] | None:
    kept = request.cookies.get(_NOTICE)
    if not kept:
        return None
    try:
        said = json.loads(base64.urlsafe_b64decode(kept.encode()))
        return {"text": str(said["text"]), "tone": str(said["tone"])}
    except (ValueError, KeyError, TypeError):
        return None


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("gatekeeper.admin"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    shared: dict[str, Any] = environment.globals
    shared.update(icon=icon, static=static, charted=charted, current=_current)
    environment.filters.update(FILTERS)
    return environment


@functools.cache
def icon(name: str, label: str = "") -> Markup:
    """Return an icon as inline SVG; without a label a screen reader passes over it."""
    text = (STATIC / "icons" / f"{name}.svg").read_text("utf-8").strip()
    told = (
        Markup('role="img" aria-label="{}"').format(label)
        if label
        else Markup('aria-hidden="true"')
    )
    return Markup(text.replace("<svg ", "<svg {} ", 1)).format(told)  # noqa: S704 - our own files


@functools.cache
def static(path: str) -> str:
    """Return the address of an asset; it changes with its content, so that it may be kept."""
    digest = hashlib.sha256((STATIC / path).read_bytes()).hexdigest()[:12]
    return f"/static/{path}?{digest}"


def charted(figure: Mapping[str, Any]) -> Markup:
    """Return the JSON of a chart, to stand in a block of data that `charts.js` draws."""
    text = json.dumps(figure, separators=(",", ":"), allow_nan=False)
    # As in a script element nothing is escaped, what could end it is written in other letters.
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)  # noqa: S704 - nothing in it can end the element


@pass_context
def _current(context: Context, path: str) -> Markup:
    here: str = context["here"]
    is_here = here == path or (path != "/" and here.startswith(path + "/"))
    return Markup('aria-current="page"') if is_here else Markup("")
