"""Backpressure: when intake pauses, and when it goes on by itself.

Two marks, each with a lower and an upper edge so that intake does not flap around one number:

- the disk: under ``spool.low_water_mib`` of free space instances are refused with 0xA700, until
  there are ``spool.resume_mib`` again. Asked for every instance; it costs one system call.
- the queue: at ``listen.queue_high`` jobs that wait, associations that would store are rejected
  for now (PS3.8 table 9-21: transient, local limit exceeded), until ``listen.queue_low`` are left.
  Counted at most once a second, and never beyond the upper mark.

What is refused stays with its sender and comes again; nothing is deleted. A pause is in the
database while it lasts, for `gatekeeper status`, and is logged when it begins and when it ends.
While paused a thread looks every second, so that the end is seen without traffic.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from pynetdicom.pdu_primitives import A_ASSOCIATE
from sqlalchemy.exc import SQLAlchemyError

from gatekeeper.commitment import PUSH_MODEL
from gatekeeper.log import error_name, get_logger
from gatekeeper.notify.announce import announce
from gatekeeper.notify.events import IntakePaused
from gatekeeper.settings import Settings
from storage import jobs, pauses
from storage.engine import Database, DatabaseUnavailableError
from storage.spool import Spool

LOCAL_LIMIT_EXCEEDED = (2, 3, 2)
"""Result, source and reason of the rejection (PS3.8 table 9-21)."""

DISK, QUEUE = "disk", "queue"

_LOOK_SECONDS = 1.0
_LOOKS_SHOWN = 10
_LARGEST_MARGIN_MIB = 64
_VERIFICATION = "1.2.840.10008.1.1"
_STORES_NOTHING = frozenset({_VERIFICATION, PUSH_MODEL})

log = get_logger()


@dataclass(frozen=True, slots=True)
class Marks:
    """Where intake pauses and where it goes on, for a measure of which more is better."""

    pause_under: int
    resume_at: int

    def paused(self, was_paused: bool, measure: int) -> bool:
        """Return whether intake is to pause."""
        return measure < (self.resume_at if was_paused else self.pause_under)


def disk_marks(low_mib: int, resume_mib: int) -> Marks:
    """Return the marks of the disk; without a resume mark a tenth more, at most 64 MiB."""
    least = low_mib + min(low_mib // 10, _LARGEST_MARGIN_MIB)
    return Marks(low_mib, max(resume_mib, low_mib) if resume_mib else least)


def queue_marks(high: int, low: int) -> Marks:
    """Return the marks of the queue, of which fewer is better: its measure is negative."""
    return Marks(1 - high, -min(low, high - 1))


class Mark:
    """One mark: whether intake is paused at it.

    Args:
        name: ``disk`` or ``queue``.
        marks: where it pauses and goes on.
        measure: returns the measure now.
        database: where a pause is shown, while it lasts.
        cached_seconds: how long a measure is used.
    """

    def __init__(
        self,
        name: str,
        marks: Marks,
        measure: Callable[[], int],
        database: Database,
        cached_seconds: float = 0.0,
    ) -> None:
        self._name = name
        self._marks = marks
        self._measure = measure
        self._database = database
        self._cached_seconds = cached_seconds
        self._lock = threading.Lock()
        self._paused = False
        self._measured = 0.0
        self._watching = False
        self._closed = False
        self._resumed = threading.Event()
        self._watcher: threading.Thread | None = None

    def is_paused(self) -> bool:
        """Return whether intake is paused, measured now or a moment ago.

        Raises:
            OSError: if free space cannot be measured.
        """
        with self._lock:
            now = time.monotonic()
            if not self._measured or now - self._measured >= self._cached_seconds:
                self._look()
                self._measured = now
            return self._paused

    def close(self, deadline_seconds: float) -> None:
        """Look no more, and show no pause any longer."""
        self._closed = True
        self._resumed.set()
        if self._watcher is not None:
            self._watcher.join(deadline_seconds)

    def _look(self) -> None:
        try:
            paused = self._marks.paused(self._paused, self._measure())
        except DatabaseUnavailableError:
            # Intake has its own answer to that.
            return
        if paused is self._paused:
            return
        self._paused = paused
        if not paused:
            log.info("intake_resumed", reason=self._name)
            self._resumed.set()
            return
        log.warning("intake_paused", reason=self._name)
        if not self._watching:
            self._watching = True
            name = f"paused-{self._name}"
            self._watcher = threading.Thread(target=self._watch, name=name, daemon=True)
            self._watcher.start()

    def _watch(self) -> None:
        """Show the pause until it is over, and see that it is."""
        shown = False
        for look in itertools.count():
            if self._closed:
                self._show(paused=False)
                return
            with self._lock:
                try:
                    self._look()
                except OSError as error:
                    log.error("intake_not_measured", reason=self._name, error=error_name(error))
                paused = self._paused
            # Now and then again, since another listener that starts takes it for a leftover.
            if not paused or not shown or look % _LOOKS_SHOWN == 0:
                shown = self._show(paused=paused)
            if shown and not paused:
                with self._lock:
                    if not self._paused:
                        self._watching = False
                        return
            if self._resumed.wait(_LOOK_SECONDS):
                self._resumed.clear()

    def _show(self, *, paused: bool) -> bool:
        """Write the pause for others to see; False when the database could not."""
        try:
            with self._database.begin() as tx:
                if paused:
                    pauses.pause(tx, self._name)
                    since = pauses.paused(tx)[self._name]
                    announce(tx, IntakePaused(self._name, since), f"{self._name}:{since:.3f}")
                else:
                    pauses.resume(tx, self._name)
        except (SQLAlchemyError, OSError) as error:
            log.warning("intake_pause_not_shown", reason=self._name, error=error_name(error))
            return False
        return True


def forget_pauses(database: Database) -> None:
    """Take back what a listener that died while paused left for people to see."""
    with database.begin() as tx:
        for mark in (DISK, QUEUE):
            pauses.resume(tx, mark)


def disk(database: Database, spool: Spool, low_mib: int, resume_mib: int = 0) -> Mark:
    """Return the mark of free space."""
    return Mark(DISK, disk_marks(low_mib, resume_mib), spool.free_mib, database)


class QueueMark:
    """The mark of jobs that wait, and what it means for an association.

    Args:
        settings: ``listen.queue_high`` and ``listen.queue_low`` are used; 0 is off.
        database: counted and shown in.
    """

    def __init__(self, settings: Settings, database: Database) -> None:
        high, low = settings.listen.queue_high, settings.listen.queue_low
        self._mark: Mark | None = None
        if not high:
            return

        def room() -> int:
            with database.read() as tx:
                return -jobs.waiting(tx, limit=high)

        self._mark = Mark(QUEUE, queue_marks(high, low), room, database, _LOOK_SECONDS)

    def close(self, deadline_seconds: float) -> None:
        """Look no more, and show no pause any longer."""
        if self._mark is not None:
            self._mark.close(deadline_seconds)

    def is_paused(self) -> bool:
        """Return whether intake is paused by it."""
        return self._mark is not None and self._mark.is_paused()

    def refuses(self, request: A_ASSOCIATE) -> bool:
        """Return whether to reject an association for now; one that stores nothing never is."""
        if not self.is_paused():
            return False
        proposed = request.presentation_context_definition_list
        return any(str(one.abstract_syntax) not in _STORES_NOTHING for one in proposed)
