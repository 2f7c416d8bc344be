"""The fault campaign: a real site under load, its processes killed and its surroundings cut.

Every role is a process, as `gatekeeper up` runs them; scanners are DCMTK's storescu and a sender of
ours; the archive is Orthanc. While studies flow, every process gets a life of random length, and
archive, database and disk are taken away for a while, one after the other. Then all is left in
peace, and once nothing waits any more, or the time for that is over, the books are balanced.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from gatekeeper import config, supervise
from gatekeeper.demo.site import free_port
from gatekeeper.supervise import Supervisor
from storage import failpoint, nodes
from storage.engine import Database, DatabaseUnavailableError
from storage.records import Node
from storage.schema import metadata
from storage.spool import Spool
from support.audit import faults_found, unsettled
from support.disturbances import (
    Cut,
    Disk,
    Reaper,
    orthanc_gone,
    orthanc_silent,
    postgres_gone,
    sqlite_locked,
)
from support.files import written_files
from support.gate import listening
from support.orthanc import Orthanc
from support.postgres import PostgresServer
from support.scanners import (
    Journal,
    Scanner,
    StorescuScanner,
    TransportScanner,
)
from support.small_bundle import small_bundle
from support.waiting import until

OBJECTS = ("report", "plain-report", "segmentation", "parametric-map", "presentation")
"""Kinds of result that the archive takes: many, small and quickly made."""
_LOOK_SECONDS = 0.1
_START_SECONDS = 10.0
_QUEUE = (100, 90)
"""Jobs waiting at which the listener rejects and accepts again: the end has no long queue."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how hard.

    Attributes:
        kills: processes to kill.
        seed: of lives, cuts and studies. The order of events is the machine's.
        seconds: longest time of disturbance, however few kills there were; they are spread over it.
            A cut that is under way at its end is ended first.
        rest_seconds: longest time after that until everything is at its end; what is not, is a
            fault. A cut that overran takes its time from this.
        scanners: how many of them; every third is storescu, the first among them.
        workers: worker processes.
        listeners: processes that share the listener's port; those of more than one are killed, too.
        cut_seconds: two thirds of the mean length of a cut.
        calm_seconds: mean time between two.
        disk_mib: size of the spool's file system, where it may be mounted.
    """

    kills: int
    seed: int
    seconds: float = 600.0
    rest_seconds: float = 600.0
    scanners: int = 3
    workers: int = 2
    listeners: int = 2
    cut_seconds: float = 1.5
    calm_seconds: float = 6.0
    disk_mib: int = 1024


@dataclass(slots=True)
class Report:
    """What a campaign did and found."""

    plan: Plan
    counts: Counter[str] = field(default_factory=Counter[str])
    faults: list[str] = field(default_factory=list[str])
    seconds: float = 0.0
    log: str = ""

    def of(self, kind: str) -> int:
        """Return how many kills (`killed`) or cuts (`cut`) there were."""
        return sum(n for name, n in self.counts.items() if name.startswith(f"{kind}: "))


def run(
    plan: Plan,
    folder: Path,
    url: str,
    archive: Orthanc,
    server: PostgresServer | None = None,
    report: Report | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Report:
    """Run a campaign in an empty `folder` and return what was found.

    It takes a minute at most to come up, the plan's two times, and what the audit takes to read
    everything once. However it ends, `report` holds what was counted until then.

    Args:
        plan: how hard.
        folder: for the spool, the models, the scanners' files and the log.
        url: an empty or fresh database.
        archive: an empty Orthanc.
        server: the PostgreSQL server of `url`, to be stopped and started.
        report: to be filled in; None makes one.
        tell: told several times a second how far it is.
    """
    started = time.monotonic()
    folder.mkdir(exist_ok=True)
    small_bundle(folder / "models", "campaign", default=True)
    disk = Disk(folder / "spool", folder / "full", plan.disk_mib)
    database = Database.connect(url, lock_seconds=30)
    journal = Journal()
    report = Report(plan) if report is None else report
    chance = random.Random(plan.seed)
    port = free_port()
    try:
        database.migrate()
        with _running(plan, folder, url, port, disk.failpoint) as supervisor:
            until(lambda: listening(port), 60, "the listener is up")
            scanners = _scanners(plan, folder, port, journal)
            _enter_nodes(database, scanners, archive)
            for scanner in scanners:
                scanner.start()
            reaper = Reaper(lambda: supervisor.process_ids, chance)
            cuts: dict[str, Cut] = {
                "archive killed": lambda: orthanc_gone(archive),
                "disk full": disk.full,
                "database cut": lambda: (
                    postgres_gone(server) if server is not None else sqlite_locked(url)
                ),
                "archive silent": lambda: orthanc_silent(archive),
            }
            began = time.monotonic()

            def say(text: str) -> None:
                report.counts |= _counted(reaper, journal)
                tell(
                    f"{report.of('killed')} of {plan.kills} kills, {report.of('cut')} cuts, "
                    f"{len(journal.acknowledged)} acknowledged, {text}"
                )

            _disturb(plan, port, reaper, cuts, chance, report, say)
            disturbed = time.monotonic()
            report.counts["seconds of disturbance"] = round(disturbed - began)
            deadline = began + plan.seconds + plan.rest_seconds
            report.faults += come_to_rest(scanners, database, deadline, say)
            report.counts["seconds to come to rest"] = round(time.monotonic() - disturbed)
            say("stopping the roles")
        say("balancing the books")
        report.faults += faults_found(journal, database, Spool(folder / "spool"), archive)
        _count(report, database, archive)
        report.counts["spool mounted"] = int(disk.mounted)
        report.counts["MiB in the spool"] = _size_mib(folder / "spool")
    except BaseException as error:
        # The error itself is the caller's; what was counted until now is reported, too.
        report.faults.append(f"broken off, the books are not balanced: {type(error).__name__}")
        raise
    finally:
        report.seconds = time.monotonic() - started
        events = folder / "events.log"
        report.log = events.read_text(errors="replace") if events.exists() else ""
        database.dispose()
        disk.close()
    return report


@contextmanager
def _running(plan: Plan, folder: Path, url: str, port: int, points: str) -> Generator[Supervisor]:
    """Run every role; one that dies is started again at once."""
    environment = _environment(plan, folder, url, port)
    if points:
        environment[failpoint.VARIABLE] = points
    settings = config.load(None, environment=environment)
    roles = [
        role
        for role in supervise.roles(settings, None)
        for _ in range(plan.workers if role.name == "work" else 1)
    ]
    with (folder / "events.log").open("ab") as events:
        supervisor = Supervisor(
            roles,
            environment=environment,
            first_delay_seconds=0.05,
            longest_delay_seconds=0.2,
            standard_error=events,
        )
        thread = threading.Thread(target=supervisor.run, name="supervisor")
        thread.start()
        try:
            yield supervisor
        finally:
            supervisor.stop()
            thread.join()


def _environment(plan: Plan, folder: Path, url: str, port: int) -> dict[str, str]:
    """Return the roles' settings: short leases and delays, so that much happens in a minute."""
    import os

    chosen: dict[str, object] = {
        "DATABASE_URL": url,
        "DATABASE_LOCK_SECONDS": 0.4,
        "LISTEN_PROCESSES": plan.listeners,
        "SPOOL_DIRECTORY": folder / "spool",
        "WEB_PORT": 0,
        "SPOOL_LOW_WATER_MIB": 0,
        "LISTEN_HOST": "127.0.0.1",
        "LISTEN_PORT": port,
        "LISTEN_QUIET_SECONDS": 1,
        "LISTEN_ASSOCIATION_LEASE": 2,
        "LISTEN_PATIENCE_SECONDS": 20,
        "LISTEN_STOP_SECONDS": 2,
        "LISTEN_QUEUE_HIGH": _QUEUE[0],
        "LISTEN_QUEUE_LOW": _QUEUE[1],
        "MODELS_DIRECTORY": folder / "models",
        "WORK_PROCESSES": 1,
        "WORK_LEASE_SECONDS": 3,
        "WORK_POLL_SECONDS": 0.1,
        "WORK_RETRY_SECONDS": 0.3,
        "WORK_RETRY_MAXIMUM_SECONDS": 1,
        "WORK_MAXIMUM_ATTEMPTS": 100,
        "WORK_MEMORY_MIB": 2048,
        "WORK_DEVICE": "cpu",
        "WORK_THREADS": 1,
        "SEND_LEASE_SECONDS": 3,
        "SEND_POLL_SECONDS": 0.1,
        "SEND_RETRY_SECONDS": 0.2,
        "SEND_RETRY_MAXIMUM_SECONDS": 1,
        "SEND_MAXIMUM_ATTEMPTS": 1000,
        "SEND_BRIEF_ATTEMPTS": 1000,
        "SEND_CONNECT_TIMEOUT": 3,
        "SEND_ASSOCIATION_TIMEOUT": 3,
        "SEND_DIMSE_TIMEOUT": 3,
        "SEND_NETWORK_TIMEOUT": 3,
        "TICK_COMPLETE_SECONDS": 0.25,
        "TICK_RESCUE_SECONDS": 0.5,
    }
    plain = {name: value for name, value in os.environ.items() if "GATEKEEPER_" not in name}
    return plain | {f"GATEKEEPER_{name}": str(value) for name, value in chosen.items()}


