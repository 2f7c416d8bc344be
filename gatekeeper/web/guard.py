"""Around every request: deadlines, security headers, one line in the log, and no error unanswered.

A plain ASGI layer below the framework. What it logs is the route's own name, never a path or a
query: those may hold names.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gatekeeper.log import error_name, get_logger
from gatekeeper.settings import WebSettings
from gatekeeper.web.connections import BoundedListener

_AUDIT = "gatekeeper.audit"
_HEADERS: Mapping[bytes, bytes] = {
    b"cache-control": b"no-store",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"cross-origin-resource-policy": b"same-origin",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
}
_HSTS = (b"strict-transport-security", b"max-age=31536000")

log = get_logger()


@dataclass(slots=True)
class Audit:
    """What the log will say of a request."""

    route: str = ""
    token: str = ""
    study: str = ""
    instances: int | None = None
    refused: int | None = None
    reason: str = ""
    status: int = 0
    quiet: bool = False
    """Whether a success is logged at the level DEBUG alone."""


def audit_of(scope: Scope) -> Audit:
    """Return what is to be logged of a request, to be filled in."""
    return scope[_AUDIT]


class Guard:
    """The layer around the application.

    Args:
        application: the framework's.
        settings: deadlines.
        listener: told when requests begin and end.
    """

    def __init__(
        self, application: ASGIApp, settings: WebSettings, listener: BoundedListener
    ) -> None:
        self._application = application
        self._settings = settings
        self._listener = listener

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        client = scope["client"] or ("", 0)
        peer = (str(client[0]), int(client[1]))
        audit = scope[_AUDIT] = Audit()
        started = time.monotonic()

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                audit.status = message["status"]
                message["headers"] = _with_headers(message.get("headers", ()), scope["scheme"])
            async with asyncio.timeout(self._settings.silence_seconds):
                await send(message)

        self._listener.busy(peer)
        try:
            async with asyncio.timeout(self._settings.request_seconds):
                await self._application(scope, receive, guarded)
        except Exception as error:
            audit.reason = audit.reason or error_name(error)
            if audit.status:
                # An answer that has begun cannot be taken back: the connection ends under it.
                raise
            await guarded(_start(408 if isinstance(error, TimeoutError) else 500))
            await guarded({"type": "http.response.body", "body": b""})
        finally:
            self._listener.idle(peer)
            _tell(audit, peer[0], time.monotonic() - started)


def _with_headers(headers: Any, scheme: str) -> list[tuple[bytes, bytes]]:
    given = [(bytes(name).lower(), bytes(value)) for name, value in headers]
    names = {name for name, _ in given}
    added = [(name, value) for name, value in _HEADERS.items() if name not in names]
    return [*given, *added, *([_HSTS] if scheme == "https" else [])]


def _start(status: int) -> Message:
    headers = [(b"content-length", b"0"), (b"connection", b"close")]
    return {"type": "http.response.start", "status": status, "headers": headers}


def _tell(audit: Audit, address: str, seconds: float) -> None:
    fields = {
        "route": audit.route,
        "token": audit.token,
        "study": audit.study,
        "instances": audit.instances,
        "count": audit.refused,
        "reason": audit.reason,
        "address": address,
        "status": str(audit.status),
        "milliseconds": round(1000 * seconds, 1),
    }
    known = {name: value for name, value in fields.items() if value not in ("", None)}
    if audit.status >= 400 or audit.reason:
        log.warning("web_refused", **known)
    elif audit.quiet:
        log.debug("web_answered", **known)
    else:
        log.info("web_answered", **known)
