"""Who is told what: channels and notifications."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any


class ChannelKind(enum.StrEnum):
    """How the messages of a channel travel."""

    EMAIL = "email"
    WEBHOOK = "webhook"


class Details(enum.StrEnum):
    """What the messages of a channel say of which study they are about."""

    NONE = "none"
    """Our own numbers alone; who has access here looks them up."""
    UIDS = "uids"
    """Its Study Instance UID too."""


class NotificationState(enum.StrEnum):
    """A notification's life: queued -> claimed -> sent | dead, or queued -> gathered.

    A failed claim goes back to queued; what is gathered is sent by the digest that names it.
    """

    QUEUED = "queued"
    CLAIMED = "claimed"
    GATHERED = "gathered"
    SENT = "sent"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Channel:
    """Where people, or a program of theirs, are told what happens here."""

    name: str
    kind: ChannelKind
    address: str
    """E-mail address, or URL of the webhook."""
    events: tuple[str, ...] = ()
    """Events that it is told; empty means all."""
    details: Details = Details.NONE
    enabled: bool = True
    """Disabled is a pause: what waits stays, what happens meanwhile is not told."""


@dataclass(frozen=True, slots=True)
class Notification:
    """One event that one channel is told."""

    id: int
    channel: str
    event: str
    subject: str
    """What it is about: a Study Instance UID, a node, or a number of ours."""
    delivery_id: str
    """A UUID: the same for every attempt, so that a receiver knows what it has."""
    facts: dict[str, Any]
    state: NotificationState
    attempt: int
    created_at: float
    not_before: float
    attempts_before: int = 0
    """Attempts made before the latest retry by hand; the rest count against the maximum."""
    digest_id: int | None = None
    """The notification that it was gathered in."""
    finished_at: float | None = None
    reason: str = ""
    """Why the latest attempt failed, or why it is dead."""
