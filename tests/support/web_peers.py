"""A scripted DICOMweb server: it reads what it is sent and answers what a test tells it to."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any

from pydicom import dcmread

JSON = "application/dicom+json"


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    method: str
    target: str
    headers: Mapping[str, str]
    parts: tuple[bytes, ...]

    @property
    def uids(self) -> list[str]:
        """SOP Instance UIDs of the parts, in order."""
        return [str(dcmread(BytesIO(part)).SOPInstanceUID) for part in self.parts]


@dataclass(frozen=True)
class Told:
    """What the server answers; `hang` waits until the test ends instead."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    hang: bool = False


Script = Callable[[Asked], Told]


@dataclass
class WebPeer:
    """A running scripted server."""

    url: str
    asked: list[Asked]


def listing(
    stored: Sequence[str] = (),
    failed: Mapping[str, int] | None = None,
    warned: Mapping[str, int] | None = None,
) -> bytes:
    """Return a Store Instances Response Module in DICOM JSON."""

    def item(uid: str, reason: tuple[str, int] | None = None) -> dict[str, Any]:
        found: dict[str, Any] = {"00081155": {"vr": "UI", "Value": [uid]}}
        if reason is not None:
            found[reason[0]] = {"vr": "US", "Value": [reason[1]]}
        return found

    referenced = [item(uid) for uid in stored]
    referenced += [item(uid, ("00081196", code)) for uid, code in (warned or {}).items()]
    module: dict[str, Any] = {}
    if referenced:
        module["00081199"] = {"vr": "SQ", "Value": referenced}
    if failed:
        values = [item(uid, ("00081197", code)) for uid, code in failed.items()]
        module["00081198"] = {"vr": "SQ", "Value": values}
    return json.dumps(module).encode()


def keeps(asked: Asked) -> Told:
    """Store everything."""
    return Told(200, listing(asked.uids), {"Content-Type": JSON})


@contextmanager
def web_peer(script: Script = keeps, context: ssl.SSLContext | None = None) -> Generator[WebPeer]:
    """Run a scripted server until the block ends; by https with a context."""
    over = threading.Event()
    asked: list[Asked] = []

    class Handler(BaseHTTPRequestHandler):
        timeout = 30

        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(_parts(data, self.headers["Content-Type"]))

        def do_GET(self) -> None:
            self._answer(())

        def _answer(self, parts: tuple[bytes, ...]) -> None:
            one = Asked(self.command, self.path, dict(self.headers), parts)
            asked.append(one)
            told = script(one)
            if told.hang:
                over.wait(60)
                return
            self.send_response(told.status)
            for name, value in told.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(told.body)))
            self.end_headers()
            self.wfile.write(told.body)

        def log_message(self, format: str, *args: Any) -> None:
            return

    class Server(ThreadingHTTPServer):
        daemon_threads = False

        def handle_error(self, request: Any, client_address: Any) -> None:
            return

    server = Server(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        scheme = "http" if context is None else "https"
        yield WebPeer(f"{scheme}://127.0.0.1:{server.server_address[1]}/dicom-web", asked)
    finally:
        over.set()
        server.shutdown()
        thread.join(30)
        server.server_close()


def _parts(data: bytes, kind: str) -> tuple[bytes, ...]:
    boundary = kind.rpartition("boundary=")[2].strip('"').encode()
    assert data.endswith(b"--" + boundary + b"--\r\n")
    pieces = (b"\r\n" + data).split(b"\r\n--" + boundary)[1:-1]
    return tuple(piece.partition(b"\r\n\r\n")[2] for piece in pieces)
