"""Problems: every error as `application/problem+json` (RFC 9457), with the rule that was broken."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from gatekeeper.admin.backtests import BacktestRuns
from gatekeeper.admin.routing import CrossSite, Forbidden, NotFound, SignInNeeded
from gatekeeper.admin.runs import TooManyRuns
from gatekeeper.admin.trying import ShadowOver, ShadowTaken
from gatekeeper.configuration.changes import ConfigurationMoved
from gatekeeper.errors import GatekeeperError, GateRefused
from gatekeeper.identity.passwords import PasswordsBusy
from gatekeeper.log import error_name
from gatekeeper.node_changes import NodeNamed, UnknownNode
from gatekeeper.queue import QueueRefused
from gatekeeper.web import problems
from gatekeeper.web.access import Denied
from gatekeeper.web.guard import audit_of
from gatekeeper.web.problems import KIND
from models.errors import ModelError

_STATUSES: tuple[tuple[type[GatekeeperError], int], ...] = (
    (SignInNeeded, 401),
    (Forbidden, 403),
    (CrossSite, 403),
    (NotFound, 404),
    (UnknownNode, 404),
    (GateRefused, 409),
    (QueueRefused, 409),
    (NodeNamed, 409),
    (ShadowTaken, 409),
    (ShadowOver, 409),
    (BacktestRuns, 409),
    (ConfigurationMoved, 412),
    (PasswordsBusy, 503),
    (TooManyRuns, 503),
)
"""Any other error of ours is 422: what was asked for breaks a rule, which its text names."""
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="gatekeeper"'}
_TEXTS: Mapping[int, str] = {
    400: "the body of the request is not JSON, or not a form",
    404: "no such resource",
    405: "this method is not for this resource",
}


class Wrong(BaseModel):
    """One value of a request that is not allowed."""

    place: str = Field(description="Where it stands, as `body.reason` or `query.limit`.")
    problem: str


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str = Field(description="`urn:gatekeeper:problem:NAME`, the same for the same rule.")
    title: str = Field(description="Of the HTTP status.")
    status: int
    detail: str = Field(description="The rule that was broken, in a sentence for people.")
    wrong: list[Wrong] = Field(
        default=[], description="Each value of the request that is not allowed."
    )


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI says of these statuses."""
    found: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        found[status] = {
            "description": HTTPStatus(status).phrase,
            "content": {KIND: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    return found


def problem(
    request: Request,
    status: int,
    name: str,
    text: str,
    headers: Mapping[str, str] | None = None,
    wrong: list[Wrong] | None = None,
) -> Response:
    """Return an error, and have the log say why."""
    audit_of(request.scope).reason = text
    body = problems.body(status, name, text)
    body["wrong"] = [one.model_dump() for one in wrong or ()]
    return JSONResponse(body, status, dict(headers or {}), KIND)


def handle_errors(application: FastAPI, retry_after: int) -> None:
    """Have every error answered as a problem; `retry_after` is in seconds."""
    again = {"Retry-After": str(retry_after)}

    async def refused(request: Request, error: Exception) -> Response:
        status = next((code for kind, code in _STATUSES if isinstance(error, kind)), 422)
        headers = _CHALLENGE if status == 401 else again if status == 503 else {}
        return problem(request, status, _name(type(error)), str(error), headers)

    async def no_database(request: Request, error: Exception) -> Response:
        return problem(request, 503, "database", f"database trouble: {error_name(error)}", again)

    application.add_exception_handler(Denied, _denied)
    application.add_exception_handler(GatekeeperError, refused)
    application.add_exception_handler(ModelError, refused)
    application.add_exception_handler(SQLAlchemyError, no_database)
    application.add_exception_handler(HTTPException, _by_framework)
    application.add_exception_handler(RequestValidationError, _not_valid)


async def _denied(request: Request, error: Exception) -> Response:
    if not isinstance(error, Denied):
        raise error
    headers = dict(_CHALLENGE) if error.denial.status == 401 else {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(int(error.retry_after) + 1)
    name = error.denial.name.lower().replace("_", "-")
    return problem(request, error.denial.status, name, error.denial.text, headers)


async def _by_framework(request: Request, error: Exception) -> Response:
    status = int(getattr(error, "status_code", 400))
    text = _TEXTS.get(status, HTTPStatus(status).phrase)
    return problem(request, status, f"http-{status}", text, getattr(error, "headers", None))


async def _not_valid(request: Request, error: Exception) -> Response:
    found = error.errors() if isinstance(error, RequestValidationError) else ()
    if any(one["type"] == "json_invalid" for one in found):
        return problem(request, 400, "http-400", _TEXTS[400])
    # Where, and which rule: what was sent is not repeated, and the log says neither.
    wrong = [
        Wrong(place=".".join(str(part) for part in one["loc"]), problem=str(one["msg"]))
        for one in found
    ]
    text = "a value of the request is not allowed"
    return problem(request, 422, "not-valid", text, wrong=wrong)


@functools.cache
def _name(kind: type[Exception]) -> str:
    """Return the name of a rule: that of its error, in small letters with hyphens."""
    letters = (f"-{one.lower()}" if one.isupper() else one for one in kind.__name__)
    return "".join(letters).lstrip("-")
