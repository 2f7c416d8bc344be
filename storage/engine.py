"""Database: one way in for SQLite and PostgreSQL, with every wait bounded.

A transaction is durable when `Database.begin` returns. A database that is gone, locked, full or
too slow raises `DatabaseUnavailableError` in bounded time, whichever of the two it is.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any, Self

import sqlalchemy
from sqlalchemy import Connection, Double, Engine, RowMapping, Table, event, exc
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.sql.functions import FunctionElement

from storage import turns, write_ahead

Transaction = Connection
"""An open transaction, for who passes it on and knows nothing of what carries it."""

CLOCK_STEP_SECONDS = 5.0
"""A row written further in the future than this shows that the clock was set back since."""

_MIGRATION_SECONDS = 60.0
_POOL_SIZE = 8
_POOL_OVERFLOW = 8
_LOG_BYTES = 64 * 1024 * 1024
_WRITES = "gatekeeper_writes"
_LOST_WRITES = (sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC)


class DatabaseUnavailableError(exc.SQLAlchemyError):
    """The database is gone, locked, full or too slow; nothing of the transaction was kept.

    One case is open, as with every database: when the connection breaks during the commit itself,
    the commit may have happened.
    """


class SynchronisationError(DatabaseUnavailableError):
    """The disk reported that it lost a write of the database; nothing of it may be trusted.

    As with a file of our own, it is not tried again: the process has to start afresh.
    """


class now(FunctionElement[float]):  # noqa: N801 - reads as SQL
    """Seconds since 1970-01-01 UTC by the database's clock, at this moment, not at BEGIN."""

    type = Double()
    inherit_cache = True


@compiles(now, "sqlite")
def _now_sqlite(_element: now, _compiler: Any, **_: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now, "postgresql")
def _now_postgresql(_element: now, _compiler: Any, **_: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) AS DOUBLE PRECISION)"


def insert(tx: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """Return the database's own INSERT, which knows ON CONFLICT."""
    return insert_on(tx.dialect.name, table)


def insert_on(dialect: str, table: Table) -> sqlite.Insert | postgresql.Insert:
    """Return the INSERT of a database by its name, to be built once and kept."""
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)


