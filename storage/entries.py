"""Entries: what one received file adds to the books, as data, and the adding of it.

The file is not named in it by its path but by its slot and its digest, so an entry can be handed to
another process (`storage.recorder`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlalchemy import Connection

from storage import failpoint, instances, outcomes, unsettled
from storage.instances import Recorded
from storage.records import Instance
from storage.unsettled import Unsettled


@dataclass(frozen=True, slots=True)
class Bearer:
    """The association that brings an instance.

    Attributes:
        id: of its row; None as long as it has none.
        calling_ae: AE title of the peer.
        address: literal IP address of the peer.
        linked: whether it is linked with the study already.
    """

    id: int | None
    calling_ae: str
    address: str
    linked: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """One received file.

    Attributes:
        slot: under whose name its bytes are.
        instance: what it is. Whether it is one of our own results is looked up besides.
        bearer: who brings it; None to note nobody.
        vouched: whether the file says as much of itself; then ``unsettled`` need not know the slot.
    """

    slot: str
    instance: Instance
    bearer: Bearer | None
    vouched: bool = False

    @property
    def order(self) -> str:
        """Its place in a transaction: studies are locked in the same order by every process, so
        none waits for another in a ring."""
        return f"{self.instance.study_instance_uid} {self.instance.sop_instance_uid}"


@dataclass(frozen=True, slots=True)
class Entered:
    """What was found on entering.

    Attributes:
        recorded: see there.
        association: row of the bearer, made if it had none; None without a bearer.
        own_result: whether the instance is one of our own results.
    """

    recorded: Recorded
    association: int | None
    own_result: bool


def of_result(result: Entered | Exception) -> Entered:
    """Return what was found on entering one of several.

    Raises:
        Exception: why it was not entered, if that is its result.
    """
    if isinstance(result, Exception):
        raise result
    return result


def enter(tx: Connection, entry: Entry) -> Entered:
    """Add an entry to the books. Adding it again, since an answer was lost, is harmless: at most an
    association is noted twice, of which one ends with its lease."""
    instance, bearer = entry.instance, entry.bearer
    row = None
    if bearer is not None:
        row = bearer.id
        if row is None:
            row = instances.open_association(tx, bearer.calling_ae, bearer.address)
    if not instance.own_result and _is_own(tx, instance.sop_instance_uid):
        instance = replace(instance, own_result=True)
    linked = bearer is None or bearer.linked
    recorded = instances.record(tx, instance, None if linked else row)
    if not entry.vouched:
        unsettled.add(
            tx, Unsettled(entry.slot, instance.sop_instance_uid, instance.digest, recorded.new)
        )
    failpoint.reached("receive.committing", instance.study_instance_uid)
    return Entered(recorded, row, instance.own_result)


def _is_own(tx: Connection, sop_instance_uid: str) -> bool:
    """Return whether we made an object of this UID; all of ours are derived from UUIDs."""
    return sop_instance_uid.startswith("2.25.") and outcomes.is_own_result(tx, sop_instance_uid)
