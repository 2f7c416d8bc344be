"""Shared fixtures: real peers and real data, each skipped with its reason where absent."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from support.authority import Authority
    from support.orthanc import Orthanc

    from storage.engine import Database

# Several tests run at once, each with small arrays: one thread each is quicker than two fighting.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A busy machine is not a finding: what has to be quick says so in a test of its own.
settings.register_profile("gatekeeper", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gatekeeper")

PEERS_REQUIRED = os.environ.get("GATEKEEPER_PEERS") == "required"
"""Set in continuous integration: there, a missing peer is a failure, not a skip."""

SHARED_DATA = Path(
    os.environ.get(
        "GATEKEEPER_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"
    )
)


@pytest.fixture(scope="session")
def peer() -> Callable[[str], str]:
    """Return the path of a peer program, or skip the test with the reason."""

    def find(program: str) -> str:
        path = shutil.which(program)
        if path is None and PEERS_REQUIRED:
            pytest.fail(f"peer missing: {program} is not installed, and peers are required here")
        if path is None:
            pytest.skip(f"peer missing: {program} is not installed")
        return path

    return find


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return a certificate authority that we trust."""
    from support.authority import Authority

    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return a certificate authority that nobody trusts."""
    from support.authority import Authority

    return Authority(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(scope="session")
def published() -> Callable[[str], metadata.Distribution]:
    """Return a published package to compare with, or skip the test with the reason."""

    def find(name: str) -> metadata.Distribution:
        try:
            return metadata.distribution(name)
        except metadata.PackageNotFoundError:
            reason = f"peer missing: the package {name} is not installed"
        if PEERS_REQUIRED:
            pytest.fail(f"{reason}, and peers are required here")
        pytest.skip(reason)

    return find


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real data beside the project, or skip the test."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the shared data folder is not beside the project")
    return SHARED_DATA


@pytest.fixture
def orthanc(peer: Callable[[str], str]) -> Iterator[Callable[..., Orthanc]]:
    """Return a function that starts an Orthanc, as `support.orthanc.running_orthanc` does.

    Each runs until the end of the test.
    """
    from support.orthanc import running_orthanc

    program = peer("Orthanc")
    with contextlib.ExitStack() as stack:

        def start(**options: Any) -> Orthanc:
            return stack.enter_context(running_orthanc(program, **options))

        yield start


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """Start a private PostgreSQL cluster for the session, or skip with the reason."""
    programs = _postgres_programs()
    if programs is None:
        reason = "peer missing: PostgreSQL (initdb, postgres) is not installed"
        if PEERS_REQUIRED:
            pytest.fail(f"{reason}, and peers are required here")
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="gatekeeper-postgres-", dir=_quick_folder()))
    server = PostgresServer(folder, programs)
    try:
        server.start()
        server.make_template()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from storage.engine import Database

    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    database = Database.connect(f"sqlite:///{path}")
    database.migrate()
    # The last connection to close folds the write-ahead log into the file.
    database.dispose()
    return path


@pytest.fixture
def sqlite_url(_sqlite_template: Path, tmp_path: Path) -> str:
    """Give a fresh, migrated SQLite database."""
    path = tmp_path / "gatekeeper.db"
    shutil.copyfile(_sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """Give a fresh, migrated PostgreSQL database, or skip with the reason."""
    name = postgres_server.create()
    yield postgres_server.url(name)
    postgres_server.drop(name)


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """Give a fresh, migrated database; the test runs once on SQLite and once on PostgreSQL."""
    return request.getfixturevalue(f"{request.param}_url")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Give a connected, migrated database of its own to the test."""
    from storage.engine import Database

    connected = Database.connect(database_url, lock_seconds=30)
    yield connected
    connected.dispose()


class PostgresServer:
    """A PostgreSQL cluster that dies with this process and survives no power cut."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self._folder = folder
        self._programs = programs
        self._process: subprocess.Popen[bytes] | None = None
        self._made = 0
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]

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
            self._process.wait(30)
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


def _quick_folder() -> Path | None:
    """Return a folder in memory where there is room, or None for the usual place."""
    memory = Path("/dev/shm")  # noqa: S108 - mkdtemp makes a folder of our own in it
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 1 << 30
    return memory if roomy and os.access(memory, os.W_OK) else None


def _postgres_programs() -> Path | None:
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
