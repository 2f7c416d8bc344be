"""Notifications: the outbox of what channels are told, written in the transaction of the event.

So an event and its notification are one commit, and one that is told twice under the same key is
one notification. A channel sends one at a time, the oldest first, and at most so many an hour. The
last one that an hour has room for takes along everything that waits: a digest, itself a
notification, which the rows it gathered name.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, delete, exists, func, select, update

from storage import channels, leases
from storage.engine import CLOCK_STEP_SECONDS, insert, now
from storage.engine import facts as fields
from storage.leases import Rescued
from storage.records import Notification, NotificationState
from storage.schema import notification as table

DIGEST = "digest"
"""The event of a notification that tells of others."""

GATHER_LIMIT = 10_000
"""Most notifications that one digest gathers."""

_HOUR_SECONDS = 3600.0
_DAY_SECONDS = 86400.0
_FORGET_LIMIT = 10_000


def enqueue(
    tx: Connection,
    channel: str,
    event: str,
    subject: str,
    facts: Mapping[str, Any],
    dedup: str,
) -> int | None:
    """Queue a notification and return its id; None when its key was used on this channel before.

    Args:
        tx: the transaction of the event itself.
        channel: name of the channel.
        event: what happened.
        subject: what it happened to.
        facts: JSON; what the message may say.
        dedup: the same for the same event, however often it is noticed.
    """
    return tx.execute(
        insert(tx, table)
        .values(
            channel=channel,
            event=str(event),
            subject=str(subject),
            dedup=dedup,
            delivery_id=str(uuid.uuid4()),
            facts=dict(facts),
            **leases.queued_values(),
        )
        .on_conflict_do_nothing(index_elements=[table.c.channel, table.c.dedup])
        .returning(table.c.id)
    ).scalar_one_or_none()


def due_channels(tx: Connection) -> list[str]:
    """Return the names of the channels for which something is due."""
    is_due = (
        table.c.state == NotificationState.QUEUED.value,
        (table.c.not_before <= now()) | leases.clock_was_set_back(table),
        leases.not_paused(table),
    )
    query = select(table.c.channel).where(*is_due).distinct().order_by(table.c.channel)
    return list(tx.execute(query).scalars())


def room(tx: Connection, channel: str, hourly: int) -> int:
    """Return how many messages may go to a channel now, when `hourly` may in any hour."""
    lately = (
        table.c.channel == channel,
        table.c.state == NotificationState.SENT.value,
        table.c.finished_at > now() - _HOUR_SECONDS,
        # Written in the future: the clock was set back since, and the hour is not known.
        table.c.finished_at <= now() + CLOCK_STEP_SECONDS,
    )
    sent_lately = tx.execute(select(func.count()).select_from(table).where(*lately)).scalar_one()
    return max(0, hourly - sent_lately)


def claim(
    tx: Connection, channel: str, sender: str, lease_seconds: float, hourly: int
) -> Notification | None:
    """Claim what a channel is to be told next, one attempt more, or return None.

    None also while another attempt on this channel is under way, and when the hour has no room.

    Args:
        tx: the open transaction.
        channel: name of the channel.
        sender: who claims.
        lease_seconds: how long the claim holds.
        hourly: most messages in any hour; the last of them is a digest when more than one waits.
    """
    channels.lock(tx, channel)
    here = table.c.channel == channel
    under_way = here & (table.c.state == NotificationState.CLAIMED.value)
    if tx.execute(select(table.c.id).where(under_way).limit(1)).first() is not None:
        return None
    left = room(tx, channel, hourly)
    if not left:
        return None
    if left == 1:
        _gather(tx, channel)
    claimed = leases.claim_row(tx, table, sender, lease_seconds, here)
    return None if claimed is None else _notification(claimed)


def sent(tx: Connection, notification_id: int, attempt: int) -> bool:
    """Note that the channel has taken the message; False for a stale attempt."""
    return leases.finish(tx, table, notification_id, attempt, NotificationState.SENT.value)


def fail(
    tx: Connection, notification_id: int, attempt: int, reason: str, delay: float | None
) -> bool:
    """Queue it again after `delay` seconds, or for None set it aside as dead; see `leases.fail`."""
    return leases.fail(tx, table, notification_id, attempt, reason, delay)


def rescue(tx: Connection, maximum_attempts: int, delay: Callable[[int], float] | float) -> Rescued:
    """Take back notifications whose lease expired; see `leases.rescue`."""
    return leases.rescue(tx, table, maximum_attempts, delay, "sender")


def retry(tx: Connection, notification_id: int) -> bool:
    """Queue a dead notification with all its attempts before it; False when it is not dead."""
    return leases.retry(tx, table, notification_id)


def get(tx: Connection, notification_id: int) -> Notification | None:
    """Return the notification of this id, or None."""
    query = select(table).where(table.c.id == notification_id)
    row = tx.execute(query).mappings().one_or_none()
    return None if row is None else _notification(row)


def gathered(tx: Connection, digest_id: int) -> list[Notification]:
    """Return what a digest tells of, the oldest first."""
    query = select(table).where(table.c.digest_id == digest_id).order_by(table.c.id)
    return [_notification(row) for row in tx.execute(query).mappings()]


def listing(
    tx: Connection,
    state: NotificationState | None = None,
    channel: str | None = None,
    limit: int = 100,
) -> list[Notification]:
    """Return notifications, the newest first, of this state and this channel where given."""
    conditions: list[ColumnElement[bool]] = []
    if state is not None:
        conditions.append(table.c.state == state.value)
    if channel is not None:
        conditions.append(table.c.channel == channel)
    rows = leases.newest(tx, list(table.c), table, conditions, limit)
    return [_notification(row) for row in rows]


def counts(tx: Connection) -> dict[NotificationState, int]:
    """Return how many notifications are in each state."""
    found = leases.counts(tx, table)
    return {state: found.get(state.value, 0) for state in NotificationState}


def forget(tx: Connection, days: float) -> int:
    """Remove what ended more than so many days ago, with its key; return how many."""
    long_ago = table.c.finished_at < now() - days * _DAY_SECONDS
    ended = table.c.state.in_([NotificationState.SENT.value, NotificationState.DEAD.value])
    digest = table.alias("digest")
    told = exists(
        select(digest.c.id).where(
            digest.c.id == table.c.digest_id,
            digest.c.state.in_([NotificationState.SENT.value, NotificationState.DEAD.value]),
            digest.c.finished_at < now() - days * _DAY_SECONDS,
        )
    )
    member = table.alias("member")
    named = exists(select(member.c.id).where(member.c.digest_id == table.c.id))
    removed = 0
    # A digest goes once nothing names it.
    for condition in (told, long_ago & ended & ~named):
        some = select(table.c.id).where(condition).order_by(table.c.id).limit(_FORGET_LIMIT)
        removed += tx.execute(delete(table).where(table.c.id.in_(some))).rowcount
    return removed


def _gather(tx: Connection, channel: str) -> None:
    """Make one digest of everything that waits for a channel, when that is more than one."""
    waits = (
        table.c.channel == channel,
        table.c.state == NotificationState.QUEUED.value,
        table.c.event != DIGEST,
    )
    oldest = select(table.c.id).where(*waits).order_by(table.c.id).limit(GATHER_LIMIT)
    found = list(tx.execute(oldest).scalars())
    if len(found) < 2:
        return
    key = f"{DIGEST}:{found[0]}"
    digest = enqueue(tx, channel, DIGEST, channel, {}, key)
    if digest is None:
        return
    tx.execute(
        update(table)
        .where(*waits, table.c.id.between(found[0], found[-1]))
        .values(
            state=NotificationState.GATHERED.value,
            digest_id=digest,
            updated_at=now(),
            finished_at=now(),
            reason="",
        )
    )


def _notification(row: RowMapping) -> Notification:
    left_out = {"dedup", "updated_at", "claimed_at", "worker", "lease_until"}
    known = {name: value for name, value in row.items() if name not in left_out}
    return Notification(**fields(known, state=NotificationState(row["state"])))
