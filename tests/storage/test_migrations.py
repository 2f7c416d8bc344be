"""Migrations: from nothing to the tables of `storage.schema` and back, by any number at once."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text

from storage import instances, migrations
from storage.engine import Database
from storage.records import Instance
from storage.schema import metadata

MIGRATE = """
import sys
from storage.engine import Database

database = Database.connect(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
database.migrate()
print(database.schema_problem(), flush=True)
database.dispose()
"""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Give an empty database, in a folder whose name is odd."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/odd %20 name/empty.db"
        return
    server = request.getfixturevalue("postgres_server")
    name = server.create("template0")
    yield server.url(name)
    server.drop(name)


@pytest.fixture
def empty(empty_url: str) -> Iterator[Database]:
    connected = Database.connect(empty_url)
    yield connected
    connected.dispose()


def test_a_migrated_database_has_the_schema_and_nothing_else(empty: Database) -> None:
    """Upgrading from nothing gives what `storage.schema` says, types, indexes and keys."""
    empty.migrate()

    with empty.begin() as tx:
        context = MigrationContext.configure(tx, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_constraints_are_those_of_the_schema(empty: Database) -> None:
    """Foreign and unique keys, which the comparison partly passes over, are there by name."""
    empty.migrate()

    with empty.read() as tx:
        inspector = inspect(tx)
        for table in metadata.sorted_tables:
            names = {key["name"] for key in inspector.get_foreign_keys(table.name)}
            names |= {key["name"] for key in inspector.get_unique_constraints(table.name)}
            keys = table.constraints - {table.primary_key}
            assert names == {constraint.name for constraint in keys}, table.name
            primary = inspector.get_pk_constraint(table.name)["constrained_columns"]
            assert primary == [column.name for column in table.primary_key], table.name


def test_downgrading_leaves_nothing(empty: Database) -> None:
    """The way back removes every table, and the way up works again after it."""
    empty.migrate()
    with empty.begin() as tx:
        migrations.downgrade(tx, "base")
        assert set(inspect(tx).get_table_names()) == {"alembic_version"}

    assert empty.schema_problem() == "the database has no schema yet"
    empty.migrate()
    assert empty.schema_problem() is None


def test_migrating_again_keeps_what_is_there(
    database: Database, an_instance: Callable[..., Instance]
) -> None:
    """Migrating an up-to-date database with rows changes nothing."""
    with database.begin() as tx:
        instances.record(tx, an_instance(), None)

    database.migrate()

    with database.read() as tx:
        assert instances.count(tx) == 1


def test_three_processes_that_migrate_at_once_all_succeed(
    empty: Database, empty_url: str, other_process: Start
) -> None:
    """Starting several roles on an empty database is safe."""
    processes = [other_process(MIGRATE, empty_url) for _ in range(3)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()

    assert [process.communicate(timeout=60) for process in processes] == [("None\n", "")] * 3
    assert empty.schema_problem() is None


def test_a_failed_migration_leaves_the_database_as_it_was(
    empty: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upgrade that breaks off half way leaves no table behind."""
    upgrade = migrations.upgrade

    def break_off(tx: Any) -> None:
        upgrade(tx)
        raise ZeroDivisionError

    monkeypatch.setattr(migrations, "upgrade", break_off)
    with pytest.raises(ZeroDivisionError):
        empty.migrate()

    with empty.read() as tx:
        assert inspect(tx).get_table_names() == []


def test_the_schema_of_a_newer_version_is_left_alone(database: Database) -> None:
    """After a rollback the older version starts and does not touch the schema."""
    with database.begin() as tx:
        tx.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    database.migrate()

    assert database.schema_problem() is None
    with database.read() as tx:
        assert migrations.current(tx) == "9999"


def test_the_schema_of_an_older_version_is_a_problem(database: Database) -> None:
    """A database that was not migrated is named as such, with both revisions."""
    with database.begin() as tx:
        tx.execute(text("UPDATE alembic_version SET version_num = '0000'"))

    problem = database.schema_problem()

    assert problem == f"the database's schema is at 0000; this version needs {migrations.head()}"


def test_a_missing_file_is_a_problem_and_stays_missing(tmp_path: Path) -> None:
    """Looking for problems does not make the file."""
    database = Database.connect(f"sqlite:///{tmp_path}/missing.db")

    assert database.schema_problem() == "the database file does not exist"
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_no_database_is_a_problem(tmp_path: Path) -> None:
    """A damaged file is reported, not raised."""
    path = tmp_path / "gatekeeper.db"
    path.write_bytes(b"not a database" * 1000)

    problem = Database.connect(f"sqlite:///{path}").schema_problem()

    assert problem == "the database cannot be read: file is not a database"
    assert path.read_bytes() == b"not a database" * 1000


def test_a_server_that_is_gone_is_a_problem() -> None:
    """An unreachable server is reported, not raised."""
    database = Database.connect("postgresql+psycopg://nobody@127.0.0.1:1/x", 0.5)

    problem = database.schema_problem()

    assert problem is not None
    assert problem.startswith("the database cannot be read")
