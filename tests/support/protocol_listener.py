"""The listener's protocol path alone, for `gatekeeper bench ingest`: it promises nothing.

Each object becomes a file, as `storescp` writes it: no digest, no synchronisation, no row. What is
measured with it is how fast bytes come off the wire, never what users run.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from pynetdicom.association import Association

from gatekeeper import config, log
from gatekeeper.listen import prefork, process
from gatekeeper.listen.file_meta import part10_header
from gatekeeper.listen.inherited import Inherited
from gatekeeper.listen.messages import Answer, Incoming
from gatekeeper.listen.server import Listener
from gatekeeper.send.command import Request
from storage.engine import Database
from storage.spool import Spool


class Dropped:
    """An object that is written to a file and forgotten; see `messages.Incoming`."""

    def __init__(self, path: str, header: bytes) -> None:
        self._path = path
        self._descriptor = os.open(f"{path}.part", os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o640)
        self._header = header

    def write(self, data: memoryview) -> None:
        if self._header:
            os.writev(self._descriptor, (self._header, data))
            self._header = b""
        else:
            os.write(self._descriptor, data)

    def finish(self) -> Answer:
        os.close(self._descriptor)
        os.rename(f"{self._path}.part", self._path)  # noqa: PTH104 - a `Path` costs more
        return Answer(0x0000)

    def abandon(self) -> None:
        os.close(self._descriptor)


class ProtocolListener(Listener):
    """A listener that keeps nothing."""

    folder = Path()

    def _begin(self, thread: Association, request: Request, transfer_syntax_uid: str) -> Incoming:
        header = part10_header(request.sop_class_uid, request.sop_instance_uid, transfer_syntax_uid)
        return Dropped(f"{self.folder}/{request.sop_instance_uid}", header)


def main() -> None:
    """Listen until killed, in as many processes as are set."""
    ProtocolListener.folder = Path(sys.argv[1])
    if len(sys.argv) > 2:
        process.serve_share(Inherited.parse(sys.argv[2]), ProtocolListener)
        return
    log.configure("ERROR")
    settings = config.load()
    if settings.listen.processes > 1:
        prefork.serve(settings, ("support.protocol_listener", sys.argv[1]))
        return
    database = Database.connect(settings.database.url, settings.database.lock_seconds)
    database.migrate()
    ProtocolListener(settings, database, Spool(Path(settings.spool.directory))).start()
    threading.Event().wait()


if __name__ == "__main__":
    main()
