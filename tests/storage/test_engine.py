"""The database: durable, bounded in its waits, the same on SQLite and PostgreSQL."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import exc, select, text

from storage import instances, nodes
from storage.engine import Database, DatabaseUnavailableError, now
from storage.records import Instance, Node

RECORD_AND_WAIT = """
import sys
from storage import instances
from storage.engine import Database
from storage.records import Instance

with Database.connect(sys.argv[1]).begin() as tx:
    made = Instance("1.2", "1.3", "1.4", "1.5", "1.6", "MR", "0" * 64, 1, "SCANNER")
    instances.record(tx, made, instances.open_association(tx, "SCANNER", "127.0.0.1"))
    print("recorded", flush=True)
    sys.stdin.read()
"""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def impatient(database_url: str) -> Iterator[Database]:
    """The same database as `database`, waiting 0.2 s at most."""
    connected = Database.connect(database_url, lock_seconds=0.2)
    yield connected
    connected.dispose()


def test_what_was_committed_is_seen_by_the_next_transaction(
    database: Database, an_instance: Callable[..., Instance]
) -> None:
    """A write is visible once its block has ended."""
    with database.begin() as tx:
        instances.record(tx, an_instance(), None)

    with database.read() as tx:
        assert instances.count(tx) == 1


def test_an_error_undoes_the_whole_transaction(
    database: Database, an_instance: Callable[..., Instance]
) -> None:
    """What was written before an error is not kept."""
    with pytest.raises(ZeroDivisionError), database.begin() as tx:
        instances.record(tx, an_instance(), None)
        _ = 1 / 0

    with database.read() as tx:
        assert instances.count(tx) == 0


def test_a_read_connection_cannot_write(database: Database) -> None:
    """Writing while reading is the caller's error, and nothing is written."""
    with pytest.raises(exc.DBAPIError), database.read() as tx:
        nodes.save(tx, Node("PACS", "localhost", 104))

    with database.begin() as tx:
        nodes.save(tx, Node("OTHER", "localhost", 104))
    with database.read() as tx:
        assert [node.ae_title for node in nodes.listing(tx)] == ["OTHER"]


def test_a_read_sees_one_state(database: Database) -> None:
    """What others commit meanwhile does not change what a reader sees."""
    with database.read() as tx:
        before = nodes.listing(tx)
        with database.begin() as other:
            nodes.save(other, Node("PACS", "localhost", 104))
        assert nodes.listing(tx) == before == []


def test_a_reader_does_not_wait_for_a_writer(database: Database) -> None:
    """Reading works while a write transaction is open, and sees nothing of it."""
    with database.begin() as tx:
        nodes.save(tx, Node("PACS", "localhost", 104))
        with database.read() as other:
            assert nodes.listing(other) == []


def test_the_clock_is_utc_and_moves_within_a_transaction(
    database: Database, eventually: Callable[..., Any]
) -> None:
    """`now` is the time of the statement in seconds since 1970, finer than a second."""
    with database.begin() as tx:
        first = tx.execute(select(now())).scalar_one()
        assert abs(first - time.time()) < 5
        eventually(lambda: first < tx.execute(select(now())).scalar_one() < first + 1)


def test_wrong_sql_is_not_called_unavailable(database: Database) -> None:
    """A defect of ours does not look like a database that is gone."""
    with pytest.raises(exc.DBAPIError) as caught, database.begin() as tx:
        tx.execute(text("SELECT 1 FROM nowhere"))

    assert not isinstance(caught.value, DatabaseUnavailableError)


def test_errors_do_not_carry_values(
    database: Database, an_instance: Callable[..., Instance]
) -> None:
    """The text of a database error does not hold what was to be written."""
    with pytest.raises(exc.IntegrityError) as caught, database.begin() as tx:
        made = an_instance(1, source_ae="CANARY")
        instances.record(tx, made, association_id=987_654)

    assert "CANARY" not in str(caught.value)