def facts(row: RowMapping | Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """Return a row's columns as the fields of a record, some of them changed."""
    return {**row, **changes}


def plain(text: str) -> str:
    """Return `text` without what PostgreSQL refuses in text: NUL and lone surrogates."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def moment_now(tx: Connection) -> float:
    """Return the time by the database's clock, in seconds since 1970-01-01 UTC."""
    return tx.execute(sqlalchemy.select(now())).scalar_one()


class Database:
    """A connected database; one for the whole process, used from any thread."""

    def __init__(self, engine: Engine, lock_seconds: float) -> None:
        self._engine = engine
        self._lock_seconds = lock_seconds
        self._read_options: dict[str, Any] = {
            "isolation_level": "REPEATABLE READ",
            "postgresql_readonly": True,
        }
        # SQLite lets one writer in at a time and makes the others poll; threads queue here. Whoever
        # has the turn has the connection, which is kept: fetching one costs more than a statement.
        self._turn: threading.Lock | None = None
        self._writer: Connection | None = None
        if engine.dialect.name == "sqlite":
            self._turn = threading.Lock()
            self._read_options = {_WRITES: False}

    @classmethod
    def connect(cls, url: str, lock_seconds: float = 5.0) -> Self:
        """Return the database at `url`; the first connection is made at first use.

        Args:
            url: ``sqlite:///FILE`` or ``postgresql+psycopg://...``.
            lock_seconds: longest wait for a lock or a connection. A statement on PostgreSQL may
                run six times as long.

        Raises:
            ValueError: if the URL is neither.
        """
        return cls(_engine(url, lock_seconds), lock_seconds)

    @property
    def dialect(self) -> str:
        """``sqlite`` or ``postgresql``."""
        return self._engine.dialect.name

    @contextlib.contextmanager
    def begin(self) -> Generator[Connection]:
        """Yield a connection in a write transaction: committed at the end, undone by an error.

        On SQLite it is the only writer from its start (BEGIN IMMEDIATE). Not to be nested.

        Raises:
            DatabaseUnavailableError: if the database could not do it; nothing was kept.
        """
        with self._answering(sqlite3.SQLITE_ERROR), self._writing() as tx, tx.begin():
            yield tx

    @contextlib.contextmanager
    def read(self) -> Generator[Connection]:
        """Yield a connection that sees one unchanging state and cannot write.

        Raises:
            DatabaseUnavailableError: if the database could not answer.
        """
        ours = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_READONLY)
        with self._answering(*ours), self._engine.connect() as connection:
            tx = connection.execution_options(**self._read_options)
            with tx.begin():
                yield tx

    def migrate(self) -> None:
        """Bring the schema to this version; safe when several processes do so at once.

        A schema that a newer version made is left as it is: this version runs on it.

        Raises:
            DatabaseUnavailableError: if the database could not do it; the schema is as before.
        """
        from storage import migrations

        patient = type(self)(_engine(self._engine.url, _MIGRATION_SECONDS), _MIGRATION_SECONDS)
        try:
            with patient.begin() as tx:
                migrations.lock(tx)
                migrations.upgrade(tx)
        finally:
            patient.dispose()

    def lengthen_log(self) -> None:
        """Give SQLite's write-ahead log the length that it soon has, before a commit waits for it.

        Raises:
            DatabaseUnavailableError: if the database could not do it; it is as before.
            OSError: if the log could not be synchronised.
        """
        if self._turn is not None:
            with self._answering(sqlite3.SQLITE_ERROR), self._writing() as connection:
                write_ahead.lengthen(connection, Path(f"{self._engine.url.database}-wal"))

    def schema_problem(self) -> str | None:
        """Return why this database cannot be used as it is, in one sentence, or None."""
        from storage import migrations

        file = self._engine.url.database
        if self.dialect == "sqlite" and not Path(file or "").exists():
            return "the database file does not exist"
        try:
            with self.read() as tx:
                return migrations.problem(tx)
        except DatabaseUnavailableError as error:
            return f"the database cannot be read: {error}"

    def dispose(self) -> None:
        """Close all connections that are not in use."""
        if self._turn is not None and self._turn.acquire(timeout=self._lock_seconds):
            try:
                self._let_go()
            finally:
                self._turn.release()
        self._engine.dispose()

    @contextlib.contextmanager
    def _writing(self) -> Generator[Connection]:
        """Yield a connection to write on; SQLite has one, which is kept while all goes well."""
        if self._turn is None:
            with self._engine.connect() as connection:
                yield connection
            return
        if not self._turn.acquire(timeout=self._lock_seconds):
            raise DatabaseUnavailableError("the database is locked by another thread")
        try:
            if self._writer is None:
                self._writer = self._engine.connect().execution_options(**{_WRITES: True})
            yield self._writer
        except BaseException:
            self._let_go()
            raise
        finally:
            self._turn.release()

    def _let_go(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    @contextlib.contextmanager
    def _answering(self, *ours: int) -> Generator[None]:
        """Turn every way of not answering into `DatabaseUnavailableError`.

        Wrong SQL, or a write while reading, is no fault of the database and stays what it is.
        SQLite calls both operational, so they are told by their codes, `ours`.
        """
        try:
            yield
        except exc.DBAPIError as error:
            # SQLite reports a damaged file as a DatabaseError of no kind.
            kinds = (exc.OperationalError, exc.InterfaceError)
            gone = isinstance(error, kinds) or type(error) is exc.DatabaseError
            if not gone or getattr(error.orig, "sqlite_errorcode", None) in ours:
                raise
            lost = getattr(error.orig, "sqlite_errorcode", None) in _LOST_WRITES
            kind = SynchronisationError if lost else DatabaseUnavailableError
            raise kind(_cause(error.orig)) from error
        except exc.TimeoutError as error:
            raise DatabaseUnavailableError("all connections are in use") from error


def _cause(error: BaseException | None) -> str:
    """Return what may be shown: SQLite's fixed sentences whole, a server's words not at all."""
    return str(error) if isinstance(error, sqlite3.Error) else type(error).__name__


def _engine(url: str | sqlalchemy.URL, lock_seconds: float) -> Engine:
    parsed = sqlalchemy.make_url(url)
    common = functools.partial(
        sqlalchemy.create_engine,
        parsed,
        hide_parameters=True,
        json_serializer=functools.partial(json.dumps, allow_nan=False, sort_keys=True),
        pool_size=_POOL_SIZE,
        max_overflow=_POOL_OVERFLOW,
        pool_timeout=lock_seconds,
    )
    match parsed.get_backend_name():
        case "sqlite":
            if not parsed.database or parsed.database == ":memory:":
                raise ValueError("a SQLite database needs a file: sqlite:///FILE")
            engine = common(connect_args={"timeout": lock_seconds})
            event.listen(engine, "connect", _prepare_sqlite(lock_seconds))
            event.listen(engine, "do_connect", _make_file(Path(parsed.database)))
            event.listen(engine, "begin", _begin_sqlite(f"{parsed.database}-turn", lock_seconds))
            return engine
        case "postgresql":
            # A connection kept in the pool may be to a server that has restarted since.
            return common(connect_args=_postgresql_limits(parsed, lock_seconds), pool_pre_ping=True)
        case other:
            raise ValueError(f"no such database here: {other}; use sqlite or postgresql")


def _postgresql_limits(url: sqlalchemy.URL, lock_seconds: float) -> dict[str, Any]:
    lock = math.ceil(lock_seconds * 1000)
    given = url.query.get("options", "")
    return {
        "connect_timeout": max(2, math.ceil(lock_seconds)),
        "tcp_user_timeout": 6 * lock,
        "keepalives_idle": 30,
        "application_name": "gatekeeper",
        "options": (
            f"{given if isinstance(given, str) else ' '.join(given)} -c lock_timeout={lock}"
            f" -c statement_timeout={6 * lock}"
            f" -c idle_in_transaction_session_timeout={12 * lock}"
        ).strip(),
    }


def _make_file(path: Path) -> Callable[..., None]:
    """Return what makes the file of a database, closed to others, before the first connection.

    An existing database file must never be opened here: closing it again would drop, by the rules
    of POSIX, every lock that this process's connections hold on it, and the next process to leave
    would take itself for the last one and delete the write-ahead log (SQLite, "How to corrupt",
    2.2). So a new file is made under another name and linked to its own.
    """

    def make(*_: object) -> None:
        try:
            if path.exists():
                return
            path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            handle, made = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
            try:
                os.fchmod(handle, 0o640)
                os.close(handle)
                with contextlib.suppress(FileExistsError):
                    os.link(made, path)
            finally:
                Path(made).unlink()
        except OSError as error:
            raise DatabaseUnavailableError(f"{type(error).__name__}: {path}") from error

    return make


def _prepare_sqlite(lock_seconds: float) -> Callable[[DBAPIConnection, ConnectionPoolEntry], None]:
    def prepare(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        # Leaves BEGIN to us: the module's own comes too late and knows no IMMEDIATE.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {math.ceil(lock_seconds * 1000)}")
        write_ahead.use(cursor, lock_seconds)
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute(f"PRAGMA wal_autocheckpoint = {write_ahead.PAGES}")
        cursor.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
        cursor.close()

    return prepare


def _begin_sqlite(turn: str, lock_seconds: float) -> Callable[[Connection], None]:
    patient = math.ceil(lock_seconds * 1000)

    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(_WRITES, False)
        # By the driver where nothing can go wrong, since that is for every received file.
        pooled = connection.connection
        sqlite: Any = pooled.dbapi_connection
        if pooled.info.get(_WRITES) is not writes:
            sqlite.execute(f"PRAGMA query_only = {'OFF' if writes else 'ON'}")
            # SQLite's own waiting sleeps longer the longer it has waited; see `storage.turns`.
            sqlite.execute(f"PRAGMA busy_timeout = {0 if writes else patient}")
            pooled.info[_WRITES] = writes
        if not writes:
            connection.exec_driver_sql("BEGIN")
            return
        with turns.next_in_line(turn, min(lock_seconds, turns.PATIENCE_SECONDS)):
            turns.wait(lambda: _tried(sqlite), lock_seconds)
        if not sqlite.in_transaction:
            # Once more through SQLAlchemy, so that the refusal comes as its error.
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return begin


def _tried(connection: sqlite3.Connection) -> bool:
    """Begin to write; False when another process does, so that it may be tried again."""
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.DatabaseError as error:
        return error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY
    return True
