"""Past: the studies that were judged, read in parts, each as its newest job judged it."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from gatekeeper.backtest.rates import Said
from gatekeeper.backtest.reviews import said_of
from gatekeeper.backtest.stored import EvidenceError, StoredStudy, stored_study
from storage import settled
from storage.engine import Database
from storage.settled import Settled

AT_ONCE = 200
"""Studies read in one transaction, so that memory stays small and nobody is kept waiting."""


@dataclass(slots=True)
class Past:
    """What is looked back on.

    Attributes:
        database: of the site.
        since: seconds since the epoch.
        limit: most studies.
        left_out: reason -> studies whose evidence cannot be judged again.
    """

    database: Database
    since: float = 0.0
    limit: int = 100_000
    left_out: Counter[str] = field(default_factory=Counter[str])

    def studies(self) -> Iterator[tuple[Settled, StoredStudy]]:
        """Yield them, the newest first; those that cannot be judged again are counted."""
        before: int | None = None
        read = 0
        while read < self.limit:
            with self.database.read() as tx:
                rows = settled.newest(
                    tx, before=before, since=self.since, limit=min(AT_ONCE, self.limit - read)
                )
            if not rows:
                return
            read += len(rows)
            before = rows[-1].outcome.job_id
            for row in rows:
                try:
                    yield row, stored_study(row.study_instance_uid, row.content_digest, row.outcome)
                except EvidenceError:
                    self.left_out["evidence of another version"] += 1


def latest(database: Database, limit: int) -> tuple[list[StoredStudy], dict[int, Said]]:
    """Return the studies of the latest jobs, the newest first, with reviewers' words on them.

    Args:
        database: of the site.
        limit: most jobs that are read; what cannot be judged again is left out.
    """
    with database.read() as tx:
        rows = settled.latest(tx, limit)
        said = said_of(tx, min((row.outcome.job_id for row in rows), default=0))
    studies: list[StoredStudy] = []
    for row in rows:
        with contextlib.suppress(EvidenceError):
            studies.append(stored_study(row.study_instance_uid, row.content_digest, row.outcome))
    return studies, said
