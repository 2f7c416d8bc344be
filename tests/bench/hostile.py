"""Hostile input: seeded mutants of the public files of `pydicom` and `pydicom-data`.

Every mutant is sent to a listener in a process of its own, over an association, into a real spool
and SQLite. Of those that it keeps, a share (`--child`: every so many-th) is given to the worker's
limited child as a study of its own. A further share of mutants are slices of a brain scan in every
transfer syntax of the corpus, put between two whole ones, so that the child decodes them; among
them are codestreams that declare more than they hold and RLE and deflate bombs (`--bombs`).

It prints the outcomes, the slowest, the largest memory, and every promise that was broken; a broken
promise is exit code 1. A mutant is made again from `--seed` and its number.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table
from support.hostile import MEMORY_MIB, run
from support.tally import Tally


def main() -> None:
    """Read the arguments, send and read the mutants, and print what came of them."""
    parser = argparse.ArgumentParser(prog="gatekeeper bench hostile", description=__doc__)
    parser.add_argument("--mutants", type=int, default=20_000, help="sent to the listener")
    parser.add_argument("--child", type=int, default=10, help="every so many-th is read, too")
    parser.add_argument("--scans", type=int, default=600, help="mutated slices read by the child")
    parser.add_argument("--bombs", type=int, default=60, help="of each kind")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--only", type=int, help="this mutant alone")
    parser.add_argument("--folder", type=Path, help="where spool and database lie")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    memory = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
    place = arguments.folder or (memory if memory.is_dir() else None)
    folder = Path(tempfile.mkdtemp(prefix="gatekeeper-hostile-", dir=place))
    began = time.monotonic()
    try:
        received, read = run(
            folder,
            seed=arguments.seed,
            mutants=arguments.mutants,
            every=arguments.child,
            slices_read=arguments.scans,
            bombs=arguments.bombs,
            only=arguments.only,
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    seconds = time.monotonic() - began
    if arguments.json:
        both = {"seed": arguments.seed, "listener": vars(received), "child": vars(read)}
        print(json.dumps(both, indent=2))  # noqa: T201
    else:
        console = Console(width=120)
        _print(console, f"listener, seed {arguments.seed}", received)
        _print(console, f"child, limit {MEMORY_MIB} MiB", read)
        console.print(f"{seconds:.0f} s, seed {arguments.seed}")
    if received.broken or read.broken:
        sys.exit(1)


def _print(console: Console, title: str, tally: Tally) -> None:
    table = Table(title=title, title_justify="left")
    table.add_column("outcome")
    table.add_column("mutants", justify="right")
    for outcome, count in tally.outcomes.most_common():
        table.add_row(outcome, f"{count:,}")
    console.print(table)
    console.print(f"slowest {tally.slowest[0]:.2f} s: {tally.slowest[1]}", highlight=False)
    console.print(f"largest {tally.largest[0]} MiB: {tally.largest[1]}", highlight=False)
    console.print(f"promises broken: {len(tally.broken)}", highlight=False)
    for line in tally.broken[:40]:
        console.print(f"  {line}", highlight=False, markup=False)


if __name__ == "__main__":
    main()
