"""The heartbeat of a claimed job: keeps its lease while the work goes on, and ends the work.

The work is to stop when the lease is lost (another attempt holds the job, or the database has not
answered for a whole lease), and when the worker was asked to stop and the grace is over.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from sqlalchemy import Connection

from gatekeeper.log import error_name, get_logger
from storage import jobs
from storage.engine import Database, DatabaseUnavailableError

LOOK_SECONDS = 0.1

log = get_logger()


class Claim(Protocol):
    """What was claimed: a row and the attempt at it."""

    @property
    def id(self) -> int:
        """Number of the row."""
        ...

    @property
    def attempt(self) -> int:
        """Of the claim."""
        ...


class Heartbeat:
    """Beats in a thread of its own inside the ``with`` block.

    Args:
        database: where the lease is.
        job: as claimed.
        lease_seconds: length of the lease; a beat comes three times in it.
        stopping: set when the worker was asked to stop.
        stop_seconds: grace for the work after that.
        renew: holds the lease of a row and attempt for so many seconds; False when it is lost.

    Attributes:
        cancelled: set when the work is to stop.
        lost: True when that is because the lease is lost.
    """

    def __init__(
        self,
        database: Database,
        job: Claim,
        lease_seconds: float,
        stopping: threading.Event,
        stop_seconds: float,
        renew: Callable[[Connection, int, int, float], bool] = jobs.heartbeat,
    ) -> None:
        self._database = database
        self._job = job
        self._lease_seconds = lease_seconds
        self._stopping = stopping
        self._stop_seconds = stop_seconds
        self._renew = renew
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self.cancelled = threading.Event()
        self.lost = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._beat_until_ended()
        finally:
            # Also when something unforeseen ends this thread: no work goes on unwatched.
            if not self._ended.is_set():
                self.cancelled.set()

    def _beat_until_ended(self) -> None:
        held_since = beaten_at = time.monotonic()
        stop_at: float | None = None
        while not self._ended.wait(LOOK_SECONDS):
            now = time.monotonic()
            if now - beaten_at >= self._lease_seconds / 3:
                beaten_at = now
                if self._beat():
                    held_since = now
            if now - held_since > self._lease_seconds:
                self.lost = True
            if stop_at is None and self._stopping.is_set():
                stop_at = now + self._stop_seconds
            if self.lost or (stop_at is not None and now >= stop_at):
                return

    def _beat(self) -> bool:
        """Return whether the lease was renewed; a lease that another holds is lost."""
        job = self._job
        try:
            with self._database.begin() as tx:
                renewed = self._renew(tx, job.id, job.attempt, self._lease_seconds)
        except DatabaseUnavailableError as error:
            log.error("heartbeat_failed", job=job.id, error=error_name(error))
            return False
        self.lost = not renewed
        return renewed
