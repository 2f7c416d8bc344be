"""What all tables share: metadata, types of columns, and the columns of rows that are claimed."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite counts upwards by itself only in a column declared INTEGER PRIMARY KEY.
Id = BigInteger().with_variant(Integer(), "sqlite")
UID = String(64)
AE = String(16)
DIGEST = String(64)
STATE = String(16)
LANGUAGE = String(16)


def leased() -> list[Column[Any]]:
    """Return the columns of a table whose rows are claimed, as `storage.leases` wants them."""
    return [
        Column("state", STATE, nullable=False),
        Column("attempt", Integer, nullable=False),
        Column("attempts_before", Integer, nullable=False),
        Column("created_at", Double, nullable=False),
        Column("updated_at", Double, nullable=False),
        Column("not_before", Double, nullable=False),
        Column("lease_until", Double),
        Column("claimed_at", Double),
        Column("finished_at", Double),
        Column("worker", Text, nullable=False),
        Column("reason", Text, nullable=False),
    ]


def waiting(table: str) -> Index:
    """Return the index of the rows that wait for a claim, whose size no finished row adds to."""
    waits = text("state = 'queued'")
    return Index(f"ix_{table}_waiting", "id", postgresql_where=waits, sqlite_where=waits)
