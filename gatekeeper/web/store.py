"""STOW-RS in (PS3.18 section 10.5): studies sent to us, as safely as by C-STORE.

``POST /dicom-web/studies[/{study}]``. Refused before the body is read: who may not, what is no
multipart of DICOM files, what is too large, and everything while intake is paused or as many
uploads as may be are under way. Answered only when everything that counts as stored is durable.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.requests import ClientDisconnect

from gatekeeper.errors import RefusedInstance
from gatekeeper.listen.associations import OpenAssociation, OpenAssociations
from gatekeeper.listen.backpressure import QueueMark
from gatekeeper.listen.contexts import storage_classes, transfer_syntaxes
from gatekeeper.listen.receive import Receiver
from gatekeeper.web import stowed
from gatekeeper.web.access import Caller
from gatekeeper.web.guard import audit_of
from gatekeeper.web.multipart import boundary_of
from gatekeeper.web.refusal import BadRequest
from gatekeeper.web.serving import DICOM_JSON, Service, accepts, dicom_json, uid_of
from gatekeeper.web.upload import Stowed, Takes, Upload
from storage.records import Scope

_BLOCK = 256 * 1024
_DRAIN_BYTES = 4 * 1024 * 1024
_DRAIN_SECONDS = 2.0

T = TypeVar("T")


class Store:
    """Takes uploads.

    Args:
        service: what all routes share.
        receiver: keeps instances.
        queue: whether jobs pile up.
        associations: in which an upload is as open as an association.
    """

    def __init__(
        self,
        service: Service,
        receiver: Receiver,
        queue: QueueMark,
        associations: OpenAssociations,
    ) -> None:
        self._service = service
        self._receiver = receiver
        self._queue = queue
        self._associations = associations
        self._settings = service.settings.web
        listen = service.settings.listen
        self._classes = frozenset(storage_classes(listen.private_sop_classes))
        self._syntaxes = frozenset(transfer_syntaxes(accept_deflated=listen.accept_deflated))
        self._uploads = threading.BoundedSemaphore(self._settings.uploads)
        self._writers = ThreadPoolExecutor(self._settings.uploads, "web-store")

    def routes(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter()

        @router.post("/studies")
        async def store(request: Request) -> Response:
            return await self._store(request, "")

        @router.post("/studies/{study}")
        async def store_into(request: Request, study: str) -> Response:
            return await self._store(request, study)

        return router

    def close(self) -> None:
        """Wait for what is being written, and take nothing more."""
        self._writers.shutdown(wait=True)

    async def _store(self, request: Request, study: str) -> Response:
        try:
            caller = await self._service.caller(request, Scope.STOW, "store")
            takes_study = uid_of(study) if study else ""
            boundary = self._judge(request)
            await self._service.judge(self._check_room)
        except Exception:
            await _drain(request)
            raise
        if not self._uploads.acquire(blocking=False):
            await _drain(request)
            raise BadRequest(503, "as many uploads as may be are under way")
        try:
            found = await self._take(request, caller, boundary, takes_study)
        finally:
            self._uploads.release()
        status = stowed.http_status(found)
        headers = {"Retry-After": str(self._settings.retry_after_seconds)} if status == 503 else {}
        return dicom_json(stowed.module(found), status, headers)

    def _judge(self, request: Request) -> bytes:
        """Return the boundary of a request whose headers are in order."""
        if not accepts(request, DICOM_JSON, "application/json"):
            raise BadRequest(406, "the answer is application/dicom+json")
        encoding = request.headers.get("content-encoding", "identity").lower()
        if encoding != "identity":
            raise BadRequest(415, "the body must not be compressed")
        boundary = boundary_of(request.headers.get("content-type"))
        length = request.headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self._settings.maximum_request_mib << 20:
            raise BadRequest(413, f"the body is over {self._settings.maximum_request_mib} MiB")
        return boundary

    def _check_room(self) -> None:
        try:
            self._receiver.check_room()
            if self._queue.is_paused():
                raise BadRequest(503, "too many jobs wait")
        except RefusedInstance as refusal:
            raise BadRequest(503, refusal.rule) from None
        except OSError:
            raise BadRequest(503, "spool trouble") from None

    async def _take(
        self, request: Request, caller: Caller, boundary: bytes, study: str
    ) -> list[Stowed]:
        """Feed the body to an upload and return what became of its parts."""
        association = OpenAssociation(caller.node, caller.address)
        upload = Upload(
            boundary,
            Takes(
                lambda arrival: self._receiver.begin(arrival, association),
                self._classes,
                self._syntaxes,
                study,
                self._settings.maximum_object_mib << 20,
                self._settings.maximum_request_mib << 20,
                self._settings.maximum_parts,
            ),
        )
        self._associations.add(upload, association)
        try:
            async for block in self._blocks(request):
                await self._write(lambda block=block: upload.feed(block))
            return await self._write(upload.finish)
        except ClientDisconnect:
            raise BadRequest(400, "the sender closed the connection") from None
        finally:
            # Behind what may still be writing, even when this request is cancelled.
            closing = asyncio.get_running_loop().run_in_executor(self._writers, upload.close)
            await asyncio.shield(closing)
            self._associations.close(upload)
            audit = audit_of(request.scope)
            audit.instances, audit.refused = association.stored, association.refused

    async def _write(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._writers, work)

    async def _blocks(self, request: Request) -> AsyncGenerator[bytes]:
        """Yield the body in blocks that are worth a thread's while; silence ends it."""
        gathered = bytearray()
        stream = request.stream()
        while True:
            try:
                async with asyncio.timeout(self._settings.silence_seconds):
                    chunk = await anext(stream)
            except StopAsyncIteration:
                break
            except TimeoutError:
                raise BadRequest(408, "the body stopped coming") from None
            gathered += chunk
            if len(gathered) >= _BLOCK:
                yield bytes(gathered)
                gathered.clear()
        yield bytes(gathered)


async def _drain(request: Request) -> None:
    """Read on for a moment, so that a sender in full flow gets to see why it is refused."""
    if "expect" in request.headers:
        return
    left = _DRAIN_BYTES
    with contextlib.suppress(TimeoutError, ClientDisconnect):
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for chunk in request.stream():
                left -= len(chunk)
                if left < 0:
                    return
