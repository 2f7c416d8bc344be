"""Shared fixtures: real peers and real data, each skipped with its reason where absent."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from support.postgres import PostgresServer, postgres_programs, quick_folder

if TYPE_CHECKING:
    from support.authority import Authority
    from support.orthanc import Orthanc

    from storage.engine import Database

# Several tests run at once, each with small arrays: one thread each is quicker than two fighting.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A test has no terminal; the line editor of the process above it may have left the size of one.
for _size in ("COLUMNS", "LINES"):
    os.environ.pop(_size, None)

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
    programs = postgres_programs()
    if programs is None:
        reason = "peer missing: PostgreSQL (initdb, postgres) is not installed"
        if PEERS_REQUIRED:
            pytest.fail(f"{reason}, and peers are required here")
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="gatekeeper-postgres-", dir=quick_folder()))
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
