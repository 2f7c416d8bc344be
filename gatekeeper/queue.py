"""The queue as people handle it: pause, resume and restart, each with a line in the audit trail.

For the command line, the pages and the API alike. Each works in its caller's transaction.
"""

from __future__ import annotations

from sqlalchemy import Connection

from gatekeeper.errors import GatekeeperError
from storage import audit, queues
from storage.queues import Stage

ALL_AT_ONCE = 10_000
"""Most rows that are restarted together."""
_LONGEST_WHY = 300


class QueueRefused(GatekeeperError):
    """Something that cannot be done to the queue; says why."""


def pause(tx: Connection, stage: Stage, by: str, why: str) -> None:
    """Have a stage take up nothing new; what is under way is finished.

    Args:
        tx: the open transaction.
        stage: to pause.
        by: who pauses it.
        why: in their words.

    Raises:
        QueueRefused: without a reason, or when it is paused already.
    """
    reason = why.strip()[:_LONGEST_WHY]
    if not reason:
        raise QueueRefused("say why, so that others know when to resume it")
    if not queues.pause(tx, stage, by, reason):
        raise QueueRefused(f"{stage} is paused already")
    audit.append(tx, by, "pause", detail={"stage": stage.value, "reason": reason})


def resume(tx: Connection, stage: Stage, by: str) -> None:
    """Have a stage go on.

    Raises:
        QueueRefused: when it is not paused.
    """
    if not queues.resume(tx, stage):
        raise QueueRefused(f"{stage} is not paused")
    audit.append(tx, by, "resume", detail={"stage": stage.value})


def restart(tx: Connection, stage: Stage, number: int, by: str) -> None:
    """Give what was given up all its attempts again.

    Raises:
        QueueRefused: when it is not there, or was not given up.
    """
    if not queues.restart(tx, stage, number):
        raise QueueRefused(f"{stage} {number} is not among what was given up")
    audit.append(tx, by, "restart", detail={"stage": stage.value, "number": number})


def restart_all(tx: Connection, stage: Stage, by: str) -> int:
    """Do so for all that a stage gave up, the oldest first, and return how many there were."""
    numbers = queues.dead(tx, stage, ALL_AT_ONCE)
    done = sum(queues.restart(tx, stage, number) for number in numbers)
    if done:
        audit.append(tx, by, "restart", detail={"stage": stage.value, "count": done})
    return done
