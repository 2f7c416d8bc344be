"""Migrations: bring a database's schema to this version, from the wheel and the source tree alike.

Each revision has a number of four digits that rises by one. A revision only adds, so that the
version before it still runs on the schema after it; what is no longer used goes one version later.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

_LOCK = 0x6761_7465  # any number; the same for every process


def lock(tx: Connection) -> None:
    """Wait until no other process migrates; SQLite's one writer is the lock there."""
    if tx.dialect.name == "postgresql":
        tx.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


def upgrade(tx: Connection, revision: str = "head") -> None:
    """Migrate upwards inside the open transaction, unless a newer version has been here."""
    if current(tx) <= head():
        command.upgrade(_config(tx), revision)


def downgrade(tx: Connection, revision: str) -> None:
    """Migrate downwards inside the open transaction; ``base`` removes everything."""
    command.downgrade(_config(tx), revision)


def problem(tx: Connection) -> str | None:
    """Return why this version cannot run on the schema found, or None."""
    found, wanted = current(tx), head()
    if not found:
        return "the database has no schema yet"
    if found < wanted:
        return f"the database's schema is at {found}; this version needs {wanted}"
    return None


def current(tx: Connection) -> str:
    """Return the revision that the database is at, empty when it has none."""
    return MigrationContext.configure(tx).get_current_revision() or ""


def head() -> str:
    """Return the newest revision of this version."""
    return ScriptDirectory.from_config(_config(None)).get_current_head() or ""


def _config(tx: Connection | None) -> Config:
    config = Config()
    # The value is interpolated, and a folder's name may hold a percent sign.
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = tx
    return config
