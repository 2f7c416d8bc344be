"""What the routes share: who calls, threads for what blocks, answers in DICOM JSON."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from sqlalchemy.exc import SQLAlchemyError

from gatekeeper.atna.reading import Readings
from gatekeeper.atna.refusals import Refusals
from gatekeeper.log import error_name
from gatekeeper.settings import Settings
from gatekeeper.web import problems
from gatekeeper.web.access import Access, Caller, Denied
from gatekeeper.web.guard import audit_of
from gatekeeper.web.refusal import BadRequest
from storage.records import Scope

DICOM_JSON = "application/dicom+json"
_JUDGES, _READERS, _SEARCHERS = 2, 4, 2
"""Threads for each kind of work, so that a long search keeps nobody from being let in."""
_FOR_PROGRAMS = ("/dicom-web", "/api", "/health", "/ready", "/metrics")
"""Paths under which errors are JSON, whatever the caller accepts."""
_UID = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}")

T = TypeVar("T")
Page = Callable[[Request, int, str], Awaitable[Response]]
"""Shows an error, of this status and with this text, to a person."""


class Service:
    """What the routes of one process work with.

    Args:
        settings: all settings.
        access: judges callers.
        refusals: told of those that are refused.
        readings: told of what is read.
    """

    def __init__(
        self, settings: Settings, access: Access, refusals: Refusals, readings: Readings
    ) -> None:
        self.settings = settings
        self.readings = readings
        self._access = access
        self._refusals = refusals
        self._judges = ThreadPoolExecutor(_JUDGES, "web-judge")
        self._readers = ThreadPoolExecutor(_READERS, "web-read")
        self._searchers = ThreadPoolExecutor(_SEARCHERS, "web-search")

    async def caller(self, request: Request, scope: Scope, route: str) -> Caller:
        """Return who calls, if it may do what this route does.

        Raises:
            Denied, DatabaseUnavailableError: if it may not, or cannot be judged.
        """
        audit = audit_of(request.scope)
        audit.route = route
        address = request.client.host if request.client is not None else ""
        shown = request.headers.get("authorization")
        try:
            caller = await self.judge(lambda: self._access.judge(shown, address, scope))
        except Denied as denied:
            self._refusals.note("", address, denied.denial.text)
            raise
        audit.token = caller.token
        return caller

    async def judge(self, work: Callable[[], T]) -> T:
        """Return what `work` returns, which is there in a moment."""
        return await asyncio.get_running_loop().run_in_executor(self._judges, work)

    async def read(self, work: Callable[[], T]) -> T:
        """Return what `work` returns, which reads a file or two."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, work)

    async def search(self, work: Callable[[], T]) -> T:
        """Return what `work` returns, which may read many files."""
        return await asyncio.get_running_loop().run_in_executor(self._searchers, work)

    def close(self) -> None:
        """Wait for what runs, and take nothing more."""
        for pool in (self._judges, self._readers, self._searchers):
            pool.shutdown(wait=True, cancel_futures=True)


def uid_of(text: str) -> str:
    """Return a UID of a path.

    Raises:
        BadRequest: if no UID that is kept looks like this.
    """
    if not _UID.fullmatch(text):
        raise BadRequest(400, "a UID of the path is none (PS3.5 9.1)")
    return text


def accepts(request: Request, *kinds: str) -> bool:
    """Return whether the caller takes one of these media types; all are lower-case."""
    header = request.headers.get("accept")
    if not header:
        return True
    for entry in header.lower().split(","):
        kind, *parameters = [part.strip() for part in entry.split(";")]
        if "q=0" in parameters:
            continue
        if kind in {"*/*", *kinds} or any(kind == f"{one.partition('/')[0]}/*" for one in kinds):
            return True
    return False


def dicom_json(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return an answer in DICOM JSON (PS3.18 annex F)."""
    data = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    return Response(data, status, dict(headers or {}), DICOM_JSON)


def refused(
    request: Request, status: int, text: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Return an error in JSON, and have the log say why; the connection ends with it."""
    audit_of(request.scope).reason = text
    given = {"Connection": "close", **(headers or {})}
    if request.url.path.startswith(problems.ROOT):
        body = problems.body(status, f"http-{status}", text)
        return JSONResponse(body, status, given, problems.KIND)
    return JSONResponse({"error": text}, status, given)


def is_for_people(request: Request) -> bool:
    """Return whether a browser asks for something that is not a program's."""
    accepted = request.headers.get("accept", "").lower()
    return "text/html" in accepted and not request.url.path.startswith(_FOR_PROGRAMS)


def handle_errors(application: FastAPI, retry_after: int, page: Page) -> None:
    """Have our own errors answered with their status.

    Args:
        application: that answers.
        retry_after: seconds after which who is answered 503 is to come again.
        page: shows an error to a person; programs get JSON.
    """

    async def denied(request: Request, error: Exception) -> Response:
        if not isinstance(error, Denied):
            raise error
        headers: dict[str, str] = {}
        if error.denial.status == 401:
            headers["WWW-Authenticate"] = 'Bearer realm="gatekeeper"'
        if error.retry_after is not None:
            headers["Retry-After"] = str(int(error.retry_after) + 1)
        return refused(request, error.denial.status, error.denial.text, headers)

    async def bad(request: Request, error: Exception) -> Response:
        if not isinstance(error, BadRequest):
            raise error
        headers = {"Retry-After": str(retry_after)} if error.status == 503 else {}
        return refused(request, error.status, str(error), headers)

    async def no_database(request: Request, error: Exception) -> Response:
        text = f"database trouble: {error_name(error)}"
        return await _told(page, request, 503, text, {"Retry-After": str(retry_after)})

    async def unknown(request: Request, error: Exception) -> Response:
        status = int(getattr(error, "status_code", 404))
        return await _told(page, request, status, "no such resource or method")

    async def not_valid(request: Request, _error: Exception) -> Response:
        # The library's text holds what was sent.
        return await _told(page, request, 422, "a parameter of the request is not valid")

    application.add_exception_handler(Denied, denied)
    application.add_exception_handler(BadRequest, bad)
    application.add_exception_handler(SQLAlchemyError, no_database)
    application.add_exception_handler(404, unknown)
    application.add_exception_handler(405, unknown)
    application.add_exception_handler(RequestValidationError, not_valid)


async def _told(
    page: Page,
    request: Request,
    status: int,
    text: str,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return an error as its reader can read it."""
    if not is_for_people(request):
        return refused(request, status, text, headers)
    audit_of(request.scope).reason = text
    response = await page(request, status, text)
    response.headers.update({"Connection": "close", **(headers or {})})
    return response
