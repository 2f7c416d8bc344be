"""What follows an acknowledgement: names made durable, many at once, and slots given back.

Files that were acknowledged wait here under two names, that of their slot, which is durable, and
their own. From time to time the folders are synchronised for all that wait; then their rows in
``unsettled`` go, where they have one, then the slots. What does not succeed is tried again until it
does or the process ends, and recovery does it then. When too much waits, so does the intake.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from storage import failpoint, unsettled
from storage.committer import Committer
from storage.filesystem import unlink
from storage.gathering import Gathering, Rhythm
from storage.slots import Slots
from storage.spool import Spool
from storage.unsettled import Withdrawn

_ANSWER_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Named:
    """A durable file that has got its name.

    Attributes:
        slot: as the database calls it; empty when the database has no row of it.
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


class Settler(Gathering[Named | Withdrawal]):
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
        rhythm = Rhythm(seconds, at_once=2 * limit, enough=limit // 2 + 1, limit=limit)
        super().__init__("settler", rhythm, self._settle, trouble)
        self._spool = spool
        self._slots = slots
        self._committer = committer

    def _settle(self, batch: list[Named | Withdrawal]) -> list[Named | Withdrawal]:
        named = [one for one in batch if isinstance(one, Named)]
        failpoint.reached("settler.settling")
        self._spool.synchronise([one.name for one in named])
        failpoint.reached("settler.synchronised")
        back: list[Named] = []
        if any(isinstance(one, Withdrawal) or one.slot for one in batch):
            forgotten = self._committer.submit("", lambda tx: _forget(tx, batch))
            back = forgotten.result(_ANSWER_SECONDS)
        failpoint.reached("settler.settled")
        for one in named:
            unlink(one.path)
        for one in back:
            self.add(one)
        self._slots.fill()
        return []


def _forget(tx: Connection, batch: list[Named | Withdrawal]) -> list[Named]:
    unsettled.settle(tx, [one.slot for one in batch if isinstance(one, Named) and one.slot])
    found = [one.carry_out(tx) for one in batch if isinstance(one, Withdrawal)]
    return [one for one in found if one is not None]
