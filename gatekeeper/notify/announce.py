"""Announcing: an event enters the outbox of every channel that wants it, in its own transaction."""

from __future__ import annotations

from sqlalchemy import Connection

from gatekeeper.notify.events import Happening, facts_of, subject_of
from storage import channels, notifications


def announce(tx: Connection, happening: Happening, key: str) -> int:
    """Have people told of an event; return how many channels are.

    Nobody is called here: the rows are of the caller's transaction, and `gatekeeper send` sends
    what was committed.

    Args:
        tx: the transaction of the event itself.
        happening: what happened.
        key: which of its kind; the same however often it is noticed. A channel is told once.

    Raises:
        IdentifierError, ValueError: if a fact is not what its name says.
    """
    facts = facts_of(happening)
    made = (
        notifications.enqueue(
            tx,
            channel.name,
            happening.event,
            subject_of(facts),
            facts,
            f"{happening.event}:{key}",
        )
        for channel in channels.wanting(tx, happening.event)
    )
    return sum(one is not None for one in made)
