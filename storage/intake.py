"""The intake: a received file and its row, both durable, for one wait on the disk.

Three things must survive a power cut before an instance may be acknowledged: the bytes, a name to
find them by, and the row that knows the name. The file is written into a slot, whose name is
durable already, so bytes and row are left; they are made durable at the same time, the row together
with those of other associations. The file's own name under ``objects/`` is given before the answer
and made durable after it, with many others at once, by `storage.settler`.

============  ==================================================================================
step          what a crash after it leaves
============  ==================================================================================
written       a slot that no row knows: swept
row, no file  an unsettled row whose slot is not whole: the instance is withdrawn
file, no row  a whole file that no row knows: adopted when the sender tries again
both          an unsettled row whose slot is whole: the file gets its name (again)
answered      the same
settled       nothing to do
============  ==================================================================================

`storage.recovery` does what this table says. A file under ``objects/`` is whole whatever happens,
because it gets that name only after its bytes were synchronised.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Connection

from storage import failpoint, instances, unsettled
from storage.committer import Committer
from storage.engine import Database, DatabaseUnavailableError
from storage.instances import Recorded
from storage.records import Instance
from storage.settler import Named, Settler, Withdrawal
from storage.slots import Slots
from storage.spool import Digest, Spool, SpoolWriter
from storage.unsettled import Unsettled

T = TypeVar("T")

_PATIENCE = 10
"""The committer answers much sooner; this many waits are for a disk that hangs."""

Describe = Callable[[Connection, Digest, int], tuple[Instance, int | None]]
"""Returns the instance of a file with this digest and size, and the association to link with its
study. It runs within the transaction, maybe more than once; only the last time is committed."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What an intake may use.

    Attributes:
        slots: empty files held ready.
        backlog: files acknowledged and not settled; above it, intake waits.
        settle_seconds: how long names are gathered before they are synchronised together.
        wait_seconds: longest wait for the backlog, and for the database's turn.
        rows: most instances in one transaction.
    """

    slots: int = 64
    backlog: int = 2048
    settle_seconds: float = 0.5
    wait_seconds: float = 20.0
    rows: int = 64


class Intake:
    """Takes in what all associations of one process receive.

    Its threads start with the first file, and its slots are made then, unless it was prepared.

    Args:
        database: where the rows go.
        spool: where the files go.
        limits: see there.
        trouble: told what went wrong in the background, once for each attempt.
    """

    def __init__(
        self,
        database: Database,
        spool: Spool,
        limits: Limits,
        trouble: Callable[[Exception], None],
    ) -> None:
        self._database = database
        self._spool = spool
        self._limits = limits
        self._slots = Slots(spool.root, limits.slots)
        self._committer = Committer(database, limits.rows, limits.wait_seconds)
        self._settler = Settler(
            spool, self._slots, self._committer, limits.backlog, limits.settle_seconds, trouble
        )

    def prepare(self) -> None:
        """Do ahead, as far as it can be done, what would hold up the first files.

        Raises:
            OSError: if the spool is in trouble.
            DatabaseUnavailableError: if the database is.
        """
        self._spool.make_folders()
        self._slots.fill()
        self._database.lengthen_log()

    def writer(self, limit: int | None = None) -> SpoolWriter:
        """Return a writer of one file, for `keep`, to be used in a ``with`` statement.

        Args:
            limit: largest size in bytes; None for no limit.

        Raises:
            BacklogError: if too much waits to be settled.
        """
        self._settler.wait_for_room(self._limits.wait_seconds)
        return self._spool.writer(limit, self._slots.take)

    def keep(
        self, writer: SpoolWriter, study_uid: str, sop_instance_uid: str, describe: Describe
    ) -> Recorded:
        """Make file and row durable and return what recording found; then it may be acknowledged.

        Args:
            writer: from `writer`, with all bytes written.
            study_uid: the Study Instance UID.
            sop_instance_uid: of the instance that `describe` returns.
            describe: see there.

        Raises:
            OSError: if the file could not be written, synchronised or named.
            DatabaseUnavailableError: if the row could not be committed.
        """
        slot, digest, size = self._slots.name(writer.path), writer.digest, writer.size

        def record(tx: Connection) -> Recorded:
            instance, association_id = describe(tx, digest, size)
            recorded = instances.record(tx, instance, association_id)
            unsettled.add(tx, Unsettled(slot, sop_instance_uid, digest, recorded.new))
            failpoint.reached("receive.committing", study_uid)
            return recorded

        # Studies are locked in this order by every process, so none waits for another in a ring.
        row = self._committer.submit(f"{study_uid} {sop_instance_uid}", record)
        try:
            writer.synchronise()
            name = self._spool.name(writer.path, digest, size)
        except OSError as error:
            # The file goes first: then nobody can take it for whole.
            with contextlib.suppress(OSError):
                writer.discard()
            name = self._spool.path(digest)
            self._withdraw(Withdrawal(slot, writer.path, sop_instance_uid, name), row)
            if error.errno in (errno.ENOENT, errno.ESTALE):
                self._slots.renew()
            raise
        writer.keep()
        try:
            recorded = self._answer(row)
            if recorded.removed:
                self._take_back_removed(sop_instance_uid, digest)
                # Retention may have unlinked the name until a moment ago.
                self._spool.name(writer.path, digest, size)
            return recorded
        finally:
            # Without an answer the row may be there all the same; then its file has to be, too.
            self._settler.add(Named(slot, writer.path, name))

    def _take_back_removed(self, sop_instance_uid: str, digest: Digest) -> None:
        """Count an instance that retention removed as kept again, now that its file is durable."""

        def back(tx: Connection) -> None:
            instances.take_back(tx, sop_instance_uid, digest)

        self._answer(self._committer.submit("", back))

    def _withdraw(self, withdrawal: Withdrawal, row: Future[Recorded]) -> None:
        """See to it that a row whose file failed is not there, now or as soon as possible."""
        try:
            self._answer(row)
            back = self._answer(self._committer.submit("", withdrawal.carry_out))
        except DatabaseUnavailableError:
            back = withdrawal
        except Exception:  # noqa: BLE001 - the row was refused, which is what is wanted here
            return
        if back is not None:
            self._settler.add(back)

    def _answer(self, future: Future[T]) -> T:
        try:
            return future.result(_PATIENCE * self._limits.wait_seconds)
        except TimeoutError:
            raise DatabaseUnavailableError("the database does not answer") from None

    def close(self, deadline_seconds: float = 30.0) -> None:
        """Settle what was taken in and end the threads; what is left, recovery does."""
        self._settler.stop(deadline_seconds)
        self._committer.stop(deadline_seconds)
        self._slots.close()
