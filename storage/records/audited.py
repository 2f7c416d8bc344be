"""What an audit repository is told: DICOM audit messages and what was lost of them."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class AuditMessageState(enum.StrEnum):
    """An audit message's life: queued -> claimed -> sent | dead; a failed claim: queued again."""

    QUEUED = "queued"
    CLAIMED = "claimed"
    SENT = "sent"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class AuditMessage:
    """One DICOM audit message (PS3.15 A.5) for the site's audit repository."""

    id: int
    event: str
    """Which message of PS3.15 A.5.3 it is."""
    subject: str
    """What it is about: a Study Instance UID, a node, a role, a person."""
    happened_at: float
    severity: int
    """As syslog counts (RFC 5424 6.2.1)."""
    content: str
    """The XML, which may name a patient: for the repository, never for a log."""
    state: AuditMessageState
    attempt: int
    created_at: float
    not_before: float
    attempts_before: int = 0
    """Attempts made before the latest retry by hand; the rest count against the maximum."""
    finished_at: float | None = None
    reason: str = ""
    """Why the latest attempt failed, or why it is dead."""


@dataclass(frozen=True, slots=True)
class AuditDrop:
    """Audit messages of one event that found the outbox full and were not kept."""

    event: str
    count: int
    first_at: float
    last_at: float
