"""A real Orthanc for tests: its own folder, its own ports, gone at the end."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.gate import free_port
from support.waiting import until

START_SECONDS = 40
_TRIES = 3


@dataclass
class Orthanc:
    """A running Orthanc.

    Attributes:
        aet: its AE title.
        port: its DICOM port.
        url: its REST interface, without a slash at the end.
        folder: its configuration, storage and log.
        process: the server.
    """

    aet: str
    port: int
    url: str
    folder: Path
    process: subprocess.Popen[bytes]
    _program: str

    @property
    def log(self) -> str:
        """What it has printed."""
        return (self.folder / "log").read_text(errors="replace")

    def get(self, path: str) -> bytes:
        """Return the body of GET `path`."""
        return self._call("GET", path)

    def get_json(self, path: str) -> Any:
        """Return the body of GET `path`, read as JSON."""
        return json.loads(self.get(path))

    def post(self, path: str, data: bytes | str | Mapping[str, Any]) -> bytes:
        """POST `data`, a mapping as JSON, and return the body of the answer."""
        body = data if isinstance(data, bytes) else data.encode() if isinstance(data, str) else None
        if body is None:
            body = json.dumps(data).encode()
        return self._call("POST", path, body)

    def delete(self, path: str) -> None:
        """DELETE `path`."""
        self._call("DELETE", path)

    def upload(self, path: Path) -> str:
        """Store a DICOM file over REST and return Orthanc's identifier of the instance."""
        return str(json.loads(self.post("/instances", path.read_bytes()))["ID"])

    def count(self) -> int:
        """Return how many instances it holds."""
        return int(self.get_json("/statistics")["CountInstances"])

    def objects(self) -> list[bytes]:
        """Return the DICOM files of all instances."""
        return [self.get(f"/instances/{one}/file") for one in self.get_json("/instances")]

    def kill(self) -> None:
        """End the server with SIGKILL; what it has stored stays."""
        self.process.kill()
        self.process.wait()

    def start_again(self) -> None:
        """Start the server again on the same ports and storage, and wait until it answers."""
        self.process = _launch(self._program, self.folder)
        until(self.ready, START_SECONDS, "Orthanc is up again")

    def ready(self) -> bool:
        """Return whether its REST interface answers."""
        try:
            self.get("/system")
        except (urllib.error.URLError, OSError):
            return False
        return True

    def _call(self, method: str, path: str, body: bytes | None = None) -> bytes:
        url = self.url + path
        request = urllib.request.Request(url, data=body, method=method)  # noqa: S310 - our own URL
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return bytes(answer.read())


@contextmanager
def running_orthanc(
    program: str,
    *,
    aet: str = "ORTHANC",
    modalities: Mapping[str, Sequence[str | int]] | None = None,
    lua: str = "",
    **config: Any,
) -> Generator[Orthanc]:
    """Run Orthanc until the end of the block.

    Args:
        program: path of the server.
        aet: its AE title.
        modalities: DicomModalities by name: AE title, host, port.
        lua: a Lua script.
        config: further configuration, by Orthanc's own names.
    """
    folder = Path(tempfile.mkdtemp(prefix="gatekeeper-orthanc-"))
    server: Orthanc | None = None
    try:
        for left in reversed(range(_TRIES)):
            server = _start(program, folder, aet, modalities or {}, lua, config)
            found = server

            def up(found: Orthanc = found) -> bool:
                return found.process.poll() is not None or found.ready()

            until(up, START_SECONDS, f"Orthanc is up: {server.log[-2000:]}")
            # The free ports may have been taken in between.
            if server.process.poll() is None:
                break
            assert left, server.log[-4000:]
        assert server is not None
        yield server
    finally:
        if server is not None:
            server.process.kill()
            server.process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _start(
    program: str,
    folder: Path,
    aet: str,
    modalities: Mapping[str, Sequence[str | int]],
    lua: str,
    config: Mapping[str, Any],
) -> Orthanc:
    port, http = free_port(), free_port()
    settings: dict[str, Any] = {
        "Name": aet,
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "index"),
        "DicomAet": aet,
        "DicomPort": port,
        "HttpPort": http,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomCheckCalledAet": False,
        "DicomAlwaysAllowStore": True,
        "DicomModalities": {name: list(value) for name, value in modalities.items()},
        "Plugins": [],
        "SaveJobs": False,
        "StableAge": 1,
    }
    if lua:
        (folder / "script.lua").write_text(lua)
        settings["LuaScripts"] = [str(folder / "script.lua")]
    (folder / "orthanc.json").write_text(json.dumps(settings | dict(config)))
    process = _launch(program, folder)
    return Orthanc(aet, port, f"http://127.0.0.1:{http}", folder, process, program)


def _launch(program: str, folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            ["setpriv", "--pdeathsig=KILL", "--", program, str(folder / "orthanc.json")],
            # Without it, DCMTK waits 40 ms an instance for delayed acknowledgements.
            env={**os.environ, "TCP_NODELAY": "1"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
