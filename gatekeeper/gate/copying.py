"""Copying: nodes that are not gated get instances as they are received.

Nothing is waited for: no completeness, no verdict, no worker, no model and no rule. What a node has
a delivery for, whatever became of it, is not copied again.
"""

from __future__ import annotations

from collections.abc import MutableMapping

from gatekeeper.log import get_logger
from storage import copies, forwards, nodes
from storage.engine import Database
from storage.records import Forward, ForwardState

log = get_logger()

_BATCHES = 10
"""Deliveries of one study to one node in one call, so that a large one delays no other."""

Seen = MutableMapping[tuple[str, str], float]
"""AE title and Study Instance UID -> when the study was last added to as all of it was copied."""


def copy(database: Database, instances_at_once: int, forwards_at_once: int, seen: Seen) -> int:
    """Make the deliveries that are due and return how many instances are in them.

    Args:
        database: of the site.
        instances_at_once: most instances in one delivery.
        forwards_at_once: most complete studies.
        seen: what need not be looked at again; kept by the caller from one call to the next, and
            right whatever is lost of it.

    Raises:
        DatabaseUnavailableError: in trouble; the next call goes on.
    """
    with database.read() as tx:
        takers = [
            node.ae_title for node in nodes.listing(tx) if node.receives_studies and not node.gated
        ]
        arriving = copies.arriving(tx) if takers else []
        complete = forwards.to_copy(tx, forwards_at_once)
    now = {
        (node, study.study_instance_uid): study.last_received_at
        for node in takers
        for study in arriving
    }
    for gone in seen.keys() - now.keys():
        del seen[gone]
    copied = 0
    for (node, study), at in now.items():
        if seen.get((node, study)) == at:
            continue
        count, _, left = _copy(database, node, study, instances_at_once)
        copied += count
        if not left:
            seen[node, study] = at
    for forward in complete:
        copied += _finish(database, forward, instances_at_once)
    return copied


def _copy(database: Database, node: str, study: str, at_once: int) -> tuple[int, int | None, bool]:
    """Copy what can be copied of a study; return how much, the last delivery, and if some waits."""
    copied, delivery = 0, None
    for _ in range(_BATCHES):
        # A look first, for most times there is nothing to write.
        with database.read() as tx:
            due = copies.missing(tx, node, study, 1, settled_only=True)
            left = copies.settling(tx, node, study) > 0
        if not due:
            return copied, delivery, left
        with database.begin() as tx:
            copies.lock(tx, node, study)
            batch = copies.missing(tx, node, study, at_once, settled_only=True)
            made = forwards.send(tx, node, batch)
        if made is None:
            continue
        delivery = made
        copied += len(batch)
        log.info("study_copied", study=study, node=node, instances=len(batch), delivery=made)
    return copied, delivery, True


def _finish(database: Database, forward: Forward, at_once: int) -> int:
    """Copy the rest of a complete study, and write down that all of it is on its way."""
    node, study = forward.node, forward.study_instance_uid
    copied, delivery, left = _copy(database, node, study, at_once)
    if not left:
        with database.begin() as tx:
            reason = forward.reason or "As received."
            forwards.move(tx, forward, ForwardState.SENT, reason, delivery_id=delivery)
    return copied
