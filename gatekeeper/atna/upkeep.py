"""Upkeep of the outbox: claims whose sender was lost are taken back, old messages forgotten."""

from __future__ import annotations

import functools
import random

from gatekeeper.log import get_logger
from gatekeeper.settings import AuditSettings
from storage import audit_messages, backoff
from storage.engine import Database

log = get_logger()


def tend(database: Database, audit: AuditSettings, jitter: random.Random) -> None:
    """Look after the messages that were made, also once no more are.

    Raises:
        DatabaseUnavailableError: if the database could not; the next time will do.
    """
    with database.read() as tx:
        if not audit_messages.listing(tx, limit=1):
            return
    delay = functools.partial(
        backoff.delay,
        first=audit.retry_seconds,
        maximum=audit.retry_maximum_seconds,
        jitter=jitter,
    )
    with database.begin() as tx:
        lost = audit_messages.rescue(tx, audit.maximum_attempts, delay)
        forgotten = audit_messages.forget(tx, audit.keep_days)
    if lost.requeued:
        log.warning("audit_messages_rescued", count=lost.requeued, state="queued")
    if lost.dead:
        log.error("audit_messages_rescued", count=lost.dead, state="dead")
    if forgotten:
        log.info("audit_messages_forgotten", count=forgotten)
