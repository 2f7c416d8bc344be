"""A private PostgreSQL for tests: its own folder and port, gone at the end."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

_DURABLE = ("--fsync=on", "--full_page_writes=on", "--autovacuum=on")


class PostgresServer:
    """A PostgreSQL cluster that dies with this process and survives no power cut.

    Args:
        folder: an empty folder for its data.
        programs: folder of its programs.
        options: further server settings, which win over the quick ones of the tests.
    """

    def __init__(self, folder: Path, programs: Path, options: Sequence[str] = ()) -> None:
        self._folder = folder
        self._programs = programs
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._made = 0
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]

    @property
    def pid(self) -> int:
        """Its process.

        Raises:
            RuntimeError: if it is not running.
        """
        if self._process is None:
            raise RuntimeError("the server is not running")
        return self._process.pid

    def url(self, name: str) -> str:
        """Return the URL of a database of this cluster."""
        return f"postgresql+psycopg://gatekeeper@127.0.0.1:{self.port}/{name}"

    def start(self) -> None:
        """Start the server, on the same port and data as before, and wait until it answers."""
        data = self._folder / "data"
        if not data.exists():
            if os.geteuid() == 0:
                shutil.chown(self._folder, "postgres", "postgres")
            initdb = [self._programs / "initdb", "-D", data, "-U", "gatekeeper", "--auth=trust"]
            subprocess.run(
                [*_unprivileged(), *initdb, "--encoding=UTF8", "--no-sync", "--no-instructions"],
                check=True,
                capture_output=True,
            )
        settings = [
            f"--port={self.port}",
            f"--unix_socket_directories={self._folder}",
            "--listen_addresses=127.0.0.1",
            "--max_connections=200",
            "--autovacuum=off",
            "--fsync=off",
            "--full_page_writes=off",
            *self._options,
        ]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*_unprivileged(), self._programs / "postgres", "-D", data, *settings],
                stdout=log,
                stderr=log,
            )
        self._wait()

    def stop(self) -> None:
        """Stop the server at once, cutting off its clients."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                # As after a crash: the next start recovers.
                self._process.send_signal(signal.SIGQUIT)
                self._process.wait(15)
            self._process = None

    def make_template(self) -> None:
        """Make the migrated database that `create` copies."""
        from storage.engine import Database

        self._execute("CREATE DATABASE template_gatekeeper")
        database = Database.connect(self.url("template_gatekeeper"))
        database.migrate()
        database.dispose()

    def create(self, template: str = "template_gatekeeper") -> str:
        """Make a copy of the template and return its name."""
        self._made += 1
        name = f"test_{self._made}"
        # Copying files is the quicker way here; before version 15 it is the only one.
        self._execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        return name

    def drop(self, name: str) -> None:
        """Remove a database, cutting off its clients."""
        self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    def _execute(self, statement: str) -> None:
        import psycopg

        with psycopg.connect(self._administration(), autocommit=True) as connection:
            if connection.info.server_version < 150000:
                statement = statement.removesuffix(" STRATEGY FILE_COPY")
            connection.execute(statement.encode())

    def _administration(self) -> str:
        return f"host=127.0.0.1 port={self.port} user=gatekeeper dbname=postgres connect_timeout=2"

    def _wait(self) -> None:
        import psycopg

        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self._administration()).close()
            except psycopg.OperationalError:
                log = (self._folder / "log").read_text(errors="replace")
                assert time.monotonic() < deadline, f"PostgreSQL does not start: {log[-2000:]}"
                time.sleep(0.05)
            else:
                return


def quick_folder() -> Path | None:
    """Return a folder in memory where there is room, or None for the usual place."""
    memory = Path("/dev/shm")  # noqa: S108 - mkdtemp makes a folder of our own in it
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 1 << 30
    return memory if roomy and os.access(memory, os.W_OK) else None


@contextmanager
def durable_server(folder: Path) -> Generator[PostgresServer]:
    """Run a server in `folder` that promises and does what a site's does, for benchmarks.

    One that ran there before goes on with its data.

    Raises:
        SystemExit: if PostgreSQL is not installed.
    """
    programs = postgres_programs()
    if programs is None:
        raise SystemExit("PostgreSQL (initdb, postgres) is not installed")
    data = folder / "postgres"
    data.mkdir(exist_ok=True)
    # The server runs as a user of its own, who has to get there.
    folder.chmod(0o755)
    server = PostgresServer(data, programs, _DURABLE)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def postgres_programs() -> Path | None:
    """Return the newest folder with the server's programs, or None."""
    on_path = shutil.which("initdb")
    folders = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name)
    )
    candidates = ([Path(on_path).resolve().parent] if on_path else []) + folders[::-1]
    return next((one for one in candidates if (one / "postgres").is_file()), None)


def _unprivileged() -> list[str]:
    """Return the words before a command that PostgreSQL refuses to run as root.

    The server gets SIGINT, its fast shutdown, when this process dies, however it dies.
    """
    command = ["setpriv", "--pdeathsig=INT"]
    if os.geteuid() == 0:
        command += ["--reuid=postgres", "--regid=postgres", "--init-groups"]
    return [*command, "--"]
