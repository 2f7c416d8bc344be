"""The fault campaign: kills and cuts under load, then the books.

Runs a whole site on SQLite and on PostgreSQL, sends it studies with storescu and a sender of ours,
kills its processes at random, stops the archive and the database, fills the disk, and at the end
compares what the senders were told with what is kept, analysed and in the archive. Exits with 1
when anything was lost, done twice, or left behind.
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
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.table import Table
from support.campaign import Plan, Report, run
from support.orthanc import running_orthanc
from support.postgres import PostgresServer, postgres_programs, quick_folder

from gatekeeper import log


def main() -> None:
    """Read the arguments, run a campaign on each database, and print what was found."""
    parser = argparse.ArgumentParser(prog="gatekeeper bench crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="processes to kill, in all")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    parser.add_argument("--minutes", type=float, default=30.0, help="longest time, in all")
    parser.add_argument("--scanners", type=int, default=3)
    parser.add_argument("--database", choices=("sqlite", "postgres", "both"), default="both")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    # The supervisor's own line for each kill.
    log.configure("CRITICAL")
    # Ended from outside, it takes its processes with it.
    signal.signal(signal.SIGTERM, _end)
    kinds = ("sqlite", "postgres") if arguments.database == "both" else (arguments.database,)
    plan = Plan(
        kills=arguments.kills // len(kinds),
        seed=arguments.seed,
        seconds=60 * arguments.minutes / len(kinds),
        scanners=arguments.scanners,
        # Some megabytes of results for each kill, in memory, as far as they come.
        disk_mib=512 + 4 * arguments.kills,
    )
    console = Console(stderr=True)
    reports = {kind: campaign(kind, plan, console) for kind in kinds}
    if arguments.json:
        found = {
            kind: {"counts": one.counts, "faults": one.faults, "seconds": one.seconds}
            for kind, one in reports.items()
        }
        print(json.dumps({"seed": plan.seed, **found}, indent=2))  # noqa: T201
    else:
        show(plan, reports)
    if any(report.faults for report in reports.values()):
        raise SystemExit(1)


def _end(_number: int, _frame: FrameType | None) -> None:
    sys.exit(1)


def campaign(kind: str, plan: Plan, console: Console) -> Report:
    """Run one campaign on a database of this kind."""
    folder = Path(tempfile.mkdtemp(prefix="gatekeeper-crash-"))
    orthanc = shutil.which("Orthanc")
    programs = postgres_programs()
    if orthanc is None or (kind == "postgres" and programs is None):
        raise SystemExit("Orthanc and PostgreSQL are needed")
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        archive = stack.enter_context(running_orthanc(orthanc))
        status = stack.enter_context(console.status(f"{kind}, seed {plan.seed}"))

        def tell(text: str) -> None:
            status.update(f"{kind}, seed {plan.seed}: {text}")

        if kind == "sqlite" or programs is None:
            return run(plan, folder, f"sqlite:///{folder}/gatekeeper.db", archive, tell=tell)
        cluster = Path(tempfile.mkdtemp(prefix="gatekeeper-postgres-", dir=quick_folder()))
        server = PostgresServer(cluster, programs)
        stack.callback(shutil.rmtree, cluster, ignore_errors=True)
        stack.callback(server.stop)
        server.start()
        server.make_template()
        return run(plan, folder, server.url(server.create()), archive, server, tell)


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
