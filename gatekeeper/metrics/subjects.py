"""Collectors, one a subject: each reads its facts in a short transaction and yields its metrics.

To add a subject, write such a class with families of its own in `families`, and enter it in
`subjects`. What counts since the start of the process is kept in the object; a scrape is made by
one thread at a time.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from prometheus_client.core import Metric

from gatekeeper import certificates
from gatekeeper.drift import overview
from gatekeeper.metrics import families
from gatekeeper.metrics.histogram import RECEIVE_SECONDS, WAY_SECONDS, WORK_SECONDS, Histogram
from gatekeeper.metrics.labels import Labels
from gatekeeper.metrics.tally_files import TallyReader
from gatekeeper.rules.fields import VERDICTS
from gatekeeper.settings import Settings
from storage import nodes, pauses, watch
from storage.engine import Database
from storage.spool import Spool

_SETTLED_SECONDS = 10.0
"""Longer than a transaction that keeps an instance; see `watch.Arrivals`."""
_MARKS = ("disk", "queue")
_MOST_STEPS = 40
_MOST_OF_A_KIND = 40
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Context:
    """What collectors work on."""

    settings: Settings
    database: Database
    spool: Spool
    titles: Labels
    """AE titles, of senders and of other nodes."""


class Subject(Protocol):
    """A collector."""

    name: str
    asks_database: bool

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics.

        Raises:
            SQLAlchemyError, OSError, GatekeeperError: if they cannot be had now.
        """
        ...


class Intake:
    """What came of each sender, and when it was last heard of."""

    name = "intake"
    asks_database = True

    def __init__(self, context: Context) -> None:
        limits = context.settings.metrics
        settled = _SETTLED_SECONDS if context.database.dialect == "postgresql" else 0.0
        self._database = context.database
        self._arrivals = watch.Arrivals(settled, limits.maximum_rows)
        self._devices = context.titles
        self._instances: Counter[tuple[str, ...]] = Counter()
        self._bytes: Counter[tuple[str, ...]] = Counter()
        self._latest: dict[tuple[str, ...], float] | None = None

    def collect(self) -> Iterator[Metric]:
        """See `Subject`."""
        with self._database.read() as tx:
            # First, so that nodes that are entered keep their names, whoever else there was.
            known = {self._devices.of(one.ae_title): one for one in nodes.listing(tx)}
            if self._latest is None:
                latest = watch.latest_of_senders(tx)
                self._latest = {}
                self._heard_of(latest)
            arrived = self._arrivals.look(tx)
        for device, found in arrived.items():
            label = (self._devices.of(device),)
            self._instances[label] += found.instances
            self._bytes[label] += found.size
        self._heard_of({device: found.latest_at for device, found in arrived.items()})
        enabled = {(name,): float(one.enabled) for name, one in known.items() if one.may_send}
        yield families.INSTANCES.of({**dict.fromkeys(enabled, 0), **self._instances})
        yield families.BYTES.of({**dict.fromkeys(enabled, 0), **self._bytes})
        yield families.LAST_RECEIVED.of(self._latest)
        yield families.DEVICE_ENABLED.of(enabled)

    def _heard_of(self, latest: dict[str, float]) -> None:
        known = self._latest if self._latest is not None else {}
        for device, moment in latest.items():
            label = (self._devices.of(device),)
            known[label] = max(known.get(label, 0.0), moment)


class Processes:
    """What the processes that receive have counted."""

    name = "processes"
    asks_database = False

    def __init__(self, context: Context) -> None:
        seconds = context.settings.metrics.flush_seconds
        self._reader = TallyReader(Path(context.settings.spool.directory), seconds)
        self._names = Labels(context.settings.metrics.maximum_devices)
        self._outcomes = Labels(_MOST_OF_A_KIND)
        self._statuses = Labels(_MOST_OF_A_KIND)

    def collect(self) -> Iterator[Metric]:
        """See `Subject`."""
        still_open = Counter[tuple[str, ...]]()
        sizes = Counter[tuple[str, ...]]()
        associations = Counter[tuple[str, ...]]()
        answers = Counter[tuple[str, ...]]()
        seconds: dict[tuple[str, ...], Histogram] = {}
        for found, counts in self._reader.read().items():
            name = self._names.of(found)
            still_open[name,] += counts["open"]
            sizes[name,] += counts["bytes"]
            for outcome, count in counts["associations"].items():
                associations[name, self._outcomes.of(outcome)] += count
            for status, count in counts["answers"].items():
                answers[name, self._statuses.of(status)] += count
            here = seconds.setdefault((name,), Histogram(RECEIVE_SECONDS))
            here.counts = [
                a + b for a, b in zip(here.counts, counts["seconds"].counts, strict=True)
            ]
            here.sum += counts["seconds"].sum
        yield families.PROCESS_OPEN.of(still_open)
        yield families.ASSOCIATIONS.of(associations)
        yield families.ANSWERS.of(answers)
        yield families.ANSWERED_BYTES.of(sizes)
        yield families.RECEIVE_TIME.histogram(seconds)


class Queues:
    """What waits at each stage, and for how long."""

    name = "queues"
    asks_database = True

    def __init__(self, context: Context) -> None:
        self._database = context.database

    def collect(self) -> Iterator[Metric]:
        """See `Subject`."""
        with self._database.read() as tx:
            found = watch.queues(tx)
        items = {
            (stage, state): float(count)
            for stage, queue in found.items()
            for state, count in queue.counts.items()
        }
        yield families.QUEUE_ITEMS.of(items)
        oldest = {(stage,): queue.oldest_seconds for stage, queue in found.items()}
        yield families.QUEUE_OLDEST.of(oldest)


