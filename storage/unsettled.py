"""Unsettled files: received and durable, but under the name of a slot until the folders follow.

A row is written in the transaction of its instance and removed once the file's own name is
durable. What a crash leaves is decided by it: a whole file gets its name, and an instance whose
file is not whole, which was therefore never acknowledged, is withdrawn.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, func, select, update

from storage import instances
from storage.engine import insert_on
from storage.prepared import Prepared
from storage.schema import unsettled as table


@dataclass(frozen=True, slots=True)
class Unsettled:
    """One file under the name of its slot.

    Attributes:
        slot: ``OWNER/NUMBER``.
        sop_instance_uid: of the instance that was recorded with it.
        digest: SHA-256 that its content must have.
        new: whether the instance was first recorded with it.
    """

    slot: str
    sop_instance_uid: str
    digest: str
    new: bool


class Withdrawn(enum.Enum):
    """What withdrawing found."""

    NOT_FOUND = enum.auto()
    """No such row."""
    NOT_LOST = enum.auto()
    """The content has a file under its own name; nothing was changed, the row can be settled."""
    SLOT = enum.auto()
    """The row is gone; the instance rests on another file."""
    INSTANCE = enum.auto()
    """The row and the instance are gone."""


def add(tx: Connection, row: Unsettled) -> None:
    """Note that this file lies in its slot. Adding it again is harmless."""
    # Again, because a commit whose answer was lost may have happened; then the first one holds.
    _ADDING.run(
        tx,
        {
            "slot": row.slot,
            "sop_instance_uid": str(row.sop_instance_uid),
            "digest": str(row.digest),
            "new": row.new,
        },
    )


_ADDING = Prepared(
    lambda dialect: (
        insert_on(dialect, table)
        .values({one.name: bindparam(one.name) for one in table.c})
        .on_conflict_do_nothing()
    )
)


def listing(tx: Connection, owner: str) -> list[Unsettled]:
    """Return the files in the slots of one process, in the order of the slots."""
    rows = tx.execute(
        select(table).where(table.c.slot.startswith(f"{owner}/")).order_by(table.c.slot)
    )
    return [Unsettled(**row) for row in rows.mappings()]


def owners(tx: Connection) -> set[str]:
    """Return the processes that have files in slots."""
    return {slot.rpartition("/")[0] for slot in tx.execute(select(table.c.slot)).scalars()}


def count(tx: Connection) -> int:
    """Return how many files are unsettled."""
    return tx.execute(select(func.count()).select_from(table)).scalar_one()


def settle(tx: Connection, slots: Sequence[str]) -> None:
    """Forget these slots: their files have durable names. Settling twice is harmless."""
    tx.execute(delete(table).where(table.c.slot.in_(slots)))


def withdraw(
    tx: Connection, slot: str, sop_instance_uid: str, exists: Callable[[str], bool]
) -> Withdrawn:
    """Take back what was recorded with a file that is not whole, and was never acknowledged.

    The instance stays when it was there before, or when the same content has come again.
    Withdrawing twice is harmless.

    Args:
        tx: the open transaction.
        slot: of the file.
        sop_instance_uid: recorded with it.
        exists: whether a digest has a file under its own name.
    """
    instances.one_at_a_time(tx, sop_instance_uid)
    here = table.c.slot == slot
    row = tx.execute(select(table.c.digest, table.c.new).where(here)).one_or_none()
    if row is None:
        return Withdrawn.NOT_FOUND
    same = table.c.sop_instance_uid == sop_instance_uid, table.c.digest == row.digest
    heir = tx.execute(select(table.c.slot).where(*same, ~here).limit(1)).scalar_one_or_none()
    # In this order: whoever sent the same content is in the table until its file has its name.
    if heir is None and exists(row.digest):
        return Withdrawn.NOT_LOST
    tx.execute(delete(table).where(here))
    if not row.new:
        return Withdrawn.SLOT
    if heir is not None:
        tx.execute(update(table).where(table.c.slot == heir).values(new=True))
        return Withdrawn.SLOT
    instances.withdraw(tx, sop_instance_uid, row.digest)
    return Withdrawn.INSTANCE
