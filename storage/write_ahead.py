"""SQLite's write-ahead log: switched on, and as long from the start as it soon will be.

Until SQLite first begins its log anew, at `PAGES` pages, each commit makes the file longer, and to
synchronise a file that grows the disk has to write the file system's journal as well.
"""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

PAGES = 2000
"""Of 4 KiB. The commit that reaches them waits until they are in the database. With SQLite's own
1000 the longest of 384 commits took 8 to 173 ms, with 2000, which hold the same pages more often,
10 to 73."""

_LONG_BYTES = 8 * 1024 * 1024
_FILLING_BYTES = _LONG_BYTES + 3 * 1024 * 1024
"""SQLite keeps 2 MB of changed pages in memory; the rest has to go to the log."""


def use(cursor: Any, lock_seconds: float) -> None:
    """Switch to WAL; the switch ignores busy_timeout when several processes try at once."""
    deadline = time.monotonic() + lock_seconds
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def lengthen(connection: Connection, log: Path) -> None:
    """Make the log as long as it soon will be, by a transaction that is undone.

    Args:
        connection: for writing, outside a transaction.
        log: its file.

    Raises:
        DBAPIError: if the database could not do it; it is as before.
        OSError: if the log could not be synchronised.
    """
    if log.exists() and log.stat().st_size >= _LONG_BYTES:
        return
    undone = connection.begin()
    try:
        connection.exec_driver_sql("CREATE TABLE filling (bytes BLOB)")
        connection.exec_driver_sql("INSERT INTO filling VALUES (zeroblob(?))", (_FILLING_BYTES,))
    finally:
        undone.rollback()
    # SQLite's locks are on its other files: this one may be opened and closed.
    descriptor = os.open(log, os.O_RDWR)
    try:
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
