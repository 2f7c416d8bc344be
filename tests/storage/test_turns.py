"""Turns: processes that write to one SQLite file take it one after the other."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from storage import turns
from storage.engine import Database


def test_who_has_just_written_queues_behind_who_waits(
    sqlite_url: str, eventually: Callable[..., Any]
) -> None:
    """Two programs wait; the writer that comes straight back is not let in before both."""
    writer, *waiting = (Database.connect(sqlite_url, 30) for _ in range(3))
    order: list[str] = []
    again = threading.Event()

    def write(database: Database, name: str) -> None:
        with database.begin():
            order.append(name)
            again.wait(30)

    thread = threading.Thread(target=write, args=(waiting[0], "first waiting"))
    with writer.begin():
        order.append("writer")
        thread.start()
        eventually(lambda: _held(f"{sqlite_url.removeprefix('sqlite:///')}-turn"))
    eventually(lambda: len(order) == 2)
    last = threading.Thread(target=write, args=(waiting[1], "second waiting"))
    last.start()
    eventually(lambda: _held(f"{sqlite_url.removeprefix('sqlite:///')}-turn"))
    again.set()
    with writer.begin():
        order.append("writer again")
    thread.join(30)
    last.join(30)
    for database in (writer, *waiting):
        database.dispose()

    assert order == ["writer", "first waiting", "second waiting", "writer again"]


def test_a_turn_that_is_never_given_up_stops_nobody(tmp_path: Path) -> None:
    """A program stopped while it was next in line costs others their patience, not their write."""
    path = str(tmp_path / "turn")
    with turns.next_in_line(path, 1.0) as held:
        assert held
        with turns.next_in_line(path, 0.01) as other:
            assert not other
    with turns.next_in_line(path, 1.0) as held:
        assert held


def test_a_database_is_written_to_while_its_turn_is_held(sqlite_url: str) -> None:
    """The turn is for fairness; BEGIN IMMEDIATE alone keeps writers apart."""
    database = Database.connect(sqlite_url, 0.05)
    with (
        turns.next_in_line(f"{sqlite_url.removeprefix('sqlite:///')}-turn", 1.0),
        database.begin() as tx,
    ):
        assert tx.exec_driver_sql("SELECT 1").scalar_one() == 1
    database.dispose()


def test_a_folder_that_takes_no_lock_file_stops_nobody(tmp_path: Path) -> None:
    """Without a turn, writers go on as SQLite lets them."""
    with turns.next_in_line(str(tmp_path / "missing" / "turn"), 1.0) as held:
        assert not held


def _held(path: str) -> bool:
    """Return whether a program is next in line."""
    if not Path(path).exists():
        return False
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
