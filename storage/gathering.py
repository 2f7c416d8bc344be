"""Gathering: what comes one by one from many threads and is done many at once by a thread of ours.

Each thing waits here until it is done. What does not succeed is tried again until it does or the
process ends. When too much waits, so does whoever brings more.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from storage.engine import SynchronisationError

_RETRY_SECONDS = 1.0

T = TypeVar("T")


class BacklogError(Exception):
    """Too many files wait to be settled; nothing was taken in."""


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How much is done at once, and when.

    Attributes:
        seconds: how long things are gathered.
        at_once: most of them in one go.
        enough: of which so many begin the next go at once.
        limit: most that may wait.
    """

    seconds: float
    at_once: int
    enough: int
    limit: int


class Gathering(Generic[T]):
    """Things that wait to be done; the thread that does them starts with the first.

    Args:
        name: of the thread.
        rhythm: see there.
        work: does some of them, in the order in which they came, and returns those that have to be
            tried again; what it raises (OSError, SQLAlchemyError) concerns all of them.
        trouble: told of each failure that concerns all.
    """

    def __init__(
        self,
        name: str,
        rhythm: Rhythm,
        work: Callable[[list[T]], list[T]],
        trouble: Callable[[Exception], None],
    ) -> None:
        self._name = name
        self._rhythm = rhythm
        self._work = work
        self._trouble = trouble
        self._waiting: list[T] = []
        self._changed = threading.Condition()
        self._hurried = False
        self._troubled = False
        self._stopping = False
        self._failed = False
        self._thread: threading.Thread | None = None

    def wait_for_room(self, seconds: float) -> None:
        """Wait until fewer than the limit wait here.

        Raises:
            BacklogError: if that takes longer.
        """
        # Nearly always there is room, and a look is enough; one more or less does not matter.
        limit = self._rhythm.limit
        if not self._failed and len(self._waiting) < limit:
            return
        with self._changed:
            room = self._changed.wait_for(
                lambda: self._failed or len(self._waiting) < limit, seconds
            )
        if not room or self._failed:
            raise BacklogError("too many files wait to be settled")

    def add(self, one: T) -> None:
        """Have this done, soon."""
        with self._changed:
            self._waiting.append(one)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            # Waking it for each would cost as much as the work.
            if len(self._waiting) in (1, self._rhythm.enough):
                self._changed.notify_all()

    def flush(self, seconds: float) -> bool:
        """Have what waits done at once; return whether it was done in time.

        While something has to be tried again nobody waits for it.
        """
        with self._changed:
            if not self._waiting:
                return True
            last = self._waiting[-1]
            self._hurried = True
            self._changed.notify_all()

            def done() -> bool:
                return all(one is not last for one in self._waiting)

            self._changed.wait_for(lambda: self._failed or self._troubled or done(), seconds)
            return done()

    def stop(self, deadline_seconds: float) -> None:
        """Do what waits, once, and end the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(deadline_seconds)

    def _run(self) -> None:
        while batch := self._gathered():
            try:
                left = self._work(batch)
            except (OSError, SQLAlchemyError) as error:
                left = batch
                lost = isinstance(error, OSError) and error.errno == errno.EIO
                with self._changed:
                    # After a lost write nothing may be tried again; the process has to end.
                    self._failed = lost or isinstance(error, SynchronisationError)
                    self._changed.notify_all()
                self._trouble(error)
            with self._changed:
                self._waiting[: len(batch)] = left
                self._troubled = bool(left)
                self._changed.notify_all()
                if left:
                    self._changed.wait_for(lambda: self._failed or self._stopping, _RETRY_SECONDS)
                    if self._failed or self._stopping:
                        return

    def _gathered(self) -> list[T]:
        """Return what has gathered since the first of it came; nothing at the end."""
        rhythm = self._rhythm
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stopping)
            self._changed.wait_for(
                lambda: self._stopping or self._hurried or len(self._waiting) >= rhythm.enough,
                rhythm.seconds,
            )
            batch = self._waiting[: rhythm.at_once]
            self._hurried = self._hurried and len(batch) < len(self._waiting)
            return batch
