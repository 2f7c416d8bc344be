"""The intake: a received file and what its row says, both durable, for one wait on the disk.

Three things must survive a power cut before an instance may be acknowledged: the bytes, a name to
find them by, and what the row says. The file is written into a slot, whose name is durable already.
What the row says that is not in the bytes, the file says of itself (`storage.voucher`) and one
flush makes both durable; its row is written after the answer, with many others, by
`storage.bookkeeper`. Where it cannot (the first instance of a study in its association, a file
system without attributes, `Limits.enter_seconds` 0), file and row are made durable at the same
time, the row together with those of other associations. The file's own name under ``objects/`` is
given before the answer and made durable after it, with many others at once, by `storage.settler`.

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

And of a file that vouches for itself:

============  ==================================================================================
vouched       a slot that is not what it says: swept
synchronised  a slot that is what it says: entered, and named (again)
answered      the same
entered       the same; entering twice is harmless
settled       nothing to do
============  ==================================================================================

`storage.recovery` does what this table says. A file under ``objects/`` is whole whatever happens,
because it gets that name only after its bytes were synchronised.
"""

from __future__ import annotations

import contextlib
import errno
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from sqlalchemy import Connection

from storage import entries, instances
from storage.bookkeeper import Bookkeeper, Vouched
from storage.committer import Committer
from storage.engine import Database, DatabaseUnavailableError
from storage.entries import Bearer, Entered, Entry
from storage.gathering import Rhythm
from storage.recorder import Recorder
from storage.records import Instance
from storage.settler import Named, Settler, Withdrawal
from storage.slots import Slots
from storage.spool import Digest, Spool, SpoolWriter

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

PATIENCE = 10
"""The committer answers much sooner; this many waits are for a disk that hangs."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What an intake may use.

    Attributes:
        slots: empty files held ready.
        backlog: files acknowledged and not settled; above it, intake waits.
        settle_seconds: how long names are gathered before they are synchronised together.
        wait_seconds: longest wait for the backlog, and for the database's turn.
        rows: most instances in one transaction.
        enter_seconds: how long acknowledged files that vouch for themselves are gathered before
            their rows are written together; 0 to write every row before its answer.
    """

    slots: int = 64
    backlog: int = 2048
    settle_seconds: float = 0.5
    wait_seconds: float = 20.0
    rows: int = 64
    enter_seconds: float = 0.0


class _Result(Protocol[T_co]):
    """What is there later: a `Future` is one, and a `Pending`."""

    def result(self, timeout: float) -> T_co: ...