def test_a_killed_process_leaves_nothing_of_its_transaction(
    database: Database,
    database_url: str,
    other_process: Start,
    an_instance: Callable[..., Instance],
) -> None:
    """After kill -9 in the middle, nothing of it is there and the next writer gets in."""
    process = other_process(RECORD_AND_WAIT, database_url)
    assert process.stdout is not None
    assert process.stdout.readline() == "recorded\n"
    process.send_signal(signal.SIGKILL)
    process.wait(10)

    with database.begin() as tx:
        assert instances.count(tx) == 0
        assert instances.record(tx, an_instance(), None).new


def test_a_locked_database_answers_in_bounded_time(
    database: Database, impatient: Database, an_instance: Callable[..., Instance]
) -> None:
    """Whoever finds the database locked is told so soon, and gets in once it is free."""
    began = time.monotonic()
    with _locked(database), pytest.raises(DatabaseUnavailableError), impatient.begin() as tx:
        instances.record(tx, an_instance(), None)
    assert time.monotonic() - began < 10

    with impatient.begin() as tx:
        assert instances.record(tx, an_instance(), None).new


def test_threads_of_one_process_take_turns(database: Database) -> None:
    """Many threads that write at once all get in."""
    errors: list[BaseException] = []

    def write(number: int) -> None:
        try:
            for turn in range(5):
                with database.begin() as tx:
                    nodes.save(tx, Node(f"N{number}.{turn}", "localhost", 104))
        except BaseException as error:  # noqa: BLE001 - reported below
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert errors == []
    with database.read() as tx:
        assert len(nodes.listing(tx)) == 100


def test_a_second_write_transaction_in_one_thread_is_refused_not_hung(sqlite_url: str) -> None:
    """Nesting by mistake ends with an error in bounded time."""
    database = Database.connect(sqlite_url, lock_seconds=0.1)
    with (
        pytest.raises(DatabaseUnavailableError, match="another thread"),
        database.begin(),
        database.begin(),
    ):
        pass
    database.dispose()


def test_a_stopped_server_is_unavailable_and_used_again_once_back(
    postgres_server: Any, postgres_url: str
) -> None:
    """When PostgreSQL goes away in the middle and comes back, only what was meanwhile failed."""
    database = Database.connect(postgres_url, lock_seconds=2)
    with database.read() as tx:
        assert nodes.listing(tx) == []
    try:
        with pytest.raises(DatabaseUnavailableError), database.begin() as tx:
            nodes.save(tx, Node("LOST", "localhost", 104))
            postgres_server.stop()
            nodes.save(tx, Node("LOST2", "localhost", 104))
        began = time.monotonic()
        with pytest.raises(DatabaseUnavailableError), database.read() as tx:
            nodes.listing(tx)
        assert time.monotonic() - began < 10
    finally:
        postgres_server.start()

    with database.begin() as tx:
        assert nodes.listing(tx) == []
        nodes.save(tx, Node("KEPT", "localhost", 104))
    database.dispose()


