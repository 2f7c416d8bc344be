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
    """What one association, or one upload, that ended has brought of one study.

    Attributes:
        association: its number.
        calling_ae: AE title of the sender.
        address: its literal IP address.
        ended_at: when it ended, or was last seen.
        study: Study Instance UID.
        classes: of instances that were not here before; none for a mere resend.
    """

    association: int
    calling_ae: str
    address: str
    ended_at: float
    study: str
    classes: Classes


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


def arrivals(tx: Connection, lease_seconds: float, limit: int) -> list[Arrival]:
    """Return what the next associations that ended have brought, and note that it was told.

    To be told of in the same transaction. Associations of one sender that were open at once and
    brought the same study share what is new: each counts what came while it was open.

    Args:
        tx: the open transaction.
        lease_seconds: after which an association that nobody renews has ended.
        limit: most associations.
    """
    column = association.c.id
    position = audit_cursors.begin(tx, ASSOCIATIONS, column)
    ended = or_(association.c.closed_at.is_not(None), association.c.seen_at < now() - lease_seconds)
    chosen = (
        select(association)
        .where(audit_cursors.untold(ASSOCIATIONS, column, position), ended)
        .order_by(column)
        .limit(limit)
    )
    rows = tx.execute(chosen).mappings().all()
    found = [arrival for row in rows for arrival in _arrivals(tx, row)]
    items = [row["id"] for row in rows]
    audit_cursors.tell(tx, ASSOCIATIONS, column, association.c.opened_at, position, items)
    return found


def versions(
    tx: Connection, limit: int
) -> list[tuple[ConfigurationVersion | None, ConfigurationVersion]]:
    """Return the next versions of the configuration, each behind the one before it.

    They are noted as told, which is to be done in the same transaction.
    """
    column = configuration_version.c.number
    position = audit_cursors.begin(tx, VERSIONS, column)
    chosen = (
        select(configuration_version)
        .where(audit_cursors.untold(VERSIONS, column, position))
        .order_by(column)
        .limit(limit)
    )
    found = [ConfigurationVersion(**facts(row)) for row in tx.execute(chosen).mappings()]
    numbers = [one.number for one in found]
    audit_cursors.tell(tx, VERSIONS, column, configuration_version.c.at, position, numbers)
    if not found:
        return []
    before = select(configuration_version).where(column.in_([number - 1 for number in numbers]))
    known = {row["number"]: row for row in tx.execute(before).mappings()}
    earlier = {number: ConfigurationVersion(**facts(row)) for number, row in known.items()}
    return [(earlier.get(one.number - 1), one) for one in found]


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


def _arrivals(tx: Connection, row: RowMapping) -> list[Arrival]:
    ended_at = row["closed_at"] or row["seen_at"]
    linked = select(association_study.c.study_instance_uid).where(
        association_study.c.association_id == row["id"]
    )
    counted = (
        select(instance.c.study_instance_uid, instance.c.sop_class_uid, func.count())
        .where(
            instance.c.study_instance_uid.in_(linked),
            instance.c.own_result.is_(False),
            instance.c.source_ae == row["calling_ae"],
            instance.c.received_at >= row["opened_at"],
            instance.c.received_at <= ended_at,
        )
        .group_by(instance.c.study_instance_uid, instance.c.sop_class_uid)
    )
    classes: defaultdict[str, Classes] = defaultdict(dict)
    for study, sop_class, count in tx.execute(counted):
        classes[study][sop_class] = count
    return [
        Arrival(
            row["id"], row["calling_ae"], row["address"], ended_at, study, classes.get(study, {})
        )
        for study in sorted(tx.execute(linked).scalars())
    ]