class Intake:
    """Takes in what all associations of one process receive.

    Its threads start with the first file, and its slots are made then, unless it was prepared.

    Args:
        database: where the rows go.
        spool: where the files go.
        limits: see there.
        trouble: told what went wrong in the background, once for each attempt.
        recorder: enters the rows in a process of its own; None to enter them here.
        told: told what was found on entering a file that was acknowledged before.
    """

    def __init__(
        self,
        database: Database,
        spool: Spool,
        limits: Limits,
        trouble: Callable[[Exception], None],
        recorder: Recorder | None = None,
        told: Callable[[Entry, Entered], None] = lambda _entry, _entered: None,
    ) -> None:
        self._database = database
        self._recorder = recorder
        self._spool = spool
        self._limits = limits
        self._slots = Slots(spool.root, limits.slots)
        self._committer = Committer(database, limits.rows, limits.wait_seconds)
        self._settler = Settler(
            spool, self._slots, self._committer, limits.backlog, limits.settle_seconds, trouble
        )
        rhythm = Rhythm(limits.enter_seconds, limits.rows, limits.rows, limits.backlog)
        self._bookkeeper = Bookkeeper(self._enter_all, self._follow, rhythm, trouble)
        self._told = told

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
        self._bookkeeper.wait_for_room(self._limits.wait_seconds)
        self._settler.wait_for_room(self._limits.wait_seconds)
        return self._spool.writer(limit, self._slots.take)

    def keep(
        self, writer: SpoolWriter, instance: Instance, bearer: Bearer | None
    ) -> Entered | None:
        """Make a file, and what its row says, durable; then it may be acknowledged.

        Args:
            writer: from `writer`, with all bytes written.
            instance: what it holds, with the writer's digest and size.
            bearer: the association that brings it; None to note nobody.

        Returns:
            What was found on entering it; None if it is entered later, and told then.

        Raises:
            OSError: if the file could not be written, synchronised or named.
            DatabaseUnavailableError: if the row could not be committed.
            RefusedEntryError: if the database does not take the row.
        """
        uid, digest, size = instance.sop_instance_uid, Digest(instance.digest), instance.size
        slot = self._slots.name(writer.path)
        # A row that an association has for its study already says nothing new of either.
        known = bearer is not None and bearer.id is not None and bearer.linked
        if known and self._limits.enter_seconds and writer.vouch(instance.source_ae):
            self._keep_vouched(writer, Entry(slot, instance, bearer, vouched=True))
            return None
        row = self._enter([Entry(slot, instance, bearer)])
        try:
            writer.synchronise()
            name = self._spool.name(writer.path, digest, size)
        except OSError as error:
            # The file goes first: then nobody can take it for whole.
            with contextlib.suppress(OSError):
                writer.discard()
            name = str(self._spool.path(digest))
            self._withdraw(Withdrawal(slot, writer.path, uid, name), row)
            self._renew_after(error)
            raise
        writer.keep()
        try:
            entered = self._entered(row)
            if entered.recorded.removed:
                self._restore(instance, writer.path)
            return entered
        finally:
            # Without an answer the row may be there all the same; then its file has to be, too.
            self._settler.add(Named(slot, writer.path, name))

    def enter(self) -> bool:
        """Have the rows of what was acknowledged so far written now, as `keep` would wait for them.

        Returns:
            Whether they are durable; not so when the database is in trouble or takes too long.
        """
        return self._bookkeeper.flush(self._limits.wait_seconds)

    def _keep_vouched(self, writer: SpoolWriter, entry: Entry) -> None:
        instance = entry.instance
        try:
            writer.synchronise()
            name = self._spool.name(writer.path, Digest(instance.digest), instance.size)
        except OSError as error:
            # Nobody may take it for whole.
            with contextlib.suppress(OSError):
                writer.discard()
            self._renew_after(error)
            raise
        writer.keep()
        self._bookkeeper.add(Vouched(entry, Named("", writer.path, name)))

    def _enter_all(self, batch: Sequence[Entry]) -> Sequence[Entered | Exception]:
        return self._answer(self._enter(batch))

    def _follow(self, one: Vouched, entered: Entered) -> None:
        """Settle an acknowledged file now that it has its row."""
        instance, named = one.entry.instance, one.named
        if entered.recorded.removed:
            self._restore(instance, named.path)
        self._settler.add(named)
        self._told(one.entry, entered)

    def _renew_after(self, error: OSError) -> None:
        if error.errno in (errno.ENOENT, errno.ESTALE):
            self._slots.renew()

    def _enter(self, batch: Sequence[Entry]) -> _Result[list[Entered | Exception]]:
        if self._recorder is not None:
            return self._recorder.enter(batch)
        return self._committer.submit_each(
            [(one.order, functools.partial(entries.enter, entry=one)) for one in batch]
        )

    def _entered(self, row: _Result[list[Entered | Exception]]) -> Entered:
        [result] = self._answer(row)
        return entries.of_result(result)

    def _restore(self, instance: Instance, path: str) -> None:
        """Count an instance that retention removed as kept again, now that its file is durable."""

        def back(tx: Connection) -> None:
            instances.take_back(tx, instance.sop_instance_uid, instance.digest)

        self._answer(self._committer.submit("", back))
        # Retention may have unlinked the name until a moment ago.
        self._spool.name(path, Digest(instance.digest), instance.size)

    def _withdraw(self, withdrawal: Withdrawal, row: _Result[list[Entered | Exception]]) -> None:
        """See to it that a row whose file failed is not there, now or as soon as possible."""
        try:
            self._entered(row)
            back = self._answer(self._committer.submit("", withdrawal.carry_out))
        except DatabaseUnavailableError:
            back = withdrawal
        except Exception:  # noqa: BLE001 - the row was refused, which is what is wanted here
            return
        if back is not None:
            self._settler.add(back)

    def _answer(self, future: _Result[T]) -> T:
        try:
            return future.result(PATIENCE * self._limits.wait_seconds)
        except TimeoutError:
            raise DatabaseUnavailableError("the database does not answer") from None

    def close(self, deadline_seconds: float = 30.0) -> None:
        """Settle what was taken in and end the threads; what is left, recovery does."""
        self._bookkeeper.stop(deadline_seconds)
        self._settler.stop(deadline_seconds)
        self._committer.stop(deadline_seconds)
        if self._recorder is not None:
            self._recorder.close()
        self._slots.close()