def test_a_silent_server_is_unavailable_in_bounded_time() -> None:
    """An address that accepts and says nothing does not hold us."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        database = Database.connect(f"postgresql+psycopg://nobody@127.0.0.1:{port}/x", 0.5)
        began = time.monotonic()
        with pytest.raises(DatabaseUnavailableError), database.begin():
            pass
        assert time.monotonic() - began < 10


def test_sqlite_is_set_to_survive_a_power_cut(sqlite_url: str) -> None:
    """Write-ahead log, full synchronisation, foreign keys; readers wait for a bounded time, and
    writers queue by themselves."""
    database = Database.connect(sqlite_url, lock_seconds=2.5)
    pragmas = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
    for transaction, wait in ((database.begin, 0), (database.read, 2500), (database.begin, 0)):
        with transaction() as tx:
            found = [tx.execute(text(f"PRAGMA {name}")).scalar_one() for name in pragmas]
        assert found == ["wal", 2, 1, wait]
    database.dispose()


def test_sqlite_makes_its_folder_and_keeps_others_out(tmp_path: Path) -> None:
    """The folder of the file is made; the file is not readable by everybody."""
    path = tmp_path / "new" / "folder" / "gatekeeper.db"
    database = Database.connect(f"sqlite:///{path}")
    database.migrate()
    database.dispose()

    assert path.stat().st_mode & 0o007 == 0


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    """A path through a file is reported like any database that cannot be reached."""
    (tmp_path / "file").touch()
    database = Database.connect(f"sqlite:///{tmp_path}/file/gatekeeper.db")

    with pytest.raises(DatabaseUnavailableError, match="Error"), database.begin():
        pass


@pytest.mark.parametrize("url", ["mysql://localhost/x", "sqlite://", "sqlite:///:memory:"])
def test_other_databases_are_refused(url: str) -> None:
    """Only a SQLite file or PostgreSQL is taken."""
    with pytest.raises((ValueError, exc.ArgumentError)):
        Database.connect(url)


def _locked(database: Database) -> Any:
    """Return a context in which another connection holds the database, or its table, alone."""
    return _locked_postgresql(database) if database.dialect == "postgresql" else _Locked(database)


class _Locked:
    """Holds a SQLite file with EXCLUSIVE, from outside the engine."""

    def __init__(self, database: Database) -> None:
        path = database._engine.url.database  # pyright: ignore[reportPrivateUsage]
        self._connection = sqlite3.connect(str(path), isolation_level=None)

    def __enter__(self) -> None:
        self._connection.execute("BEGIN EXCLUSIVE")

    def __exit__(self, *_: object) -> None:
        self._connection.rollback()
        self._connection.close()


class _locked_postgresql(_Locked):  # noqa: N801
    def __init__(self, database: Database) -> None:
        self._engine = sqlalchemy.create_engine(
            database._engine.url  # pyright: ignore[reportPrivateUsage]
        )
        self._other = self._engine.connect()

    def __enter__(self) -> None:
        self._other.execute(text("LOCK TABLE instance IN EXCLUSIVE MODE"))

    def __exit__(self, *_: object) -> None:
        self._other.close()
        self._engine.dispose()


WRITE_AND_LEAVE = """
import sqlite3, sys

connection = sqlite3.connect(sys.argv[1])
connection.execute("CREATE TABLE left_by_another (word TEXT)")
connection.commit()
connection.close()
print("left", flush=True)
"""


def test_a_second_connection_keeps_the_locks_of_the_first(
    sqlite_url: str, other_process: Start
) -> None:
    """Another process that comes and goes must not take the log away from under this one.

    POSIX drops every lock that a process holds on a file when it closes any descriptor of it. A
    process that lost its locks so goes on with a deleted log: it sees no write of anybody else.
    """
    database = Database.connect(sqlite_url)
    database.migrate()
    with database.read(), database.read():
        pass

    path = sqlite_url.removeprefix("sqlite:///")
    process = other_process(WRITE_AND_LEAVE, path)
    assert process.stdout is not None
    assert process.stdout.readline() == "left\n"
    process.wait(10)

    assert Path(f"{path}-wal").exists()
    with database.read() as tx:
        assert tx.execute(text("SELECT count(*) FROM left_by_another")).scalar_one() == 0
    database.dispose()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_log_of_sqlite_is_as_long_at_the_start_as_later(
    database: Database, database_url: str, an_instance: Callable[..., Instance]
) -> None:
    """Commits do not make it longer, and what made it long is not in the database."""
    log = Path(f"{sqlalchemy.make_url(database_url).database}-wal")
    database.lengthen_log()
    size = log.stat().st_size
    assert size > 8_000_000

    for number in range(20):
        with database.begin() as tx:
            instances.record(tx, an_instance(number), None)
    database.lengthen_log()

    assert log.stat().st_size == size
    assert database.schema_problem() is None
    with database.read() as tx:
        assert "filling" not in sqlalchemy.inspect(tx).get_table_names()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_disposed_database_leaves_no_connection(
    database: Database, database_url: str, an_instance: Callable[..., Instance]
) -> None:
    """The last connection to go takes the log with it; the next write connects again."""
    log = Path(f"{sqlalchemy.make_url(database_url).database}-wal")
    with database.begin() as tx:
        instances.record(tx, an_instance(), None)
    assert log.exists()
    database.dispose()
    assert not log.exists()

    with database.begin() as tx:
        assert instances.count(tx) == 1
