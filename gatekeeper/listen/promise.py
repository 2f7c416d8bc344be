"""What we commit to when a node asks (PS3.4 annex J): an instance that we keep, row and file.

One that was acknowledged a moment ago, in whatever process, may have its row still to be written;
then its file tells what the row will say (`storage.voucher`).

Committed is an instance of the SOP class and UID asked for whose every content that we keep has
its file in the spool, of the size on record; with `check_digest` each file is read, too, and must
have its digest. Removed by retention, an instance counts as not here. The decision is written
before it is reported, so that a report which is sent twice says the same.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Sequence

from gatekeeper.commitment import CLASS_CONFLICT, NO_SUCH_INSTANCE, PROCESSING_FAILURE
from gatekeeper.listen.described import described
from storage import commitments, instances, slots
from storage.engine import Database
from storage.records import Commitment, CommitmentItem, Instance
from storage.spool import Spool


def failure_of(
    item: CommitmentItem, here: Sequence[Instance], is_whole: Callable[[Instance], bool]
) -> int | None:
    """Return why we do not commit to an instance (PS3.3 C.14.1.1), or None when we do.

    Args:
        item: the class and UID that were asked about.
        here: every content that has been received under this UID.
        is_whole: whether a content's file is in the spool as it should be.
    """
    kept = [one for one in here if one.removed_at is None]
    if not kept:
        return NO_SUCH_INSTANCE
    if any(one.sop_class_uid != item.sop_class_uid for one in kept):
        return CLASS_CONFLICT
    return None if all(is_whole(one) for one in kept) else PROCESSING_FAILURE


def decide(
    database: Database, spool: Spool, commitment: Commitment, *, check_digest: bool
) -> list[CommitmentItem] | None:
    """Return what we commit to, decided now unless it was; None for a stale attempt.

    Raises:
        DatabaseUnavailableError: if it could not be written; nothing may be reported then.
    """
    with database.read() as tx:
        items = commitments.items_of(tx, commitment.id)
        if commitment.decided_at is not None:
            return items
        here = {item.sop_instance_uid: instances.find(tx, item.sop_instance_uid) for item in items}
    if lacking := {uid for uid, rows in here.items() if not rows}:
        for one in _without_row(spool):
            if one.sop_instance_uid in lacking:
                here[one.sop_instance_uid].append(one)
    decided = [
        dataclasses.replace(
            item,
            failure=failure_of(
                item,
                here[item.sop_instance_uid],
                lambda one: is_whole(spool, one, check_digest=check_digest),
            ),
        )
        for item in items
    ]
    with database.begin() as tx:
        failures = [item.failure for item in decided]
        held = commitments.decide(tx, commitment.id, commitment.attempt, failures)
    return decided if held else None


def _without_row(spool: Spool) -> Iterator[Instance]:
    """Yield what was received, or is being received, and perhaps has no row yet."""
    for slot, voucher in slots.vouched(spool.root).items():
        # Who has its row by now has no slot any more, or not for long; a torn file has no name.
        with contextlib.suppress(OSError, ValueError):
            yield described(slots.path(spool.root, slot), voucher)


def is_whole(spool: Spool, instance: Instance, *, check_digest: bool) -> bool:
    """Return whether the instance's file is there, of its size and, if asked, its digest."""
    try:
        with spool.path(instance.digest).open("rb") as file:
            if file.seek(0, 2) != instance.size:
                return False
            file.seek(0)
            return not check_digest or (
                hashlib.file_digest(file, "sha256").hexdigest() == instance.digest
            )
    except OSError:
        return False
