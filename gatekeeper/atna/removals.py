"""Removals: retention's, one message for each study and tick, in the transaction that says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from gatekeeper.atna.events import StudyDeleted
from gatekeeper.atna.outbox import record
from gatekeeper.settings import Settings
from storage import audit_sources
from storage.engine import now
from storage.retention import Removal


@dataclass(frozen=True, slots=True)
class Removals:
    """Tells of files that retention removes; does nothing when audit messages are off."""

    settings: Settings

    def record(self, tx: Connection, study: str, removals: Sequence[Removal], reason: str) -> None:
        """Record that files of a study go; see `gatekeeper.retention.Told`."""
        if not removals or not self.settings.audit.enabled:
            return
        classes = audit_sources.classes_of(tx, [one.instance_id for one in removals])
        at = tx.execute(select(now())).scalar_one()
        event = StudyDeleted(study, classes, reason, at)
        record(tx, self.settings, event)
