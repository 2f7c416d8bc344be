"""A limit on what a form may bring, before any of it is kept; DICOMweb has limits of its own."""

from __future__ import annotations

import json

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gatekeeper.web import problems
from gatekeeper.web.guard import audit_of


class _TooLarge(Exception):
    """The body has more bytes than it may."""


class BodyLimit:
    """A layer that answers 413 to a body with too many bytes.

    Args:
        app: the layer below.
        limit: bytes.
        elsewhere: beginning of the paths that have limits of their own.
    """

    def __init__(self, app: ASGIApp, limit: int, elsewhere: str) -> None:
        self._application = app
        self._limit = limit
        self._elsewhere = elsewhere

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"].startswith(self._elsewhere):
            await self._application(scope, receive, send)
            return
        taken = 0
        answered = False

        async def limited() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._limit:
                raise _TooLarge
            return message

        async def noted(message: Message) -> None:
            nonlocal answered
            # The framework may take the error for one of its own and answer itself.
            if taken > self._limit and not answered:
                raise _TooLarge
            answered = True
            await send(message)

        try:
            if _stated(scope) > self._limit:
                raise _TooLarge
            await self._application(scope, limited, noted)
        except _TooLarge:
            if answered:
                raise
            await _refuse(scope, send, self._limit)


async def _refuse(scope: Scope, send: Send, limit: int) -> None:
    audit_of(scope).reason = "the body of the request is too large"
    said = f"More than {limit >> 20} MiB: too large."
    text, media = f"{said}\n", b"text/plain; charset=utf-8"
    if scope["path"].startswith(problems.ROOT):
        text, media = json.dumps(problems.body(413, "http-413", said)), problems.KIND.encode()
    kind = [(b"content-type", media), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 413, "headers": kind})
    await send({"type": "http.response.body", "body": text.encode()})


def _stated(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0
