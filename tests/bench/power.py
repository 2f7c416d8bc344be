"""The power is cut: what of that which was answered 0000 is there afterwards?

Each receiver runs on a file system of its own, on a disk whose cache is as volatile as a real one's
(`support.volatile_disk`), while senders send. At random moments the disk is caught as a power cut
would leave it: what the file system had it flush is there, of the rest any part, in any order.
Nothing is restarted meanwhile, so each cut is one of a load that goes on. Afterwards each of those
disks is mounted, the receiver recovers, and every instance that had been answered 0000 before the
cut must be there: its file whole, its entry in the index, and, for ours, the ledger balanced with
every file read. While ours recovers the power is cut three times more, and all that is asked again.

Receivers are those of `gatekeeper bench ingest`: durable[:PROCESSES], durable-first[:PROCESSES],
durable-postgres[:PROCESSES] with its database on the same disk, orthanc, storescp. One that is
known to lose something shows that this measurement finds it. Exits with 1 when ours has lost
anything. Needs Linux, root, FUSE, loop devices, and mfusepy, which is one of the development
packages.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import tempfile
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table
from support.after_a_cut import Aftermath
from support.cuts import Cut, Plan, under_load
from support.power import MAKING, missing

from gatekeeper import log

Found = dict[tuple[str, str], list[tuple[Cut, Aftermath]]]
"""By file system and receiver."""


def main() -> None:
    """Read the arguments, cut, look, and print a table."""
    arguments = _arguments()
    if (why := missing()) is not None:
        raise SystemExit(why)
    log.configure("CRITICAL")
    plan = Plan(arguments.cuts, arguments.senders, arguments.seconds, arguments.seed)
    found: Found = {}
    pairs = list(itertools.product(arguments.file_systems, arguments.receivers))
    for kind, receiver in track(pairs, "cutting", console=Console(stderr=True)):
        with tempfile.TemporaryDirectory(prefix="power-", dir=arguments.folder) as made:
            found[kind, receiver] = under_load(receiver, kind, Path(made), plan)
        if arguments.json:
            arguments.json.write_text(json.dumps(_plain(found), indent=2))
    _show(found, Console())
    ours = [one for key, cuts in found.items() if key[1].startswith("durable") for one in cuts]
    if any(left.lost or left.damaged or left.faults for _, left in ours):
        raise SystemExit(1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="gatekeeper bench power",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--receivers", type=_names, default=("durable:1", "durable:2"))
    parser.add_argument(
        "--file-systems", type=_names, default=tuple(MAKING), help=f"of {', '.join(MAKING)}"
    )
    parser.add_argument(
        "--cuts", type=int, default=10, help="of each receiver and file system, under load"
    )
    parser.add_argument("--senders", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=2.0, help="longest time between two cuts")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    parser.add_argument("--folder", type=Path, help="where the disks are kept; default: temporary")
    parser.add_argument("--json", type=Path, help="file for every single cut, as they come")
    return parser.parse_args()


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _plain(found: Found) -> list[dict[str, object]]:
    return [
        {"file system": kind, "receiver": receiver, "cached": cut.cached, **asdict(left)}
        for (kind, receiver), cuts in found.items()
        for cut, left in cuts
    ]


def _show(found: Found, console: Console) -> None:
    table = Table(title="power cuts under load")
    for name in ("file system", "receiver"):
        table.add_column(name)
    for name in ("cuts", "writes in the cache", "acknowledged", "lost", "damaged", "faults"):
        table.add_column(name, justify="right")
    for (kind, receiver), cuts in found.items():
        counts = [
            len(cuts),
            sum(cut.cached for cut, _ in cuts),
            sum(left.acknowledged for _, left in cuts),
            sum(left.lost for _, left in cuts),
            sum(left.damaged for _, left in cuts),
            sum(len(left.faults) for _, left in cuts),
        ]
        table.add_row(kind, receiver, *map(str, counts))
    console.print(table)
    for (kind, receiver), cuts in found.items():
        for fault in (fault for _, left in cuts for fault in left.faults[:5]):
            console.print(f"{receiver} on {kind}: {fault}", highlight=False)


if __name__ == "__main__":
    main()