def _scanners(plan: Plan, folder: Path, port: int, journal: Journal) -> list[Scanner]:
    kinds = itertools.cycle([StorescuScanner, TransportScanner, TransportScanner])
    if shutil.which(StorescuScanner.program) is None:
        kinds = itertools.repeat(TransportScanner)
    return [
        kind(number, port, folder / f"scanner{number}", journal, plan.seed)
        for number, kind in zip(range(1, plan.scanners + 1), kinds, strict=False)
    ]


def _enter_nodes(database: Database, scanners: Sequence[Scanner], archive: Orthanc) -> None:
    with database.begin() as tx:
        for scanner in scanners:
            nodes.save(tx, Node(scanner.ae_title, "127.0.0.1", 0, may_send=True))
        nodes.save(
            tx,
            Node(archive.aet, "127.0.0.1", archive.port, receives_results=True, objects=OBJECTS),
        )


def _disturb(
    plan: Plan,
    port: int,
    reaper: Reaper,
    cuts: dict[str, Cut],
    chance: random.Random,
    report: Report,
    tell: Callable[[str], None],
) -> None:
    """Kill and cut until there were kills enough, or the time is over.

    A cut that is under way then is ended, which takes as long as Orthanc or the database takes to
    come up again; no other is begun.
    """
    pause = threading.Event()
    until_when = time.monotonic() + plan.seconds
    names = itertools.cycle(sorted(cuts, key=lambda _: chance.random()))

    def reap_for(seconds: float, spared: Sequence[str] = ()) -> None:
        over = min(until_when, time.monotonic() + seconds)
        while time.monotonic() < over and reaper.kills.total() < plan.kills:
            left = until_when - time.monotonic()
            reaper.reap(plan.kills - reaper.kills.total(), left, spared)
            tell("under load")
            pause.wait(_LOOK_SECONDS)

    while time.monotonic() < until_when and reaper.kills.total() < plan.kills:
        reap_for(chance.uniform(0.5, 1.5) * plan.calm_seconds)
        name = next(names)
        # Every other time the listener lives through it: it must refuse, not only be away.
        spared = ["listen"] if chance.random() < 0.5 else []
        if spared:
            patience = min(_START_SECONDS, until_when - time.monotonic())
            with contextlib.suppress(AssertionError):
                until(lambda: listening(port), patience, "the listener is up")
        if time.monotonic() >= until_when or reaper.kills.total() >= plan.kills:
            break
        with cuts[name]():
            reap_for(chance.uniform(1.0, 2.0) * plan.cut_seconds, spared)
        report.counts[f"cut: {name}"] += 1


