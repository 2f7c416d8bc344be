"""Recovery: what processes that ended, however they ended, left in their slots.

Each unsettled row of such a process says which file its slot must hold. A file that has its name
already is settled; a whole file without one is copied under its name, for nothing is known of what
reached the disk; and where there is no whole file, the instance is withdrawn: file and row are both
durable before an answer, so it was never acknowledged, and its sender still has it. Slots that no
row knows are kept for a while, since a commit may still be under way on a distant server, and then
removed.

A slot that says of itself what it holds (`storage.voucher`), and holds it, may have been
acknowledged before it had its row: first of all it is entered. One that does not hold it was not.

May run at any time, in several processes at once, and be killed at any point: what is left is done
by the next. Slots of a process that lives are not touched.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from storage import entries, failpoint, instances, unsettled, voucher
from storage.engine import Database, DatabaseUnavailableError
from storage.entries import Entry
from storage.records import Instance
from storage.slots import Abandoned, abandoned, owners, sweep_unnamed
from storage.spool import Spool
from storage.unsettled import Unsettled, Withdrawn
from storage.voucher import Voucher

_PIECE = 1 << 20

Describe = Callable[[Path, Voucher], Instance]
"""Reads what a whole file is; raises ValueError when it cannot be read."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was found and done.

    Attributes:
        settled: files whose names are durable now.
        entered: of them, those that had no row or were not known to have one.
        withdrawn: SOP Instance UIDs of instances that were removed again.
        swept: files that no row knew, removed.
        left: files that could not be read; they stay as they are.
        elsewhere: processes whose rows are in the database and whose slots are not in this spool.
    """

    settled: int = 0
    entered: int = 0
    withdrawn: tuple[str, ...] = ()
    swept: int = 0
    left: int = 0
    elsewhere: int = 0

    def and_also(self, other: Recovered) -> Recovered:
        """Return both together."""
        return Recovered(
            self.settled + other.settled,
            self.entered + other.entered,
            self.withdrawn + other.withdrawn,
            self.swept + other.swept,
            self.left + other.left,
            self.elsewhere + other.elsewhere,
        )


def recover(
    database: Database, spool: Spool, residue_seconds: float, describe: Describe
) -> Recovered:
    """Settle or withdraw what ended processes left.

    Args:
        database: with the rows.
        spool: with the slots.
        describe: see there.
        residue_seconds: age at which a slot that no row knows is removed.

    Raises:
        DatabaseUnavailableError: if the database could not answer.
        OSError: if the spool could not be read or written.
    """
    found = Recovered()
    older_than = time.time() - residue_seconds
    for slots in abandoned(spool.root):
        found = found.and_also(_recover(database, spool, slots, older_than, describe))
    sweep_unnamed(spool.root, older_than)
    return replace(found, elsewhere=_elsewhere(database, spool))


def _enter(database: Database, slots: Abandoned, describe: Describe) -> tuple[int, int]:
    """Enter the slots of one process that are what they say of themselves.

    Returns:
        How many have a row now, and how many could not be read or entered.
    """
    entered = left = 0
    for slot, mine in slots.vouched().items():
        path = slots.path(slot)
        try:
            if not _is_whole(path, mine):
                voucher.take_off(path)
                continue
            instance = describe(path, mine)
            with database.begin() as tx:
                found = entries.enter(tx, Entry(slot, instance, None))
                if found.recorded.removed:
                    # Now that nothing unlinks its name any more, it gets one.
                    instances.take_back(tx, instance.sop_instance_uid, instance.digest)
        except DatabaseUnavailableError:
            raise
        except (OSError, ValueError, SQLAlchemyError):
            # It may have been acknowledged; what cannot be done now may be possible later.
            left += 1
            continue
        failpoint.reached("recovery.entered")
        entered += 1
    return entered, left


def _is_whole(path: Path, mine: Voucher) -> bool:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest() == mine.digest


def _recover(
    database: Database, spool: Spool, slots: Abandoned, older_than: float, describe: Describe
) -> Recovered:
    """Do so for one process."""
    entered, left = _enter(database, slots, describe)
    with database.read() as tx:
        rows = unsettled.listing(tx, slots.owner)
    whole: list[Unsettled] = []
    withdrawn: list[str] = []
    for row in rows:
        try:
            named = _named(spool, slots, row)
        except OSError:
            # What cannot be read now may be readable later, and may have been acknowledged.
            left += 1
            continue
        if not named:
            with database.begin() as tx:
                answer = unsettled.withdraw(tx, row.slot, row.sop_instance_uid, spool.exists)
            if answer is Withdrawn.INSTANCE:
                withdrawn.append(row.sop_instance_uid)
            named = answer is Withdrawn.NOT_LOST
        if named:
            whole.append(row)
    if whole:
        spool.synchronise([str(spool.path(row.digest)) for row in whole])
        with database.begin() as tx:
            unsettled.settle(tx, [row.slot for row in whole])
    failpoint.reached("recovery.settled")
    swept = 0
    if not left:
        swept = slots.sweep([slots.path(row.slot) for row in rows], older_than)
    return Recovered(len(whole), entered, tuple(withdrawn), swept, left)


def _named(spool: Spool, slots: Abandoned, row: Unsettled) -> bool:
    """Return whether the file of this row has its name, giving it one if it is whole."""
    if spool.exists(row.digest):
        return True
    try:
        with slots.path(row.slot).open("rb") as source, spool.writer() as writer:
            while piece := source.read(_PIECE):
                writer.write(piece)
            if writer.digest != row.digest:
                return False
            writer.commit()
    except FileNotFoundError:
        return False
    return True


def _elsewhere(database: Database, spool: Spool) -> int:
    """Count the owners of rows that have no folder here: the spool is another one, or was lost."""

    def strangers() -> set[str]:
        with database.read() as tx:
            found = unsettled.owners(tx)
        return found - owners(spool.root)

    # One that ends between the two looks has neither rows nor folder at the second.
    first = strangers()
    return len(first & strangers()) if first else 0
