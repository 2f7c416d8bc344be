"""The fault campaign: kills and cuts under load, then the books.

Runs a whole site on SQLite and on PostgreSQL, sends it studies with storescu and a sender of ours,
kills its processes at random, stops the archive and the database, fills the disk, and at the end
compares what the senders were told with what is kept, analysed and in the archive. Exits with 1
when anything was lost, done twice, or left behind.

Each database gets half of `--minutes` under load, then `--rest-minutes` to come to rest; what is
under way after that is a broken promise, with its cause. Then the books are balanced, which reads
every file once. While it runs it tells every few seconds how far it is, and writes what was counted
to `--results`. Ended from outside (SIGTERM, SIGINT), it prints what was counted until then.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.table import Table
from support.campaign import Plan, Report, run
from support.orthanc import running_orthanc
from support.postgres import PostgresServer, postgres_programs, quick_folder

from gatekeeper import log

_TELL_SECONDS = 10.0


def main() -> None:
    """Read the arguments, run a campaign on each database, and print what was found."""
    parser = argparse.ArgumentParser(prog="gatekeeper bench crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="processes to kill, in all")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    parser.add_argument("--minutes", type=float, default=30.0, help="longest load, in all")
    parser.add_argument(
        "--rest-minutes", type=float, default=5.0, help="longest end, for each database"
    )
    parser.add_argument("--scanners", type=int, default=3)
    parser.add_argument("--listeners", type=int, default=2, help="processes that share the port")
    parser.add_argument("--database", choices=("sqlite", "postgres", "both"), default="both")
    parser.add_argument("--results", type=Path, help="JSON of what was counted, while it runs")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    # The supervisor's own line for each kill.
    log.configure("CRITICAL")
    # Ended from outside, it takes its processes with it.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    kinds = ("sqlite", "postgres") if arguments.database == "both" else (arguments.database,)
    plan = Plan(
        kills=arguments.kills // len(kinds),
        seed=arguments.seed,
        seconds=60 * arguments.minutes / len(kinds),
        rest_seconds=60 * arguments.rest_minutes,
        scanners=arguments.scanners,
        listeners=arguments.listeners,
        # Some megabytes of results for each kill, in memory, as far as they come.
        disk_mib=512 + 4 * arguments.kills,
    )
    reports: dict[str, Report] = {}
    try:
        for kind in kinds:
            reports[kind] = Report(plan)
            campaign(kind, plan, reports[kind], _teller(kind, plan, reports, arguments.results))
    finally:
        if arguments.results is not None:
            arguments.results.write_text(as_json(plan, reports))
        if arguments.json:
            print(as_json(plan, reports))  # noqa: T201
        else:
            show(plan, reports)
    if any(report.faults for report in reports.values()):
        raise SystemExit(1)


def _end(_number: int, _frame: FrameType | None) -> None:
    sys.exit(1)


def _teller(
    kind: str, plan: Plan, reports: dict[str, Report], results: Path | None
) -> Callable[[str], None]:
    """Return what prints how far a campaign is, and writes its counts, every few seconds."""
    console = Console(stderr=True, width=160)
    began = told = time.monotonic()
    longest = (plan.seconds + plan.rest_seconds) / 60
    console.print(f"{kind}, seed {plan.seed}: at rest in {longest:.1f} minutes at the latest")

    def tell(text: str) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= _TELL_SECONDS:
            told = now
            console.print(f"{kind}, {now - began:.0f} s: {text}", highlight=False)
            if results is not None:
                results.write_text(as_json(plan, reports))

    return tell


def campaign(kind: str, plan: Plan, report: Report, tell: Callable[[str], None]) -> None:
    """Run one campaign on a database of this kind."""
    folder = Path(tempfile.mkdtemp(prefix="gatekeeper-crash-"))
    orthanc = shutil.which("Orthanc")
    programs = postgres_programs()
    if orthanc is None or (kind == "postgres" and programs is None):
        raise SystemExit("Orthanc and PostgreSQL are needed")
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        archive = stack.enter_context(running_orthanc(orthanc))
        if kind == "sqlite" or programs is None:
            run(plan, folder, f"sqlite:///{folder}/gatekeeper.db", archive, None, report, tell)
            return
        cluster = Path(tempfile.mkdtemp(prefix="gatekeeper-postgres-", dir=quick_folder()))
        server = PostgresServer(cluster, programs)
        stack.callback(shutil.rmtree, cluster, ignore_errors=True)
        stack.callback(server.stop)
        server.start()
        server.make_template()
        run(plan, folder, server.url(server.create()), archive, server, report, tell)


def as_json(plan: Plan, reports: dict[str, Report]) -> str:
    """Return what was counted and found until now."""
    found = {
        kind: {"counts": one.counts, "faults": one.faults, "seconds": one.seconds}
        for kind, one in reports.items()
    }
    return json.dumps({"seed": plan.seed, **found}, indent=2)


def show(plan: Plan, reports: dict[str, Report]) -> None:
    """Print a table of what was done, and every promise that was broken."""
    console = Console()
    table = Table(title=f"campaign, seed {plan.seed}", title_justify="left")
    table.add_column("count")
    for kind in reports:
        table.add_column(kind, justify="right")
    for name in sorted({name for report in reports.values() for name in report.counts}):
        table.add_row(name, *(str(report.counts[name]) for report in reports.values()))
    table.add_row("seconds", *(f"{report.seconds:.0f}" for report in reports.values()))
    table.add_row("promises broken", *(str(len(report.faults)) for report in reports.values()))
    console.print(table)
    for kind, report in reports.items():
        for fault in report.faults:
            console.print(f"{kind}: {fault}", highlight=False)


if __name__ == "__main__":
    main()
