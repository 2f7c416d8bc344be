"""The clock of a database on SQLite, moved by the test."""

from __future__ import annotations

from typing import Any

from sqlalchemy import event

from storage.engine import Database

DAY = 86400.0


class Clock:
    """What time SQLite's julianday('now') tells; stands still unless moved."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0

    def rule(self, database: Database) -> None:
        """Be the clock of a database that has no connection yet."""
        engine = database._engine  # pyright: ignore[reportPrivateUsage]
        event.listen(engine, "connect", self._set_on)

    def _set_on(self, connection: Any, _: object) -> None:
        connection.create_function("julianday", 1, self._julian_day)

    def _julian_day(self, _: str) -> float:
        return self.seconds / DAY + 2440587.5
