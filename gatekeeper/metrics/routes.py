"""``/health``, ``/ready`` and ``/metrics``.

The first two say nothing but yes or no and are for everyone. The metrics are for addresses that
`metrics.networks` names, when they call by themselves and not through a proxy, and for tokens of
the scope `metrics`.
"""

from __future__ import annotations

from ipaddress import ip_network

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from gatekeeper.listen.peers import parse_address
from gatekeeper.metrics.exposition import CONTENT_TYPE, Exposition
from gatekeeper.metrics.health import TIME, Readiness
from gatekeeper.metrics.labels import Labels
from gatekeeper.metrics.shared import Shared
from gatekeeper.metrics.subjects import Context, subjects
from gatekeeper.web.guard import audit_of
from gatekeeper.web.serving import Service, refused
from storage.engine import Database
from storage.records import Scope
from storage.spool import Spool

_READY_FRESH_SECONDS = 1.0
_BY_PROXY = ("forwarded", "via", "x-forwarded-for", "x-real-ip")


class Watch:
    """Answers who watches this site.

    Args:
        service: what all routes share.
        database: of the facts.
        spool: of the files.
    """

    def __init__(self, service: Service, database: Database, spool: Spool) -> None:
        settings = service.settings
        limits = settings.metrics
        self._service = service
        self._retry_after = str(settings.web.retry_after_seconds)
        self._networks = [ip_network(one, strict=False) for one in limits.networks]
        context = Context(settings, database, spool, Labels(limits.maximum_devices))
        exposition = Exposition(subjects(context))
        self._metrics = Shared(exposition.text, limits.cache_seconds, limits.wait_seconds)
        readiness = Readiness(settings, database, spool)
        self._ready = Shared(readiness.failing, _READY_FRESH_SECONDS, limits.wait_seconds)

    def routes(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter()

        @router.api_route("/health", methods=["GET", "HEAD"])
        async def health(request: Request) -> Response:
            _begin(request, "health")
            return Response("ok\n", media_type="text/plain")

        @router.api_route("/ready", methods=["GET", "HEAD"])
        async def ready(request: Request) -> Response:
            _begin(request, "ready")
            try:
                failing = await self._ready.get()
            except TimeoutError:
                failing = (TIME,)
            if not failing:
                return JSONResponse({"ready": True, "failing": []})
            audit_of(request.scope).reason = ", ".join(failing)
            body = {"ready": False, "failing": list(failing)}
            return JSONResponse(body, 503, {"Retry-After": self._retry_after})

        @router.get("/metrics")
        async def metrics(request: Request) -> Response:
            _begin(request, "metrics")
            if not self._is_let_in(request):
                await self._service.caller(request, Scope.METRICS, "metrics")
            try:
                return Response(await self._metrics.get(), media_type=CONTENT_TYPE)
            except TimeoutError:
                text = "the metrics could not be collected in time"
                return refused(request, 503, text, {"Retry-After": self._retry_after})

        return router

    def _is_let_in(self, request: Request) -> bool:
        """Return whether the caller's address is enough; behind a proxy it is the proxy's."""
        if request.client is None or any(name in request.headers for name in _BY_PROXY):
            return False
        try:
            address = parse_address(request.client.host)
        except ValueError:
            return False
        return any(address in network for network in self._networks)


def _begin(request: Request, route: str) -> None:
    audit = audit_of(request.scope)
    audit.route = route
    # Asked every few seconds: a line for each would be most of the log.
    audit.quiet = True
