"""The API put together: routes of every subject, its errors, and its description by OpenAPI."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

import gatekeeper
from gatekeeper.admin.console import Console
from gatekeeper.api.entry import ROOT, SECURITY, ApiRoutes
from gatekeeper.api.problem import Problem, handle_errors
from gatekeeper.api.resources import (
    accounts,
    audit,
    clinical,
    configuration,
    drift,
    held,
    models,
    nodes,
    queue,
    rules,
    shadows,
    site,
    studies,
    trials,
)
from gatekeeper.identity.permission import Permission
from gatekeeper.web.access import Access
from gatekeeper.web.throttle import Throttle

RESOURCES: Sequence[ApiRoutes] = (
    site.routes,
    studies.routes,
    held.routes,
    clinical.routes,
    queue.routes,
    nodes.routes,
    rules.routes,
    trials.routes,
    models.routes,
    shadows.routes,
    drift.routes,
    configuration.routes,
    audit.routes,
    accounts.routes,
)
_ABOUT = (
    "What the pages of Gatekeeper do, for programs. A caller shows a bearer token, whose scopes "
    "are the permissions that `x-needs` of each operation names. Errors are problems (RFC 9457). "
    "Lists come in pages: `next` of one is `after` of the next. What is of the configuration "
    "has its version as ETag; a change with `If-Match` is refused by 412 if somebody else changed "
    "it since. Times are seconds since 1970-01-01 UTC."
)


def make_api(console: Console) -> FastAPI:
    """Return the application that is mounted at `entry.ROOT`.

    Args:
        console: what the pages work with, too.
    """
    web = console.settings.web
    application = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    application.router.redirect_slashes = False
    application.state.console = console
    application.state.access = Access(console.database, Throttle(web.failures, web.failure_seconds))
    described = ApiRoutes("Site")

    @described.get("/openapi.json", Permission.VIEW)
    def openapi() -> dict[str, Any]:
        """Describe this API by OpenAPI 3.1."""
        return description()

    for routes in (*RESOURCES, described):
        application.include_router(routes.router)
    handle_errors(application, web.retry_after_seconds)
    # Takes longer than all else that a web role does before it is up.
    description = functools.cache(lambda: describe(application))
    return application


def describe(application: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document of the API."""
    found = get_openapi(
        title="Gatekeeper",
        version="1",
        summary=f"Release {gatekeeper.__version__}",
        description=_ABOUT,
        routes=application.routes,
        servers=[{"url": ROOT}],
    )
    components = found.setdefault("components", {})
    components["securitySchemes"] = dict(SECURITY)
    schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas = components.setdefault("schemas", {})
    schemas.update(schema.pop("$defs", {}))
    schemas["Problem"] = schema
    # The framework's own form of errors is never answered.
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    return found
