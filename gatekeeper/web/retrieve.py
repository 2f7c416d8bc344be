"""QIDO-RS and WADO-RS (PS3.18 sections 10.6 and 10.4) for what is served.

An instance is given as it is kept: our file meta and the data set as received, in the transfer
syntax as received. One that came with two contents is given twice. Nothing is rendered.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from gatekeeper.atna.reading import Reader
from gatekeeper.web import query
from gatekeeper.web.access import Caller
from gatekeeper.web.guard import audit_of
from gatekeeper.web.holdings import Holdings
from gatekeeper.web.metadata import JsonObject, as_json, read_header
from gatekeeper.web.query import Level
from gatekeeper.web.refusal import BadRequest
from gatekeeper.web.search import Reach, search
from gatekeeper.web.serving import DICOM_JSON, Service, accepts, dicom_json, uid_of
from storage.records import Instance, Scope
from storage.spool import Spool

_BLOCK = 256 * 1024
_STUDY, _SERIES = "/studies/{study}", "/studies/{study}/series/{series}"
_INSTANCE = "/studies/{study}/series/{series}/instances/{instance}"


class Retrieve:
    """Answers queries and gives out what is kept.

    Args:
        service: what all routes share.
        holdings: what is served.
        spool: of the files.
    """

    def __init__(self, service: Service, holdings: Holdings, spool: Spool) -> None:
        self._service = service
        self._holdings = holdings
        self._spool = spool
        self._settings = service.settings.web

    def routes(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter()

        @router.get("/studies")
        async def studies(request: Request) -> Response:
            return await self._search(request, Level.STUDY)

        @router.get("/series")
        async def every_series(request: Request) -> Response:
            return await self._search(request, Level.SERIES)

        @router.get("/instances")
        async def every_instance(request: Request) -> Response:
            return await self._search(request, Level.INSTANCE)

        @router.get(_STUDY + "/series")
        async def series_of_study(request: Request, study: str) -> Response:
            return await self._search(request, Level.SERIES, study)

        @router.get(_STUDY + "/instances")
        async def instances_of_study(request: Request, study: str) -> Response:
            return await self._search(request, Level.INSTANCE, study)

        @router.get(_SERIES + "/instances")
        async def instances_of_series(request: Request, study: str, series: str) -> Response:
            return await self._search(request, Level.INSTANCE, study, series)

        for path in (_STUDY, _SERIES, _INSTANCE):
            router.add_api_route(path, self._give, methods=["GET"], response_model=None)
            router.add_api_route(
                path + "/metadata", self._tell, methods=["GET"], response_model=None
            )
        return router

    async def _search(
        self, request: Request, level: Level, study: str = "", series: str = ""
    ) -> Response:
        reader = _reader(await self._service.caller(request, Scope.READ, "query"))
        if not accepts(request, DICOM_JSON, "application/json"):
            raise BadRequest(406, "the answer is application/dicom+json")
        parameters = request.query_params.multi_items()
        if study:
            parameters.append((query.STUDY_UID, uid_of(study)))
        if series:
            parameters.append((query.SERIES_UID, uid_of(series)))
        asked = query.parse(level, parameters, self._settings.maximum_results)
        reach = Reach(
            self._settings.maximum_read,
            self._settings.maximum_metadata_mib << 20,
            time.monotonic() + self._settings.request_seconds / 2,
        )
        url = f"{str(request.base_url).rstrip('/')}/dicom-web"
        found = await self._service.search(
            lambda: search(asked, self._holdings, self._spool, reach, url)
        )
        matches = len(found.matches)
        audit_of(request.scope).instances = matches
        readings, path, text = self._service.readings, request.url.path, request.url.query
        await self._service.judge(lambda: readings.query(reader, path, text, matches))
        headers = {}
        if found.warnings:
            headers["Warning"] = ", ".join(f'299 gatekeeper: "{one}"' for one in found.warnings)
        return dicom_json(found.matches, headers=headers)

    async def _give(
        self, request: Request, study: str, series: str = "", instance: str = ""
    ) -> Response:
        """Answer with the files, in a multipart/related body that is read while it is sent."""
        reader = _reader(await self._service.caller(request, Scope.READ, "retrieve"))
        chosen = await self._choose(request, study, series, instance)
        _check_accepted(request, chosen)
        readings = self._service.readings
        classes = [one.sop_class_uid for one in chosen]
        await self._service.judge(lambda: readings.begin(reader, study, classes))
        boundary = secrets.token_hex(24)
        head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode("ascii")
        end = f"--{boundary}--\r\n".encode("ascii")
        size = sum(len(head) + one.size + 2 for one in chosen) + len(end)

        async def blocks() -> AsyncGenerator[bytes]:
            given = 0
            try:
                for one in chosen:
                    yield head
                    async for block in self._file(self._spool.path(one.digest)):
                        yield block
                    yield b"\r\n"
                    given += 1
                yield end
            finally:
                readings.given(reader, study, classes[:given])

        kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
        return StreamingResponse(
            blocks(), headers={"Content-Type": kind, "Content-Length": str(size)}
        )

    async def _tell(
        self, request: Request, study: str, series: str = "", instance: str = ""
    ) -> Response:
        """Answer with the headers, one after another, without bulk data."""
        reader = _reader(await self._service.caller(request, Scope.READ, "metadata"))
        if not accepts(request, DICOM_JSON, "application/json"):
            raise BadRequest(406, "the answer is application/dicom+json")
        chosen = await self._choose(request, study, series, instance)
        readings = self._service.readings
        classes = [one.sop_class_uid for one in chosen]
        await self._service.judge(lambda: readings.look(reader, study, classes))

        async def pieces() -> AsyncGenerator[bytes]:
            for number, one in enumerate(chosen):
                shown = await self._service.read(lambda one=one: self._header(one))
                text = json.dumps(shown, ensure_ascii=False, separators=(",", ":"))
                yield (b"," if number else b"[") + text.encode("utf-8", "replace")
            yield b"]"

        return StreamingResponse(pieces(), media_type=DICOM_JSON)

    async def _choose(
        self, request: Request, study: str, series: str, instance: str
    ) -> list[Instance]:
        """Return what is asked for and has its file.

        Raises:
            BadRequest: with 404 when it is not served, 410 when retention removed it.
        """
        study = uid_of(study)
        for uid in filter(None, (series, instance)):
            uid_of(uid)
        found = [
            one
            for one in await self._service.read(lambda: self._holdings.instances(study))
            if series in {"", one.series_instance_uid} and instance in {"", one.sop_instance_uid}
        ]
        if not found:
            raise BadRequest(404, "not here, or not served")
        kept = [one for one in found if one.removed_at is None]
        if not kept:
            raise BadRequest(410, "removed by retention")
        audit = audit_of(request.scope)
        audit.study, audit.instances = study, len(kept)
        return kept

    def _header(self, one: Instance) -> JsonObject:
        limit = self._settings.maximum_metadata_mib << 20
        header = read_header(self._spool.path(one.digest), one.transfer_syntax_uid, limit)
        known = {
            query.SOP_CLASS: one.sop_class_uid,
            query.INSTANCE_UID: one.sop_instance_uid,
            query.STUDY_UID: one.study_instance_uid,
            query.SERIES_UID: one.series_instance_uid,
        }
        # A file whose header cannot be shown is still told of.
        shown = {} if header is None else as_json(header)
        shown |= {tag: {"vr": "UI", "Value": [uid]} for tag, uid in known.items()}
        return dict(sorted(shown.items()))

    async def _file(self, path: Path) -> AsyncGenerator[bytes]:
        file = await self._service.read(lambda: path.open("rb", buffering=0))
        try:
            while block := await self._service.read(lambda: file.read(_BLOCK)):
                yield block
        finally:
            file.close()


def _reader(caller: Caller) -> Reader:
    return Reader(caller.token, caller.node, caller.address)


def _check_accepted(request: Request, chosen: Sequence[Instance]) -> None:
    """Check that the caller takes what there is (PS3.18 8.7.3.5).

    Raises:
        BadRequest: with 406.
    """
    if not accepts(request, "multipart/related"):
        raise BadRequest(406, 'the answer is multipart/related; type="application/dicom"')
    asked = request.headers.get("accept", "").lower().replace('"', "").replace(" ", "")
    entries = [entry for entry in asked.split(",") if entry.startswith("multipart/related")]
    if entries and not any("type=application/dicom" in entry.split(";") for entry in entries):
        raise BadRequest(406, "the parts are of application/dicom; nothing is rendered")
    named = {
        parameter.partition("=")[2]
        for entry in entries
        for parameter in entry.split(";")
        if parameter.startswith("transfer-syntax=")
    }
    if named and "*" not in named and not {one.transfer_syntax_uid for one in chosen} <= named:
        raise BadRequest(406, "nothing is transcoded: ask for transfer-syntax=*")
