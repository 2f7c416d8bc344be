"""What audit messages are derived from: associations that ended, deliveries, versions, removals.

Reads what is there anyway, so that the intake writes nothing for it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, RowMapping, and_, func, or_, select

from storage import audit_cursors
from storage.engine import facts, now
from storage.records import ConfigurationVersion
from storage.schema import (
    association,
    association_study,
    configuration_version,
    delivery,
    delivery_item,
    instance,
    job,
)

ASSOCIATIONS, VERSIONS = "associations", "configuration"
"""Names of the cursors."""

Classes = dict[str, int]
"""Instances of each SOP Class UID."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """An association, or an upload, that ended, and what it has brought.

    Attributes:
        association: its number.
        calling_ae: AE title of the sender.
        address: its literal IP address.
        ended_at: when it ended, or was last seen.
        studies: by Study Instance UID the instances that were not here before; none for a resend.
    """

    association: int
    calling_ae: str
    address: str
    ended_at: float
    studies: dict[str, Classes]


@dataclass(frozen=True, slots=True)
class Load:
    """What a delivery has to bring of one study, apart from what is left out.

    Attributes:
        study: Study Instance UID.
        stored: of instances that the node has stored.
        missing: of the others.
    """

    study: str
    stored: Classes
    missing: Classes


def begin(tx: Connection) -> None:
    """Begin where things are now: what was before is not told."""
    audit_cursors.begin(tx, ASSOCIATIONS, association.c.id)
    audit_cursors.begin(tx, VERSIONS, configuration_version.c.number)


def arrivals(tx: Connection, lease_seconds: float, limit: int) -> list[Arrival] | None:
    """Return the next associations that ended and were not told of; None before `begin`.

    Associations of one sender that were open at once and brought the same study share what is new:
    each counts what came while it was open.

    Args:
        tx: the open transaction; nothing is written.
        lease_seconds: after which an association that nobody renews has ended.
        limit: most associations.
    """
    position = audit_cursors.position(tx, ASSOCIATIONS)
    if position is None:
        return None
    column = association.c.id
    ended = or_(association.c.closed_at.is_not(None), association.c.seen_at < now() - lease_seconds)
    chosen = (
        select(association)
        .where(audit_cursors.untold(ASSOCIATIONS, column, position), ended)
        .order_by(column)
        .limit(limit)
    )
    return [_arrival(tx, row) for row in tx.execute(chosen).mappings().all()]


def tell_arrivals(tx: Connection, found: Sequence[Arrival]) -> list[Arrival]:
    """Note associations as told of, and return those that were not; to be told in this transaction.

    Until it ends nobody else tells of any.
    """
    numbers = [one.association for one in found]
    new = audit_cursors.tell(tx, ASSOCIATIONS, association.c.id, association.c.opened_at, numbers)
    return [one for one in found if one.association in new]


def versions(
    tx: Connection, limit: int
) -> list[tuple[ConfigurationVersion | None, ConfigurationVersion]]:
    """Return the next versions of the configuration, each behind the one before it."""
    position = audit_cursors.position(tx, VERSIONS)
    if position is None:
        return []
    column = configuration_version.c.number
    chosen = (
        select(configuration_version)
        .where(audit_cursors.untold(VERSIONS, column, position))
        .order_by(column)
        .limit(limit)
    )
    found = [ConfigurationVersion(**facts(row)) for row in tx.execute(chosen).mappings()]
    if not found:
        return []
    before = select(configuration_version).where(column.in_([one.number - 1 for one in found]))
    known = {row["number"]: row for row in tx.execute(before).mappings()}
    earlier = {number: ConfigurationVersion(**facts(row)) for number, row in known.items()}
    return [(earlier.get(one.number - 1), one) for one in found]


def tell_versions(tx: Connection, numbers: Sequence[int]) -> set[int]:
    """Note versions as told of, and return those that were not; see `tell_arrivals`."""
    columns = configuration_version.c.number, configuration_version.c.at
    return audit_cursors.tell(tx, VERSIONS, *columns, numbers)


def loads(tx: Connection, delivery_id: int) -> list[Load]:
    """Return what a delivery has to bring, by study; what is left out is not in it."""
    study = func.coalesce(job.c.study_instance_uid, instance.c.study_instance_uid, "")
    same = and_(
        instance.c.sop_instance_uid == delivery_item.c.sop_instance_uid,
        instance.c.digest == delivery_item.c.digest,
        delivery.c.job_id.is_(None),
    )
    query = (
        select(study, delivery_item.c.sop_class_uid, delivery_item.c.stored, func.count())
        .select_from(delivery_item)
        .join(delivery, delivery.c.id == delivery_item.c.delivery_id)
        .outerjoin(job, job.c.id == delivery.c.job_id)
        .outerjoin(instance, same)
        .where(delivery_item.c.delivery_id == delivery_id, delivery_item.c.left_out.is_(False))
        .group_by(study, delivery_item.c.sop_class_uid, delivery_item.c.stored)
    )
    stored: defaultdict[str, Classes] = defaultdict(dict)
    missing: defaultdict[str, Classes] = defaultdict(dict)
    for uid, sop_class, has, count in tx.execute(query):
        (stored if has else missing)[uid][sop_class] = count
    return [
        Load(uid, stored.get(uid, {}), missing.get(uid, {}))
        for uid in sorted({*stored, *missing} - {""})
    ]


def classes_of(tx: Connection, instance_ids: Sequence[int]) -> Classes:
    """Return how many of these instances are of each SOP class."""
    found: defaultdict[str, int] = defaultdict(int)
    for start in range(0, len(instance_ids), 500):
        some = instance.c.id.in_(instance_ids[start : start + 500])
        query = select(instance.c.sop_class_uid, func.count()).where(some)
        for sop_class, count in tx.execute(query.group_by(instance.c.sop_class_uid)):
            found[sop_class] += count
    return dict(found)


def classes_in(tx: Connection, study: str) -> Classes:
    """Return how many instances of each SOP class are here of a study, those of a prior too."""
    query = select(instance.c.sop_class_uid, func.count()).where(
        instance.c.study_instance_uid == study,
        instance.c.own_result.is_(False),
        instance.c.removed_at.is_(None),
    )
    return {row[0]: row[1] for row in tx.execute(query.group_by(instance.c.sop_class_uid))}


def _arrival(tx: Connection, row: RowMapping) -> Arrival:
    ended_at = row["closed_at"] or row["seen_at"]
    linked = select(association_study.c.study_instance_uid).where(
        association_study.c.association_id == row["id"]
    )
    studies: dict[str, Classes] = {uid: {} for uid in sorted(tx.execute(linked).scalars())}
    counted = (
        select(instance.c.study_instance_uid, instance.c.sop_class_uid, func.count())
        .where(
            instance.c.study_instance_uid.in_(list(studies)),
            instance.c.own_result.is_(False),
            instance.c.source_ae == row["calling_ae"],
            instance.c.received_at >= row["opened_at"],
            instance.c.received_at <= ended_at,
        )
        .group_by(instance.c.study_instance_uid, instance.c.sop_class_uid)
    )
    for study, sop_class, count in tx.execute(counted) if studies else ():
        studies[study][sop_class] = count
    return Arrival(row["id"], row["calling_ae"], row["address"], ended_at, studies)
