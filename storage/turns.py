"""Turns: the processes that write to one SQLite file take it one after the other.

SQLite lets one writer in and has the others sleep and ask again, longer each time; who has just
written asks first and wins, so that one process can wait for seconds while another writes a
thousand times. So the next writer is chosen before the file is free: it holds a lock on a file
beside the database while it waits for the database's own, and who comes back from writing queues
behind it.

This is for fairness alone. What keeps writers apart is BEGIN IMMEDIATE; without the turn (a folder
without such locks, a process stopped while it held it) writers go on as SQLite lets them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import time
from collections.abc import Callable, Generator

PATIENCE_SECONDS = 1.0
"""Longest wait for the turn; whoever holds it longer waits for a lock that is not ours."""
_QUEUE = (0.0002, 0.0008)
"""Seconds between two looks at the turn; the same for all who wait, however long they did."""
_HEAD = (0.00005, 0.0002)
"""Seconds between two looks at the database; at most one process of all looks so often."""
_LONG = (0.002, 0.008)
_LONG_AFTER_SECONDS = 0.25


@contextlib.contextmanager
def next_in_line(path: str, patience: float = PATIENCE_SECONDS) -> Generator[bool]:
    """Hold the turn, the lock on the file at `path`; yield False when it could not be had.

    Args:
        path: the lock file; made when missing, never removed.
        patience: longest wait in seconds.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError:
        yield False
        return
    try:
        yield _wait(lambda: _locked(descriptor), patience, _QUEUE)
    finally:
        os.close(descriptor)


def wait(done: Callable[[], bool], seconds: float) -> bool:
    """Look until `done`, as the first in line; False when it was not in time."""
    return _wait(done, seconds, _HEAD)


def _wait(done: Callable[[], bool], seconds: float, pauses: tuple[float, float]) -> bool:
    started = time.monotonic()
    while not done():
        waited = time.monotonic() - started
        if waited >= seconds:
            return False
        # Jitter, not secrets.
        time.sleep(random.uniform(*(pauses if waited < _LONG_AFTER_SECONDS else _LONG)))  # noqa: S311
    return True


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # No such locks here: everyone goes without.
    return True
