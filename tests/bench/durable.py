"""Durable answers a second: the intake against file, folders and row one after the other.

Each writer stands for one association: it hands in one object after the other and waits until it
may be acknowledged. Both ways run in turns on fresh spools and databases of one disk; the table has
medians and the median of the ratios of neighbouring runs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from storage import instances
from storage.engine import Database
from storage.entries import Bearer
from storage.intake import Intake, Limits
from storage.records import Instance
from storage.spool import Digest, Spool

Keep = Callable[[Instance, bytes, int], None]
_NUMBERS = itertools.count(1)


def main() -> None:
    """Read the arguments, measure, and print a table."""
    parser = argparse.ArgumentParser(prog="gatekeeper bench durable", description=__doc__)
    parser.add_argument("--writers", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--sizes", type=int, nargs="+", default=[212_000, 525_000])
    parser.add_argument("--objects", type=int, default=200, help="in one run, of all writers")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="on the disk to measure")
    parser.add_argument("--database", help="an empty PostgreSQL database instead of SQLite")
    parser.add_argument("--way", choices=sorted(WAYS), help="one way alone, as for strace -c")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows: list[dict[str, float]] = []
    for size, writers in itertools.product(arguments.sizes, arguments.writers):
        found: dict[str, list[float]] = {name: [] for name in WAYS}
        for _ in range(arguments.repeats):
            for name in [arguments.way] if arguments.way else WAYS:
                found[name].append(run(name, size, writers, arguments))
        if arguments.way:
            continue
        pairs = zip(found["intake"], found["in turn"], strict=True)
        rows.append(
            {
                "bytes": size,
                "writers": writers,
                "in turn, 1/s": statistics.median(found["in turn"]),
                "intake, 1/s": statistics.median(found["intake"]),
                "ratio": statistics.median(new / old for new, old in pairs),
            }
        )
    if arguments.json:
        print(json.dumps(rows, indent=2))  # noqa: T201
    elif rows:
        table = Table(title=f"{arguments.repeats} repeats", title_justify="left")
        for heading in rows[0]:
            table.add_column(heading, justify="right")
        for row in rows:
            cells = [
                f"{value:.2f}" if key == "ratio" else f"{value:.0f}" for key, value in row.items()
            ]
            table.add_row(*cells)
        Console().print(table)


def run(way: str, size: int, writers: int, arguments: argparse.Namespace) -> float:
    """Return answers a second of one run on a fresh spool."""
    folder = Path(tempfile.mkdtemp(prefix="gatekeeper-bench-", dir=arguments.folder))
    database = Database.connect(arguments.database or f"sqlite:///{folder}/gatekeeper.db")
    each = max(1, arguments.objects // writers)
    try:
        database.migrate()
        with WAYS[way](database, Spool(folder / "spool")) as keep:
            threads = [
                threading.Thread(target=write, args=(database, keep, size, each))
                for _ in range(writers)
            ]
            # Neither the first connection nor the first slots are measured.
            write(database, keep, size, 1)
            started = time.perf_counter()
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return each * writers / (time.perf_counter() - started)
    finally:
        database.dispose()
        shutil.rmtree(folder)


def write(database: Database, keep: Keep, size: int, objects: int) -> None:
    """Hand in objects of one study as one association does."""
    study = f"1.2.{os.getpid()}.{next(_NUMBERS)}"
    body = os.urandom(size)
    with database.begin() as tx:
        association = instances.open_association(tx, "SCANNER", "127.0.0.1")
    for number in range(objects):
        uid = f"{study}.{number}"
        row = Instance(
            uid, "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.1.2.1", study, f"{study}.1", "MR",
            "", 0, "SCANNER",
        )  # fmt: skip
        keep(row, uid.encode() + body, association)


@contextmanager
def in_turn(database: Database, spool: Spool) -> Generator[Keep]:
    """Synchronise the file, then its folders, then commit its row."""

    def keep(row: Instance, data: bytes, association: int) -> None:
        with spool.writer() as writer:
            writer.write(data)
            stored = writer.commit()
        with database.begin() as tx:
            instances.record(tx, _of(row, stored.digest, stored.size), association)

    yield keep


@contextmanager
def intake(database: Database, spool: Spool) -> Generator[Keep]:
    """Take in as the listener does."""
    taken = Intake(database, spool, Limits(), _raise)

    def keep(row: Instance, data: bytes, association: int) -> None:
        bearer = Bearer(association, row.source_ae, "", linked=False)
        with taken.writer() as writer:
            writer.write(data)
            taken.keep(writer, _of(row, writer.digest, writer.size), bearer)

    yield keep
    taken.close()


WAYS = {"in turn": in_turn, "intake": intake}


def _of(row: Instance, digest: Digest, size: int) -> Instance:
    from dataclasses import replace

    return replace(row, digest=digest, size=size)


def _raise(error: Exception) -> None:
    raise error


if __name__ == "__main__":
    main()
