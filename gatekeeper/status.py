"""How the site stands: counts of everything that waits, runs, or is stuck, and what expires."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import Connection

from gatekeeper import certificates
from gatekeeper.errors import ConfigurationError
from gatekeeper.settings import TlsSettings
from storage import (
    audit_messages,
    commitments,
    confirmations,
    deliveries,
    forwards,
    instances,
    jobs,
    notifications,
    pauses,
    priors,
    studies,
)
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
    certificates: dict[str, int | None] = field(default_factory=dict[str, int | None])
    """Days until the first certificate of each TLS setting expires; None: it cannot be read."""
    confirmations: dict[str, int] = field(default_factory=dict[str, int])
    """Deliveries whose node is asked whether it keeps them."""
    commitments: dict[str, int] = field(default_factory=dict[str, int])
    """What nodes asked us to commit to."""
    priors: dict[str, int] = field(default_factory=dict[str, int])
    """Requests for prior studies, and the studies that they found."""
    intake_paused: dict[str, float] = field(default_factory=dict[str, float])
    """Since when, in seconds since 1970, intake is paused at which mark."""
    removed: int = 0
    """Instances whose files retention removed."""
    forwards: dict[str, int] = field(default_factory=dict[str, int])
    """Contents of studies on their way to nodes."""
    notifications: dict[str, int] = field(default_factory=dict[str, int])
    """What channels were told or are to be told."""
    audit_messages: dict[str, int] = field(default_factory=dict[str, int])
    """What the audit repository was told or is to be told, and under ``lost`` what it never is."""
    waiting_for_space: int = 0
    """Jobs that wait because a disk was full."""

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
            ("free space", f"{self.free_mib:.0f} MiB{self._short_of_space()}"),
            *((key, _expires(days)) for key, days in self.certificates.items()),
            *(
                ("intake", f"[bold red]paused[/] by the {mark} since {_moment(since)}")
                for mark, since in self.intake_paused.items()
            ),
        ]

    def _short_of_space(self) -> str:
        waiting = self.waiting_for_space
        return f", [bold red]{waiting} jobs wait for space[/]" if waiting else ""

    def _asked(self) -> list[tuple[str, str]]:
        """Return the lines of what only some sites use."""
        lines = {
            "forwards": self.forwards,
            "confirmations": self.confirmations,
            "commitments": self.commitments,
            "notifications": self.notifications,
            "priors": self.priors,
            "audit messages": self.audit_messages,
        }
        found = [(name, _counts(counts)) for name, counts in lines.items() if any(counts.values())]
        if self.removed:
            found.append(("removed", f"{self.removed} instances by retention"))
        return found


def read(database: Database, spool: Spool, tls: TlsSettings | None = None) -> Status:
    """Return the counts now, and the days left of the certificates that `tls` names."""
    with database.read() as tx:
        job_counts = jobs.counts(tx)
        delivery_counts = deliveries.counts(tx)
        return Status(
            instances=instances.count(tx),
            studies={str(state): number for state, number in studies.counts(tx).items()},
            jobs={str(state): job_counts.get(state, 0) for state in JobState},
            deliveries={str(state): delivery_counts.get(state, 0) for state in DeliveryState},
            oldest_queued_seconds=jobs.oldest_queued_seconds(tx),
            free_mib=spool.free_mib(),
            certificates={} if tls is None else _expiries(tls),
            confirmations={
                str(state): number for state, number in confirmations.counts(tx).items()
            },
            commitments={str(state): number for state, number in commitments.counts(tx).items()},
            notifications={
                str(state): number for state, number in notifications.counts(tx).items()
            },
            priors={str(state): number for state, number in priors.counts(tx).items()},
            intake_paused=pauses.paused(tx),
            removed=instances.count_removed(tx),
            forwards={str(state): number for state, number in forwards.counts(tx).items()},
            waiting_for_space=jobs.waiting_for_space(tx),
            audit_messages=_audited(tx),
        )


def _audited(tx: Connection) -> dict[str, int]:
    counts = {str(state): number for state, number in audit_messages.counts(tx).items()}
    lost = sum(one.count for one in audit_messages.drops(tx))
    return {**counts, "lost": lost} if lost else counts


def _moment(seconds: float) -> str:
    local = datetime.fromtimestamp(seconds, UTC).astimezone()
    return local.strftime("%Y-%m-%d %H:%M:%S")


def _expiries(tls: TlsSettings) -> dict[str, int | None]:
    try:
        found = certificates.in_use(tls)
    except ConfigurationError as error:
        return {error.key: None}
    days: dict[str, int | None] = {}
    # The one that lasts longest comes first, so that the first to expire stays.
    for one in sorted(found, key=lambda one: one.days, reverse=True):
        days[one.key] = one.days
    return days


def _expires(days: int | None) -> str:
    if days is None:
        return "[bold red]cannot be read[/]"
    return f"expires in {days} days" if days >= 0 else "[bold red]has expired[/]"


def _counts(counts: dict[str, int]) -> str:
    shown = [
        f"[bold red]{number} {name}[/]"
        if name in {"dead", "lost"} and number
        else f"{number} {name}"
        for name, number in counts.items()
    ]
    return ", ".join(shown) or "none"
