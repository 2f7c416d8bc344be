"""Storage SCPs to measure: DCMTK's storescp, Orthanc, and our listener, each on an empty folder.

`gatekeeper bench ingest` says what each of them promises.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from storage import nodes
from storage.engine import Database
from storage.records import Node
from support.blast import CALLED_AE, CALLING_AE
from support.gate import end, free_port, listening
from support.postgres import PostgresServer, durable_server
from support.waiting import until

ROW_FIRST = "durable-first"
RECEIVERS = ("storescp", "storescp-fsync", "orthanc", "protocol", "durable")
WITH_POSTGRES = "durable-postgres"
LARGEST_PDU = 131072
_SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
static void synchronise(int fd) {
  struct stat about;
  if (fd >= 0 && fstat(fd, &about) == 0 && S_ISREG(about.st_mode)
      && (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY)
    fsync(fd);
}
int fclose(FILE *file) {
  static int (*next)(FILE *);
  if (!next) next = (int (*)(FILE *))dlsym(RTLD_NEXT, "fclose");
  fflush(file);
  synchronise(fileno(file));
  return next(file);
}
int close(int fd) {
  static int (*next)(int);
  if (!next) next = (int (*)(int))dlsym(RTLD_NEXT, "close");
  synchronise(fd);
  return next(fd);
}
"""


@dataclass
class Receiver:
    """A receiver that is up."""

    port: int
    process: subprocess.Popen[bytes]
    received: Callable[[], int]
    """Objects it holds, for checking that none is missing."""
    database: int | None = None
    """Process of its database server, if it has one."""

    @property
    def roots(self) -> tuple[int, ...]:
        """The processes below which all its work is done."""
        return (self.process.pid, *(() if self.database is None else (self.database,)))


def synchronising_shim(folder: Path) -> Path | None:
    """Return a library that synchronises files before they are closed, None without a compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    source, library = folder / "shim.c", folder / "shim.so"
    source.write_text(_SHIM)
    made = subprocess.run(
        [compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(source), "-ldl"], check=False
    )
    return library if made.returncode == 0 else None


@contextmanager
def running(name: str, folder: Path, shim: Path | None) -> Generator[Receiver]:
    """Run a receiver on an empty folder of its own in `folder`, which stays there."""
    port = free_port()
    home = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=folder))
    with _database(name, home) as (url, server):
        command, environment, received = _start(name, home, port, shim, url)
        with (home / "log").open("wb") as output:
            process = subprocess.Popen(
                command, env=environment, cwd=home, stdout=output, stderr=output
            )
        try:
            until(lambda: listening(port), 60, f"{name} listens")
            yield Receiver(port, process, received, None if server is None else server.pid)
        finally:
            end(process, 15)


@contextmanager
def _database(name: str, home: Path) -> Generator[tuple[str, PostgresServer | None]]:
    """Give the URL of a database of its own, and its server if it has one."""
    if name.partition(":")[0] != WITH_POSTGRES:
        yield f"sqlite:///{home / 'gatekeeper.db'}", None
        return
    for closed in (home.parent, home.parent.parent):
        closed.chmod(0o755)
    with durable_server(home) as server:
        yield server.url("postgres"), server


def _start(
    name: str, home: Path, port: int, shim: Path | None, url: str
) -> tuple[list[str], dict[str, str], Callable[[], int]]:
    """Return the command, the environment and the count of a receiver."""
    environment = {**os.environ, "TCP_NODELAY": "1", "OMP_NUM_THREADS": "1"}
    store = home / "store"
    store.mkdir()
    if name == "orthanc":
        configuration = home / "orthanc.json"
        configuration.write_text(json.dumps(_orthanc(store, port)))
        kept = lambda: sum(1 for path in store.rglob("*") if len(path.name) == 36)  # noqa: E731
        return ["Orthanc", str(configuration)], environment, kept
    if name.partition(":")[0] in {"protocol", "durable", ROW_FIRST, WITH_POSTGRES}:
        return _ours(name, home, store, port, environment, url)
    if shim is not None and name == "storescp-fsync":
        environment["LD_PRELOAD"] = str(shim)
    command = ["storescp", "-q", "--fork", "+B", "-pdu", str(LARGEST_PDU), "-od", str(store)]
    return [*command, str(port)], environment, lambda: len(list(store.iterdir()))


def _ours(
    name: str, home: Path, store: Path, port: int, environment: dict[str, str], url: str
) -> tuple[list[str], dict[str, str], Callable[[], int]]:
    root = Path(__file__).resolve().parents[2]
    database = Database.connect(url, 5.0)
    database.migrate()
    with database.begin() as tx:
        nodes.save(tx, Node(CALLING_AE, "127.0.0.1", 0, may_send=True))
    database.dispose()
    environment |= {
        "PYTHONPATH": f"{root / 'tests'}:{root}",
        "GATEKEEPER_DATABASE_URL": url,
        "GATEKEEPER_SPOOL_DIRECTORY": str(home / "spool"),
        "GATEKEEPER_SPOOL_LOW_WATER_MIB": "1",
        "GATEKEEPER_LISTEN_AE_TITLE": CALLED_AE,
        "GATEKEEPER_LISTEN_PORT": str(port),
        "GATEKEEPER_LISTEN_HOST": "127.0.0.1",
        "GATEKEEPER_LISTEN_MAXIMUM_PDU": str(LARGEST_PDU),
        "GATEKEEPER_LOG_LEVEL": "ERROR",
    }
    name, _, processes = name.partition(":")
    if name == ROW_FIRST:
        environment["GATEKEEPER_SPOOL_ENTER_SECONDS"] = "0"
    if processes:
        environment["GATEKEEPER_LISTEN_PROCESSES"] = processes
    if name == "protocol":
        command = [sys.executable, "-m", "support.protocol_listener", str(store)]
        return command, environment, lambda: len(list(store.iterdir()))
    objects = home / "spool" / "objects"
    kept = lambda: sum(1 for path in objects.rglob("*") if path.is_file())  # noqa: E731
    return [sys.executable, "-m", "gatekeeper", "listen"], environment, kept


def _orthanc(store: Path, port: int) -> dict[str, object]:
    return {
        "StorageDirectory": str(store),
        "IndexDirectory": str(store),
        "HttpServerEnabled": False,
        "DicomPort": port,
        "DicomCheckCalledAet": False,
        "MaximumPduLength": LARGEST_PDU,
        "Plugins": [],
    }
