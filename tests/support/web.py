"""A running web role in this process, tokens for it, and bodies to send to it."""

from __future__ import annotations

import dataclasses
import functools
import json
import ssl
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from listen.wire import EXPLICIT, MR, encoded, image

from gatekeeper.listen.file_meta import part10_header
from gatekeeper.settings import Settings
from gatekeeper.web.access import new_token
from gatekeeper.web.server import WebServer
from storage import forwards, instances, nodes, tokens
from storage.engine import Database, insert
from storage.records import ForwardState, Instance, Node, Scope
from storage.schema import forward
from storage.spool import Spool
from support.files import written_files
from support.waiting import until

BOUNDARY = "a-boundary"
SENDER = "ROUTER"
JSON = "application/dicom+json"
KIND = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'


@dataclass(frozen=True)
class Web:
    """A running web role.

    Attributes:
        sender: text of a token that may send.
        reader: text of one that may read.
    """

    server: WebServer
    database: Database
    spool: Spool
    sender: str
    reader: str
    url: str

    @property
    def port(self) -> int:
        return self.server.port

    def stow(self, body: bytes, path: str = "/studies", **headers: str) -> httpx.Response:
        """POST a body with the sender's token."""
        given = {"Content-Type": KIND, "Accept": JSON, "Authorization": f"Bearer {self.sender}"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        url = self.url + path
        return httpx.post(url, content=body, headers=given, timeout=60, verify=trust())

    def get(self, path: str, accept: str = JSON, **parameters: str) -> httpx.Response:
        """GET with the reader's token."""
        headers = {"Accept": accept, "Authorization": f"Bearer {self.reader}"}
        url = self.url + path
        return httpx.get(url, headers=headers, params=parameters, timeout=60, verify=trust())

    def kept(self, sop_instance_uid: str) -> list[Instance]:
        with self.database.read() as tx:
            return instances.find(tx, sop_instance_uid)

    def unfinished(self) -> list[Path]:
        """Return the files of the spool that hold bytes of an object that was not kept."""
        return [path for path in written_files(self.spool.root) if "objects" not in path.parts]

    def hold(self, study: str) -> None:
        """Hold a study for a person, as the gate does."""
        hold(self.database, study)


@functools.cache
def trust() -> ssl.SSLContext:
    """Return the CAs that every client reads, also one of plain http: reading takes longest."""
    return httpx.create_ssl_context()


def settings_for(folder: Path, web: Mapping[str, Any] | None = None, **more: Any) -> Settings:
    """Return settings of a web role on a free port of this machine."""
    plain = Settings()
    chosen: dict[str, Any] = {"host": "127.0.0.1", "port": 0, "stop_seconds": 0.0, **(web or {})}
    spool = dataclasses.replace(plain.spool, directory=str(folder), low_water_mib=1)
    found = dataclasses.replace(plain, web=dataclasses.replace(plain.web, **chosen), spool=spool)
    return dataclasses.replace(found, **more)


@contextmanager
def running_web(settings: Settings, database: Database) -> Generator[Web]:
    """Run a web role that knows one sender and one reader."""
    sender, reader = make_tokens(database)
    spool = Spool(Path(settings.spool.directory))
    server = WebServer(settings, database, spool)
    server.start()
    try:
        until(lambda: answers(server.port), 30, "the web role answers")
        url = f"http://127.0.0.1:{server.port}/dicom-web"
        yield Web(server, database, spool, sender, reader, url)
    finally:
        server.stop()


def answers(port: int) -> bool:
    """Return whether something speaks plain http on the port, or closes at once for want of it."""
    try:
        httpx.get(f"http://127.0.0.1:{port}/", timeout=10, verify=trust())
    except httpx.ConnectError:
        return False
    except httpx.HTTPError:
        return True
    return True


def make_tokens(database: Database) -> tuple[str, str]:
    """Enter a node that sends, with its token, and a token that reads; return both texts."""
    sender, of_sender = new_token("sender", (Scope.STOW,), SENDER)
    reader, of_reader = new_token("reader", (Scope.READ,), "")
    with database.begin() as tx:
        nodes.save(tx, Node(SENDER, "127.0.0.1", 0, may_send=True))
        tokens.add(tx, of_sender)
        tokens.add(tx, of_reader)
    return sender, reader


def hold(database: Database, study: str) -> None:
    """Write a forward that is held."""
    with database.begin() as tx:
        tx.execute(
            insert(tx, forward).values(
                study_instance_uid=study,
                content_digest="0" * 64,
                revision=1,
                node="DOWNSTREAM",
                gated=True,
                state=ForwardState.HELD.value,
                created_at=0.0,
                verdict="SUSPECT",
                reason="",
                decided_by="",
            )
        )
        assert forwards.listing(tx, ForwardState.HELD, study)


def part10(uid: str, **more: Any) -> bytes:
    """Return a DICOM file of a small MR image, as a sender other than us would write it."""
    meta_of = str(more.pop("meta_of", uid))
    data = encoded(image(uid, **more))
    return b"preamble".ljust(128, b"!") + part10_header(MR, meta_of, EXPLICIT)[128:] + data


def multipart(files: Sequence[bytes], kind: str = "application/dicom") -> bytes:
    """Return files as a multipart/related body."""
    head = f"--{BOUNDARY}\r\nContent-Type: {kind}\r\n\r\n".encode()
    return b"".join(head + file + b"\r\n" for file in files) + f"--{BOUNDARY}--\r\n".encode()


def outcome(answer: httpx.Response) -> tuple[int, list[str], dict[str, int], list[int]]:
    """Return status, UIDs stored, reasons by UID failed, and other reasons of an answer."""
    module = json.loads(answer.content)

    def items(tag: str) -> list[Any]:
        return module.get(tag, {}).get("Value", [])

    def uid(item: Any) -> str:
        return str(item["00081155"]["Value"][0])

    def reason(item: Any) -> int:
        return int(item["00081197"]["Value"][0])

    return (
        answer.status_code,
        [uid(item) for item in items("00081199")],
        {uid(item): reason(item) for item in items("00081198")},
        [reason(item) for item in items("0008119A")],
    )
