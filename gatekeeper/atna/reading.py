"""Reading: who asks and fetches by DICOMweb.

A query is recorded before it is answered. A retrieval begins with a message before its first byte;
what was given is a message after `audit.repeat_seconds`, by caller and study, since viewers fetch a
study picture by picture. Where the outbox cannot be written to, the log says so and the caller is
answered all the same.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from gatekeeper.atna.codes import RoleId
from gatekeeper.atna.events import InstancesAccessed, Query, Transfer, entity
from gatekeeper.atna.gathering import Gathered, Gathering
from gatekeeper.atna.message import Participant, counted
from gatekeeper.atna.outbox import told
from gatekeeper.settings import Settings
from storage.engine import Database

LONGEST_QUERY = 8192
"""Characters of a query that are told."""
MOST_READINGS = 1000
"""Callers and studies gathered at once."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads: the name of its token, the AE title of its node where it has one, its address."""

    name: str
    node: str
    address: str

    def participant(self, role: RoleId) -> Participant:
        """Return it as who asked for what happens."""
        alternative = f"AETITLE={self.node}" if self.node else ""
        return Participant(self.name, True, role, alternative, address=self.address)


@dataclass(frozen=True, slots=True)
class _Reading:
    reader: Reader
    study: str


class Readings:
    """Tells of queries and retrievals.

    Args:
        database: of the outbox.
        settings: of the site.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._began: dict[tuple[_Reading, bool], float] = {}
        self._gathering = Gathering(
            database, settings, self._given, at_once=False, most=MOST_READINGS
        )

    def start(self) -> None:
        """Start telling."""
        self._gathering.start()

    def stop(self, seconds: float) -> None:
        """Tell what is left to tell, in so many seconds at most."""
        self._gathering.stop(seconds)

    def query(self, reader: Reader, path: str, query: str, matches: int) -> None:
        """Tell of a query that is about to be answered; blocks for a transaction."""
        audit = self._settings.audit
        if not (audit.enabled and audit.queries):
            return
        asking = reader.participant(RoleId.SOURCE)
        event = Query(asking, path, query[:LONGEST_QUERY], matches, time.time())
        told(self._database, self._settings, event)

    def look(self, reader: Reader, study: str, sop_classes: Iterable[str]) -> None:
        """Tell that headers of a study are about to be given; blocks for a transaction at most."""
        if not self._is_new(_Reading(reader, study), whole=False):
            return
        event = InstancesAccessed(
            reader.name, reader.address, time.time(), study, counted(sop_classes)
        )
        told(self._database, self._settings, event)

    def begin(self, reader: Reader, study: str, sop_classes: Iterable[str]) -> None:
        """Tell that instances are about to be given; blocks for a transaction at most."""
        if not self._is_new(_Reading(reader, study), whole=True):
            return
        event = Transfer(
            self._source(),
            reader.participant(RoleId.DESTINATION),
            study,
            counted(sop_classes),
            time.time(),
            begins=True,
        )
        told(self._database, self._settings, event)

    def given(self, reader: Reader, study: str, sop_classes: Iterable[str]) -> None:
        """Note which instances were given; never waits."""
        if counts := counted(sop_classes):
            self._gathering.add(_Reading(reader, study), counts)

    def _given(self, reading: _Reading, gathered: Gathered) -> Transfer:
        return Transfer(
            self._source(),
            reading.reader.participant(RoleId.DESTINATION),
            reading.study,
            dict(gathered.counts),
            gathered.last_at,
        )

    def _source(self) -> Participant:
        return entity(self._settings.listen.ae_title, requestor=False, role=RoleId.SOURCE)

    def _is_new(self, reading: _Reading, *, whole: bool) -> bool:
        """Return whether a reading was not told of for a while."""
        if not self._settings.audit.enabled:
            return False
        now = time.monotonic()
        # One step each, so that threads need no lock; two at once tell twice at worst.
        if self._began.get((reading, whole), 0.0) > now:
            return False
        if len(self._began) >= MOST_READINGS:
            self._began = {key: until for key, until in self._began.items() if until > now}
        if len(self._began) >= MOST_READINGS:
            self._began = {}
        self._began[reading, whole] = now + self._settings.audit.repeat_seconds
        return True
