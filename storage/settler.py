"""What follows an acknowledgement: names made durable, many at once, and slots given back.

Files that were acknowledged wait here under two names, that of their slot, which is durable, and
their own. From time to time the folders are synchronised for all that wait; then their rows in
``unsettled`` go, then the slots. What does not succeed is tried again until it does or the process
ends, and recovery does it then. When too much waits, so does the intake.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from storage import failpoint, unsettled
from storage.committer import Committer
from storage.engine import SynchronisationError
from storage.filesystem import unlink
from storage.slots import Slots
from storage.spool import Spool
from storage.unsettled import Withdrawn

_ANSWER_SECONDS = 600.0
_RETRY_SECONDS = 1.0


class BacklogError(Exception):
    """Too many files wait for their names to be durable; nothing was taken in."""


@dataclass(frozen=True, slots=True)
class Named:
    """A durable file that has got its name.

    Attributes:
        slot: as the database calls it.
        path: of the slot.
        name: its own, under ``objects/``.
    """

    slot: str
    path: str
    name: str


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """A row that has to go, since its file could not be made durable.

    Attributes:
        slot: as the database calls it.
        path: of the slot.
        sop_instance_uid: of the row.
        name: what the file would have been called.
    """

    slot: str
    path: str
    sop_instance_uid: str
    name: str

    def carry_out(self, tx: Connection) -> Named | None:
        """Take the row back; return it to be settled if the same content has come otherwise."""
        found = unsettled.withdraw(
            tx, self.slot, self.sop_instance_uid, lambda _digest: Path(self.name).is_file()
        )
        return Named(self.slot, self.path, self.name) if found is Withdrawn.NOT_LOST else None


class Settler:
    """Settles in a thread of its own, which starts with the first file.

    Args:
        spool: whose names are made durable.
        slots: given back, and filled up again.
        committer: removes the rows, together with whatever else is to be committed.
        limit: files that may wait here.
        seconds: how long names are gathered.
        trouble: told of each failure.
    """

    def __init__(
        self,
        spool: Spool,
        slots: Slots,
        committer: Committer,
        limit: int,
        seconds: float,
        trouble: Callable[[Exception], None],
    ) -> None:
        self._spool = spool
        self._slots = slots
        self._committer = committer
        self._limit = limit
        self._enough = limit // 2
        self._seconds = seconds
        self._trouble = trouble
        self._waiting: list[Named | Withdrawal] = []
        self._changed = threading.Condition()
        self._stopping = False
        self._failed = False
        self._thread: threading.Thread | None = None

    def wait_for_room(self, seconds: float) -> None:
        """Wait until fewer files than the limit wait here.

        Raises:
            BacklogError: if that takes longer.
        """
        # Nearly always there is room, and a look is enough; a file more or less does not matter.
        if not self._failed and len(self._waiting) < self._limit:
            return
        with self._changed:
            room = self._changed.wait_for(
                lambda: self._failed or len(self._waiting) < self._limit, seconds
            )
        if not room or self._failed:
            raise BacklogError("too many files wait for their folders to be synchronised")

    def add(self, one: Named | Withdrawal) -> None:
        """Settle this, soon."""
        with self._changed:
            self._waiting.append(one)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="settler", daemon=True)
                self._thread.start()
            # Waking it for each would cost as much as naming one.
            if len(self._waiting) in (1, self._enough + 1):
                self._changed.notify_all()

    def stop(self, deadline_seconds: float) -> None:
        """Settle what waits, once, and end the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(deadline_seconds)

    def _run(self) -> None:
        while batch := self._gathered():
            try:
                self._settle(batch)
            except (OSError, SQLAlchemyError) as error:
                lost = isinstance(error, OSError) and error.errno == errno.EIO
                with self._changed:
                    # After a lost write nothing may be tried again; the process has to end.
                    self._failed = lost or isinstance(error, SynchronisationError)
                    self._changed.notify_all()
                self._trouble(error)
                with self._changed:
                    self._changed.wait_for(lambda: self._failed or self._stopping, _RETRY_SECONDS)
                if self._failed or self._stopping:
                    return
                continue
            with self._changed:
                del self._waiting[: len(batch)]
                self._changed.notify_all()

    def _gathered(self) -> list[Named | Withdrawal]:
        """Return what has gathered since the first of it came; nothing at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stopping)
            self._changed.wait_for(
                lambda: self._stopping or len(self._waiting) > self._enough, self._seconds
            )
            return list(self._waiting)

    def _settle(self, batch: list[Named | Withdrawal]) -> None:
        named = [one for one in batch if isinstance(one, Named)]
        failpoint.reached("settler.settling")
        self._spool.synchronise([one.name for one in named])
        failpoint.reached("settler.synchronised")
        back = self._committer.submit("", lambda tx: _forget(tx, batch)).result(_ANSWER_SECONDS)
        failpoint.reached("settler.settled")
        for one in named:
            unlink(one.path)
        for one in back:
            self.add(one)
        self._slots.fill()


def _forget(tx: Connection, batch: list[Named | Withdrawal]) -> list[Named]:
    unsettled.settle(tx, [one.slot for one in batch if isinstance(one, Named)])
    found = [one.carry_out(tx) for one in batch if isinstance(one, Withdrawal)]
    return [one for one in found if one is not None]