def come_to_rest(
    scanners: Sequence[Scanner],
    database: Database,
    deadline: float,
    tell: Callable[[str], None],
) -> list[str]:
    """Let everything end in peace until the deadline and return what did not, and why."""
    for scanner in scanners:
        scanner.stop()
    left: list[str] = ["nothing could be looked at: the database is away"]

    def at_rest() -> bool:
        sending = [scanner for scanner in scanners if scanner.sending]
        with contextlib.suppress(DatabaseUnavailableError):
            left[:] = unsettled(database)
        tell(f"coming to rest: {len(sending)} scanners and {len(left)} rows under way")
        return not sending and not left

    with contextlib.suppress(AssertionError):
        until(at_rest, deadline - time.monotonic(), "everything came to rest")
    faults = [
        f"not at rest: {scanner.ae_title} is not told of {len(scanner.left)} instances "
        f"that they are kept, last: {scanner.last}"
        for scanner in scanners
        if not scanner.end()
    ]
    return faults + [f"not at rest: {number} {what}" for what, number in Counter(left).items()]


def _size_mib(folder: Path) -> int:
    return sum(written_files(folder).values()) >> 20


def _counted(reaper: Reaper, journal: Journal) -> Counter[str]:
    """Return what was killed, sent and answered until now."""
    with journal.lock:
        return Counter(
            {f"killed: {role}": n for role, n in reaper.kills.items()}
            | {f"scanners: {name}": n for name, n in journal.counts.items()}
            | {
                "instances acknowledged": len(journal.acknowledged),
                "studies sent": len(journal.studies),
            }
        )


def _count(report: Report, database: Database, archive: Orthanc) -> None:
    from sqlalchemy import func, select

    report.counts["objects in the archive"] = archive.count()
    with database.read() as tx:
        for name in ("instance", "job", "outcome", "result", "delivery"):
            table = metadata.tables[name]
            number = tx.execute(select(func.count()).select_from(table)).scalar_one()
            report.counts[f"rows: {name}"] = number
        for name in ("job", "delivery"):
            table = metadata.tables[name]
            attempts = tx.execute(select(func.sum(table.c.attempt))).scalar_one()
            report.counts[f"attempts: {name}"] = attempts or 0
