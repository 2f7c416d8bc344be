"""Whether this site can take studies now: database, schema, spool, room on the disk.

For a load balancer or an orchestrator: the answer names what fails, in fixed words, and nothing
else.
"""

from __future__ import annotations

import tempfile

from sqlalchemy.exc import SQLAlchemyError

from gatekeeper.settings import Settings
from storage import migrations
from storage.engine import Database
from storage.spool import Spool

DATABASE, SCHEMA, SPOOL, SPACE, TIME = "database", "schema", "spool", "space", "time"


class Readiness:
    """Looks at what intake needs.

    Args:
        settings: the low-water mark is used.
        database: it must answer, with the schema of this version or a newer one.
        spool: it must take a file.
    """

    def __init__(self, settings: Settings, database: Database, spool: Spool) -> None:
        self._low_water_mib = settings.spool.low_water_mib
        self._database = database
        self._spool = spool
        self._head = migrations.head()

    def failing(self) -> tuple[str, ...]:
        """Return what fails now; never raises."""
        return (*self._database_fails(), *self._spool_fails())

    def _database_fails(self) -> tuple[str, ...]:
        try:
            with self._database.read() as tx:
                return () if migrations.current(tx) >= self._head else (SCHEMA,)
        except (SQLAlchemyError, OSError):
            return (DATABASE,)

    def _spool_fails(self) -> tuple[str, ...]:
        try:
            # Without a name, so that nothing is left of it.
            with tempfile.TemporaryFile(dir=self._spool.root) as file:
                file.write(b"\0")
                file.flush()
            return () if self._spool.free_mib() >= self._low_water_mib else (SPACE,)
        except OSError:
            return (SPOOL,)
