"""How the site stands: counts of everything that waits, runs, or is stuck."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime

from storage import commitments, confirmations, deliveries, instances, jobs, pauses, studies
from storage.engine import Database
from storage.records import DeliveryState, JobState
from storage.spool import Spool


@dataclass(frozen=True, slots=True)
class Status:
    """Counts at one moment."""

    instances: int
    studies: dict[str, int]
    jobs: dict[str, int]
    deliveries: dict[str, int]
    oldest_queued_seconds: float | None
    free_mib: float
    confirmations: dict[str, int] = field(default_factory=dict[str, int])
    """Deliveries whose node is asked whether it keeps them."""
    commitments: dict[str, int] = field(default_factory=dict[str, int])
    """What nodes asked us to commit to."""
    intake_paused: dict[str, float] = field(default_factory=dict[str, float])
    """Since when, in seconds since 1970, intake is paused at which mark."""
    removed: int = 0
    """Instances whose files retention removed."""

    def lines(self) -> list[tuple[str, str]]:
        """Return name and text of each line for a person; what is stuck is marked."""
        waiting = (
            ""
            if self.oldest_queued_seconds is None
            else f", oldest {self.oldest_queued_seconds:.0f} s"
        )
        return [
            ("instances", str(self.instances)),
            ("studies", _counts(self.studies)),
            ("jobs", _counts(self.jobs) + waiting),
            ("deliveries", _counts(self.deliveries)),
            *self._asked(),
            ("free space", f"{self.free_mib:.0f} MiB"),
            *(
                ("intake", f"[bold red]paused[/] by the {mark} since {_moment(since)}")
                for mark, since in self.intake_paused.items()
            ),
        ]

    def _asked(self) -> list[tuple[str, str]]:
        """Return the lines of what only some sites use."""
        lines = {"confirmations": self.confirmations, "commitments": self.commitments}
        found = [(name, _counts(counts)) for name, counts in lines.items() if any(counts.values())]
        if self.removed:
            found.append(("removed", f"{self.removed} instances by retention"))
        return found


def read(database: Database, spool: Spool) -> Status:
    """Return the counts now."""
    with database.read() as tx:
        job_counts = jobs.counts(tx)
        delivery_counts = deliveries.counts(tx)
        return Status(
            instances=instances.count(tx),
            studies=dict(Counter(str(study.state) for study in studies.listing(tx, limit=100_000))),
            jobs={str(state): job_counts.get(state, 0) for state in JobState},
            deliveries={str(state): delivery_counts.get(state, 0) for state in DeliveryState},
            oldest_queued_seconds=jobs.oldest_queued_seconds(tx),
            free_mib=spool.free_mib(),
            confirmations={
                str(state): number for state, number in confirmations.counts(tx).items()
            },
            commitments={str(state): number for state, number in commitments.counts(tx).items()},
            intake_paused=pauses.paused(tx),
            removed=instances.count_removed(tx),
        )


def _moment(seconds: float) -> str:
    local = datetime.fromtimestamp(seconds, UTC).astimezone()
    return local.strftime("%Y-%m-%d %H:%M:%S")


def _counts(counts: dict[str, int]) -> str:
    shown = [
        f"[bold red]{number} {name}[/]" if name == "dead" and number else f"{number} {name}"
        for name, number in counts.items()
    ]
    return ", ".join(shown) or "none"
