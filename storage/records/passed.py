"""What passes the gate or is held, and the trail of who decided."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any


class ForwardState(enum.StrEnum):
    """A forward's life: waiting -> sent | held | superseded; held -> sent | rejected | superseded.

    `sent` means that its delivery exists: what becomes of that is the delivery's state.
    """

    WAITING = "waiting"
    """For the verdict."""
    HELD = "held"
    """For a person, or the end of the maximum hold time."""
    SENT = "sent"
    REJECTED = "rejected"
    SUPERSEDED = "superseded"
    """Newer content of the study has a forward of its own."""


@dataclass(frozen=True, slots=True)
class Forward:
    """One content of a study on its way to one node, as received and byte for byte."""

    id: int
    study_instance_uid: str
    content_digest: str
    revision: int
    node: str
    gated: bool
    state: ForwardState
    created_at: float
    verdict: str = ""
    """Verdict that it was decided by, empty before."""
    reason: str = ""
    """Why it is in this state, in one sentence."""
    held_at: float | None = None
    hold_until: float | None = None
    """When the maximum hold time ends; None when it is not held."""
    decided_at: float | None = None
    decided_by: str = ""
    """Who released or rejected it: a person's name, ``rule NAME``, ``policy`` or ``hold limit``."""
    delivery_id: int | None = None
    """The delivery that brings it; None before it is sent, or when nothing was left to send."""
    warned_at: float | None = None
    """When people were told that the end of the hold is near; None before."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One line of the audit trail, chained to the one before."""

    id: int
    at: float
    actor: str
    """A person's name, ``rule NAME``, ``policy`` or ``hold limit``."""
    action: str
    study: str
    job: int | None
    detail: dict[str, Any]
    previous: str
    """Digest of the line before, 64 zeros for the first."""
    digest: str
    """SHA-256 of the canonical form of all of this but `id`."""
