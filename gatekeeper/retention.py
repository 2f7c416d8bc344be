"""Retention: received files go by age or for space, and only what is delivered.

What may go is told by `storage.retention`: nothing undelivered, unconfirmed, in conflict, promised
to a scanner, or held for a person. Off unless `retention.days` or `retention.free_mib` is set. The
rows stay, so that a study's history is whole; an instance that is sent again is taken again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import Connection

from gatekeeper.log import get_logger
from gatekeeper.rules.verdict import Verdict
from gatekeeper.settings import RetentionSettings
from storage import retention
from storage.engine import Database
from storage.retention import Removal
from storage.spool import Spool

HELD = (Verdict.SUSPECT.value,)
"""Verdicts that keep a study for the person who is to look at it."""

_DAY_SECONDS = 86400.0
_STUDIES_AT_ONCE = 500
"""Most studies of one tick; the rest waits for the next."""
_FILES_AT_ONCE = 50
"""Files unlinked in one transaction, which on SQLite keeps every other writer waiting."""
_LEFT_AT_ONCE = 10_000

Told = Callable[[Connection, str, Sequence[Removal], str], None]
"""Takes the transaction, the study, what of it goes, and which limit asked for it."""

log = get_logger()


def _nobody(_tx: Connection, _study: str, _removals: Sequence[Removal], _reason: str) -> None:
    """Tell nobody."""


def retain(
    database: Database, spool: Spool, limits: RetentionSettings, told: Told = _nobody
) -> int:
    """Remove the files that are due; return how many. May be killed, and run twice at once.

    Args:
        database: of the site.
        spool: of the files.
        limits: which are due.
        told: what is to go, in the transaction that says so.

    Raises:
        DatabaseUnavailableError, OSError: in trouble; it goes on where it was at the next call.
    """
    with database.read() as tx:
        left = retention.pending(tx, _LEFT_AT_ONCE)
    removed = _unlink(database, spool, left)
    if limits.days:
        age = limits.days * _DAY_SECONDS
        for study in _candidates(database, age):
            removed += _remove(database, spool, study, age, "age", told)
        for study in _priors(database, age):
            removed += _remove_prior(database, spool, study, age, "age", told)
    if limits.free_mib and spool.free_mib() < limits.free_mib:
        for study in _priors(database, 0.0):
            removed += _remove_prior(database, spool, study, 0.0, "space", told)
            if spool.free_mib() >= limits.free_mib:
                return removed
        for study in _candidates(database, 0.0):
            removed += _remove(database, spool, study, 0.0, "space", told)
            if spool.free_mib() >= limits.free_mib:
                return removed
        log.warning("retention_cannot_free_enough", limit=limits.free_mib)
    return removed


def _candidates(database: Database, age: float) -> list[str]:
    with database.read() as tx:
        return retention.candidates(tx, age, HELD, _STUDIES_AT_ONCE)


def _remove(
    database: Database, spool: Spool, study: str, age: float, reason: str, told: Told
) -> int:
    with database.begin() as tx:
        marked = retention.mark(tx, study, age, HELD)
        told(tx, study, marked, reason)
    removed = _unlink(database, spool, marked)
    if removed:
        log.info("study_files_removed", study=study, instances=removed, reason=reason)
    return removed


def _priors(database: Database, age: float) -> list[str]:
    with database.read() as tx:
        return retention.prior_candidates(tx, age, _STUDIES_AT_ONCE)


def _remove_prior(
    database: Database, spool: Spool, study: str, age: float, reason: str, told: Told
) -> int:
    with database.begin() as tx:
        marked = retention.mark_prior(tx, study, age)
        told(tx, study, marked, reason)
    removed = _unlink(database, spool, marked)
    if removed:
        log.info("prior_files_removed", study=study, instances=removed, reason=reason)
    return removed


def _unlink(database: Database, spool: Spool, removals: Sequence[Removal]) -> int:
    """Unlink files whose rows say that they are gone; return how many were there."""
    unlinked = 0
    for start in range(0, len(removals), _FILES_AT_ONCE):
        with database.begin() as tx:
            # In the order of the UIDs, so that two of us wait for each other in one direction.
            some = removals[start : start + _FILES_AT_ONCE]
            for one in sorted(some, key=lambda removal: removal.sop_instance_uid):
                if retention.hold(tx, one):
                    unlinked += spool.remove(one.digest)
                    retention.forget(tx, one)
    return unlinked
