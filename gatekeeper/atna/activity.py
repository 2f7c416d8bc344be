"""Activity: a role of ours tells that it starts, and that it stops."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator

from sqlalchemy.exc import SQLAlchemyError

from gatekeeper.atna.events import ApplicationActivity
from gatekeeper.atna.outbox import told
from gatekeeper.log import error_name, get_logger
from gatekeeper.settings import Settings
from storage.engine import Database

log = get_logger()


@contextlib.contextmanager
def running(settings: Settings, role: str) -> Generator[None]:
    """Tell that a role starts and, however it ends short of a kill, that it stops."""
    if not settings.audit.enabled:
        yield
        return
    _tell(settings, role, starts=True)
    try:
        yield
    finally:
        _tell(settings, role, starts=False)


def _tell(settings: Settings, role: str, *, starts: bool) -> None:
    database = Database.connect(settings.database.url, settings.database.lock_seconds)
    try:
        if starts:
            database.migrate()
        told(database, settings, ApplicationActivity(role, starts, time.time()))
    except (SQLAlchemyError, OSError) as error:
        log.error("audit_not_recorded", role=role, error=error_name(error))
    finally:
        database.dispose()