class Verdicts:
    """What was found, and how long it took."""

    name = "verdicts"
    asks_database = True

    def __init__(self, context: Context) -> None:
        self._database = context.database
        self._ending = watch.jobs_ending()
        self._devices = context.titles
        self._verdicts: Counter[tuple[str, ...]] = Counter()
        self._steps = Labels(_MOST_STEPS)
        self._seconds: dict[tuple[str, ...], Histogram] = {}
        self._turnaround = Histogram(WAY_SECONDS)

    def collect(self) -> Iterator[Metric]:
        """See `Subject`."""
        with self._database.read() as tx:
            senders = [one.ae_title for one in nodes.listing(tx) if one.may_send]
            found = list(watch.judged(tx, self._ending.look(tx)))
        for device in map(self._devices.of, senders):
            # Prometheus sees no rise in what begins at one.
            self._verdicts.update({(device, verdict): 0 for verdict in VERDICTS})
        for one in found:
            self._verdicts[self._devices.of(one.source_ae), one.verdict] += 1
            self._turnaround.observe(one.seconds)
            for name, milliseconds in one.stages.items():
                step = (self._steps.of(name),)
                self._seconds.setdefault(step, Histogram(WORK_SECONDS)).observe(milliseconds / 1e3)
        yield families.VERDICTS.of(self._verdicts)
        yield families.TURNAROUND.histogram({(): self._turnaround})
        yield families.STAGE.histogram(self._seconds)


class Deliveries:
    """What nodes have got."""

    name = "deliveries"
    asks_database = True

    def __init__(self, context: Context) -> None:
        self._database = context.database
        self._ending = watch.deliveries_ending()
        self._nodes = context.titles
        self._deliveries: Counter[tuple[str, ...]] = Counter()
        self._seconds = Histogram(WAY_SECONDS)

    def collect(self) -> Iterator[Metric]:
        """See `Subject`."""
        with self._database.read() as tx:
            known = [one.ae_title for one in nodes.listing(tx) if one.port]
            found = list(watch.delivered(tx, self._ending.look(tx)))
        self._deliveries.update({(node,): 0 for node in map(self._nodes.of, known)})
        for one in found:
            self._deliveries[self._nodes.of(one.node),] += 1
            self._seconds.observe(one.seconds)
        yield families.DELIVERIES.of(self._deliveries)
        yield families.DELIVERY_SECONDS.histogram({(): self._seconds})


class Gate:
    """What is held."""

    name = "gate"
    asks_database = True

    def __init__(self, context: Context) -> None:
        self._database = context.database
        self._nodes = context.titles

    def collect(self) -> Iterator[Metric]:
        """See `Subject`."""
        with self._database.read() as tx:
            found = watch.holds(tx)
        held = Counter[tuple[str, ...]]()
        for node, count in found.counts.items():
            held[self._nodes.of(node),] += count
        yield families.HELD.of(held)
        if found.first_end_at is not None:
            yield families.FIRST_HOLD_END.of(found.first_end_at)


class Space:
    """Room on the disk, and whether intake is paused for want of it."""

    name = "space"
    asks_database = True

    def __init__(self, context: Context) -> None:
        self._context = context

    def collect(self) -> Iterator[Metric]:
        """See `Subject`."""
        usage = shutil.disk_usage(self._context.spool.root)
        yield families.SPOOL_FREE.of(usage.free)
        yield families.SPOOL_SIZE.of(usage.total)
        yield families.SPOOL_LOW_WATER.of(self._context.settings.spool.low_water_mib * _MIB)
        with self._context.database.read() as tx:
            paused = pauses.paused(tx)
            not_settled = watch.not_settled(tx)
        yield families.PAUSED.of({(mark,): float(mark in paused) for mark in _MARKS})
        yield families.NOT_SETTLED.of(not_settled)


class Certificates:
    """When certificates expire."""

    name = "certificates"
    asks_database = False

    def __init__(self, context: Context) -> None:
        self._tls = context.settings.tls

    def collect(self) -> Iterator[Metric]:
        """See `Subject`."""
        ends: dict[tuple[str, ...], float] = {}
        for one in certificates.in_use(self._tls):
            end = one.certificate.not_after
            ends[one.key,] = min(ends.get((one.key,), end), end)
        yield families.CERTIFICATE_END.of(ends)


class Drift:
    """Whose scores have drifted."""

    name = "drift"
    asks_database = True

    def __init__(self, context: Context) -> None:
        self._database = context.database
        self._settings = context.settings.drift
        self._devices = Labels(context.settings.metrics.maximum_devices)
        self._protocols = Labels(context.settings.metrics.maximum_devices)

    def collect(self) -> Iterator[Metric]:
        """See `Subject`."""
        with self._database.read() as tx:
            found = overview.streams(tx, self._settings)
        alarms: dict[tuple[str, ...], float] = {}
        for one in found:
            label = (self._devices.of(one.device), self._protocols.of(one.protocol))
            drifts = float(one.state == overview.DRIFTING)
            alarms[label] = max(alarms.get(label, 0.0), drifts)
        yield families.DRIFT_ALARM.of(alarms)


def subjects(context: Context) -> tuple[Subject, ...]:
    """Return the collectors of all subjects."""
    return (
        Intake(context),
        Processes(context),
        Queues(context),
        Verdicts(context),
        Deliveries(context),
        Gate(context),
        Space(context),
        Certificates(context),
        Drift(context),
    )
