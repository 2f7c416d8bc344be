"""Statements that are run for every received file: built once, and on SQLite run by the driver.

SQLAlchemy builds each statement from the schema, so that the schema stays the one truth, and with
its own running of it costs ten times what SQLite takes. Nothing else differs: the transaction is
the same, and errors are SQLAlchemy's. To a server the journey is what costs; there it runs them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from sqlalchemy import ClauseElement, Connection, Executable, exc
from sqlalchemy.dialects import sqlite

_NAMED = sqlite.dialect(paramstyle="named")


class Prepared:
    """One statement, for either database.

    Args:
        build: returns it for the database of this name, with a `bindparam` for each value. Its
            parameters and results are text, numbers and booleans, which need no conversion; a
            boolean comes back as 0 or 1 from SQLite.
    """

    def __init__(self, build: Callable[[str], Executable]) -> None:
        self._build = build
        self._statements: dict[str, Executable] = {}
        self._sql = ""
        self._constants: dict[str, Any] = {}

    def run(self, tx: Connection, values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """Run it with these values and return the rows, none where it returns none.

        Raises:
            DBAPIError: as from SQLAlchemy.
        """
        if tx.dialect.name != "sqlite":
            found = tx.execute(self._statement(tx.dialect.name), values)
            return found.all() if found.returns_rows else ()
        if not self._sql:
            self._compile()
        driver: Any = tx.connection.driver_connection
        try:
            return driver.execute(self._sql, {**self._constants, **values}).fetchall()
        except sqlite3.Error as error:
            raise exc.DBAPIError.instance(
                self._sql, {}, error, sqlite3.Error, hide_parameters=True, dialect=tx.dialect
            ) from error

    def _statement(self, dialect: str) -> Executable:
        if dialect not in self._statements:
            self._statements[dialect] = self._build(dialect)
        return self._statements[dialect]

    def _compile(self) -> None:
        compiled = cast(ClauseElement, self._build("sqlite")).compile(dialect=_NAMED)
        given = compiled.params or {}
        self._constants = {name: value for name, value in given.items() if value is not None}
        # Last: another thread may look whether it is there.
        self._sql = str(compiled)
