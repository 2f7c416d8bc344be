"""When a call that failed is made again: after a growing delay, and not for ever."""

from __future__ import annotations

import random

from gatekeeper.settings import (
    AuditSettings,
    CommitmentSettings,
    NotifySettings,
    PriorSettings,
    SendSettings,
)
from storage import backoff

# Not for secrets: jitter keeps failed calls from coming back together.
_JITTER = random.Random()  # noqa: S311


def delay_after(
    made: int,
    limit: int,
    settings: SendSettings | CommitmentSettings | NotifySettings | PriorSettings | AuditSettings,
) -> float | None:
    """Return the seconds until the next attempt; None once `limit` attempts were made."""
    if made >= limit:
        return None
    return growing(made, settings.retry_seconds, settings.retry_maximum_seconds)


def growing(made: int, first: float, maximum: float) -> float:
    """Return the seconds after `made` attempts; see `storage.backoff`."""
    return backoff.delay(made, first, maximum, _JITTER)
