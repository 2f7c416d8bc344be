"""Gathering: what repeats becomes one message a while, and its writing holds up nobody.

A caller that is refused a thousand times a minute, or fetches a study picture by picture, is one
message with a count. `Gathering.add` only counts, in memory and bounded; a thread records. What is
gathered and not recorded yet is lost with the process.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from gatekeeper.atna.events import Event
from gatekeeper.atna.outbox import record
from gatekeeper.log import error_name, get_logger
from gatekeeper.settings import Settings
from storage.engine import Database

K = TypeVar("K")

_PAUSE_SECONDS = 0.5
"""From one transaction to the next."""

log = get_logger()


@dataclass(slots=True)
class Gathered:
    """What came under one key: how often of each kind, and when first and last (since 1970)."""

    counts: Counter[str] = field(default_factory=Counter[str])
    first_at: float = field(default_factory=time.time)
    last_at: float = field(default_factory=time.time)


class Gathering(Generic[K]):
    """Counts by key and records one event for each key and while.

    Args:
        database: of the outbox.
        settings: of the site; nothing is done while audit messages are off.
        make: returns the event of what was gathered.
        at_once: whether the first of a while is told at once, and only what follows gathered.
        most: keys at a time.
        others: stands for all further keys; None records everything when there are too many.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        make: Callable[[K, Gathered], Event],
        *,
        at_once: bool,
        most: int,
        others: K | None = None,
    ) -> None:
        self._database = database
        self._settings = settings
        self._make = make
        self._at_once = at_once
        self._most = most
        self._others = others
        self._lock = threading.Lock()
        self._gathered: dict[K, Gathered] = {}
        self._not_before: dict[K, float] = {}
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="audit-gathering", daemon=True)

    def start(self) -> None:
        """Start recording."""
        if self._settings.audit.enabled:
            self._thread.start()

    def stop(self, seconds: float) -> None:
        """Record what was gathered, waiting for so long at most."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def add(self, key: K, counts: Mapping[str, int]) -> None:
        """Count; never waits for anything."""
        if not self._settings.audit.enabled:
            return
        with self._lock:
            known = key in self._not_before
            if not known and len(self._not_before) >= self._most:
                if self._others is None:
                    # Everything is due.
                    self._not_before = dict.fromkeys(self._not_before, 0.0)
                else:
                    key = self._others
            if key not in self._not_before:
                wait = 0.0 if self._at_once else self._settings.audit.repeat_seconds
                self._not_before[key] = time.monotonic() + wait
            found = self._gathered.setdefault(key, Gathered())
            found.counts.update(counts)
            found.last_at = time.time()
            self._wake.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(self._until_due())
            self._wake.clear()
            self._record(everything=False)
            self._stopping.wait(_PAUSE_SECONDS)
        self._record(everything=True)

    def _until_due(self) -> float | None:
        """Return the seconds until something is to be done; None until something is gathered."""
        with self._lock:
            if not self._not_before:
                return None
            return max(0.0, min(self._not_before.values()) - time.monotonic())

    def _due(self, *, everything: bool) -> dict[K, Gathered]:
        now = time.monotonic()
        over = [key for key, when in self._not_before.items() if when <= now or everything]
        found: dict[K, Gathered] = {}
        for key in over:
            if key in self._gathered:
                found[key] = self._gathered.pop(key)
                # What follows at once is gathered for a while.
                self._not_before[key] = now + self._settings.audit.repeat_seconds
            if key not in found or not self._at_once:
                del self._not_before[key]
        return found

    def _record(self, *, everything: bool) -> None:
        with self._lock:
            due = self._due(everything=everything)
        if not due:
            return
        try:
            with self._database.begin() as tx:
                for key, gathered in due.items():
                    record(tx, self._settings, self._make(key, gathered))
        except SQLAlchemyError as error:
            log.error("audit_not_recorded", error=error_name(error), count=len(due))
            self._put_back(due)

    def _put_back(self, due: Mapping[K, Gathered]) -> None:
        with self._lock:
            for key, gathered in due.items():
                later = self._gathered.get(key)
                if later is not None:
                    gathered.counts.update(later.counts)
                    gathered.last_at = later.last_at
                self._gathered[key] = gathered
                self._not_before[key] = time.monotonic() + _PAUSE_SECONDS
