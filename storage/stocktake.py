"""Stocktaking: which rows need a file, and which files there are.

Rows are read in one transaction, as a stream in the order of the digests, and so are the files.
What is in a slot still (`storage.unsettled`, `storage.voucher`) is at most the backlog of each
listener.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Connection,
    Double,
    Integer,
    Select,
    and_,
    cast,
    exists,
    false,
    literal,
    null,
    or_,
    select,
    union_all,
)

from storage import deliveries, slots
from storage.engine import now
from storage.records import ConfirmationState
from storage.schema import (
    confirmation,
    delivery,
    delivery_item,
    instance,
    removal,
    result,
    unsettled,
)

_ROWS_AT_ONCE = 5000
_NAME = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Kept:
    """A row that needs a file, or did: ``instance``, ``result`` or ``delivery``, and its UID.

    `size` is None where the row states none.
    """

    digest: str
    size: int | None
    owner: str
    sop_instance_uid: str
    received_for: float | None = None
    """Seconds since the instance came; None for other rows."""
    removed_for: float | None = None
    """Seconds since retention removed the instance; None while it is kept."""
    pending: bool = False
    """Whether its file is still to be unlinked."""


@dataclass(frozen=True, slots=True)
class SpoolFile:
    """A file under ``objects/``: `digest` is its name, empty when the name is none of ours."""

    path: Path
    digest: str
    size: int
    changed_at: float
    """Seconds since the epoch of the last write or link, by the file system's clock."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A slot that an unsettled row names."""

    name: str
    size: int | None
    """In bytes; None when there is no file."""
    living: bool | None
    """Whether its listener lives; None when this spool has no folder of it."""
    changed_at: float = 0.0

    @property
    def owner(self) -> str:
        """The listener's folder."""
        return self.name.rpartition("/")[0]


def kept(tx: Connection) -> Iterator[Kept]:
    """Yield every row that needs a file, or did before retention, in the order of the digests."""
    of_instance = (
        select(
            instance.c.digest,
            instance.c.size,
            literal("instance").label("owner"),
            instance.c.sop_instance_uid,
            (now() - instance.c.received_at).label("received_for"),
            (now() - instance.c.removed_at).label("removed_for"),
            removal.c.instance_id.is_not(None).label("pending"),
        )
    ).outerjoin(removal, removal.c.instance_id == instance.c.id)
    never, not_pending = cast(null(), Double), false()
    digests = union_all(
        of_instance,
        select(
            result.c.digest,
            result.c.size,
            literal("result"),
            result.c.sop_instance_uid,
            never,
            never,
            not_pending,
        ),
        _by_hand(
            delivery_item.c.digest,
            cast(null(), Integer),
            literal("delivery"),
            delivery_item.c.sop_instance_uid,
            never,
            never,
            not_pending,
        ),
    ).subquery()
    order: Any = digests.c.digest
    if tx.dialect.name == "postgresql":
        # The order of the bytes, as Python's, whatever the database's language.
        order = order.collate("C")
    query = select(digests).order_by(order)
    for row in tx.execute(query, execution_options={"yield_per": _ROWS_AT_ONCE}):
        *facts, pending = row
        yield Kept(*facts, pending=bool(pending))


def is_kept(tx: Connection, digest: str) -> bool:
    """Return whether a row still needs the file of this digest."""
    one = literal(1)
    needed = (
        select(one).where(instance.c.digest == digest, instance.c.removed_at.is_(None)),
        select(one).where(result.c.digest == digest),
        _by_hand(one).where(delivery_item.c.digest == digest),
    )
    return any(tx.execute(query.limit(1)).one_or_none() is not None for query in needed)


def _by_hand(*columns: Any) -> Select[*tuple[Any, ...]]:
    """Return the objects of deliveries by hand that are not at their end."""
    asked = exists(
        select(literal(1)).where(
            confirmation.c.id == delivery.c.id,
            confirmation.c.state != ConfirmationState.COMMITTED.value,
        )
    )
    return (
        select(*columns)
        .select_from(delivery_item)
        .join(delivery, delivery.c.id == delivery_item.c.delivery_id)
        .where(delivery.c.job_id.is_(None), or_(~deliveries.has_all(), asked))
    )


def in_slots(tx: Connection) -> dict[tuple[str, str], list[str]]:
    """Return the slots that unsettled rows name, by SOP Instance UID and digest."""
    found: dict[tuple[str, str], list[str]] = {}
    query = select(unsettled.c.sop_instance_uid, unsettled.c.digest, unsettled.c.slot)
    for uid, digest, slot in tx.execute(query.order_by(unsettled.c.slot)):
        found.setdefault((uid, digest), []).append(slot)
    return found


def vouched_slots(spool: Path) -> dict[str, list[str]]:
    """Return the slots that say of themselves what they hold, by digest.

    Raises:
        OSError: if one cannot be read.
    """
    found: dict[str, list[str]] = {}
    for slot, voucher in slots.vouched(spool).items():
        found.setdefault(voucher.digest, []).append(slot)
    return found


def slots_without_instance(tx: Connection) -> list[str]:
    """Return the slots of unsettled rows whose instance has no row."""
    known = exists(
        select(literal(1)).where(
            and_(
                instance.c.sop_instance_uid == unsettled.c.sop_instance_uid,
                instance.c.digest == unsettled.c.digest,
            )
        )
    )
    return list(tx.execute(select(unsettled.c.slot).where(~known)).scalars())


def slot_files(spool: Path, names: list[str], living: dict[str, bool]) -> list[Slot]:
    """Return what lies in these slots; `living` is from `storage.slots.living`."""
    return [_slot(spool, name, living) for name in names]


def _slot(spool: Path, name: str, living: dict[str, bool]) -> Slot:
    alive = living.get(name.rpartition("/")[0])
    try:
        found = slots.path(spool, name).stat()
    except FileNotFoundError:
        return Slot(name, None, alive)
    return Slot(name, found.st_size, alive, found.st_mtime)


def files(spool: Path) -> Iterator[SpoolFile]:
    """Yield every file under ``objects/`` of this spool, in the order of the names.

    A file that goes away meanwhile is left out.

    Raises:
        OSError: if a folder cannot be read.
    """
    yield from _below(spool / "objects")


def _below(folder: Path) -> Generator[SpoolFile]:
    with os.scandir(folder) as entries:
        ordered = sorted(entries, key=lambda entry: entry.name)
    for entry in ordered:
        if entry.is_dir(follow_symlinks=False):
            yield from _below(Path(entry.path))
            continue
        try:
            found = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        digest = entry.name if _NAME.fullmatch(entry.name) else ""
        changed = max(found.st_mtime, found.st_ctime)
        yield SpoolFile(Path(entry.path), digest, found.st_size, changed)
