"""Statements that are run for every received file: built once, and run by the driver.

SQLAlchemy builds each statement from the schema, so that the schema stays the one truth; its own
running of it costs ten times what SQLite takes, and as much as PostgreSQL's whole answer. Nothing
else differs: the transaction is the same, and errors are SQLAlchemy's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import ClauseElement, Connection, Dialect, Executable, exc
from sqlalchemy.dialects import sqlite

_NAMED = sqlite.dialect(paramstyle="named")


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A statement for one database, and the values that are part of it."""

    sql: str
    constants: Mapping[str, Any]


class Prepared:
    """One statement, for either database.

    Args:
        build: returns it for the database of this name, with a `bindparam` for each value. Its
            parameters and results are text, numbers and booleans, which need no conversion; a
            boolean comes back as 0 or 1 from SQLite.
    """

    def __init__(self, build: Callable[[str], Executable]) -> None:
        self._build = build
        self._compiled: dict[str, _Compiled] = {}

    def run(self, tx: Connection, values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """Run it with these values and return the rows, none where it returns none.

        Raises:
            DBAPIError: as from SQLAlchemy.
        """
        dialect = tx.dialect
        compiled = self._compiled.get(dialect.name) or self._compile(dialect)
        driver: Any = tx.connection.driver_connection
        errors: Any = dialect.dbapi
        try:
            cursor = driver.execute(compiled.sql, {**compiled.constants, **values})
            return cursor.fetchall() if cursor.description else []
        except errors.Error as error:
            raise exc.DBAPIError.instance(
                compiled.sql, {}, error, errors.Error, hide_parameters=True, dialect=dialect
            ) from error

    def _compile(self, dialect: Dialect) -> _Compiled:
        statement = cast(ClauseElement, self._build(dialect.name))
        found = statement.compile(dialect=_NAMED if dialect.name == "sqlite" else dialect)
        given = found.params or {}
        constants = {name: value for name, value in given.items() if value is not None}
        compiled = self._compiled[dialect.name] = _Compiled(str(found), constants)
        return compiled
