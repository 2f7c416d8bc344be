"""How fast objects are sent into DCMTK's storescp, beside DCMTK's own senders.

The same files go to one `storescp +B`, which keeps them bit by bit, by: `transport`, our sender's
way to the wire; `delivery`, a whole attempt, from the claim in SQLite to its settlement, every
answer committed (its objects lie in a spool); and DCMTK's `storescu` and `dcmsend`. Senders take
turns. Each turn is one image and then all of them: the rate is that of the images after the first,
so that neither a program's start nor the association counts. PDUs are of 128 KiB on both sides.

Debian's DCMTK waits 44 ms an image by Nagle's algorithm unless TCP_NODELAY=1 is set; it is.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parents[2]
PDU = 131072
NODELAY = {**os.environ, "TCP_NODELAY": "1"}
AE_TITLE = "STORESCP"

_OURS = """
import json, sys, time
from pathlib import Path
from gatekeeper import log
from gatekeeper.send.attempt import Desk, deliver
from gatekeeper.send.dimse import DimseTransport
from gatekeeper.send.files import read_objects
from gatekeeper.settings import SendSettings
from storage import deliveries
from storage.engine import Database
from storage.records import DeliveryState, Node, Result
from storage.spool import Spool

way, folder, work, port = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
log.configure("ERROR")
settings = SendSettings()
node = Node("STORESCP", "127.0.0.1", port)
objects, _ = read_objects([folder])
transport = DimseTransport("GATEKEEPER", settings)
spool = Spool(work / "spool")
database = Database.connect(f"sqlite:///{work / 'send.db'}", 30.0)
database.migrate()


def results(some):
    return [
        Result(one.sop_instance_uid, one.sop_class_uid, "1.2", one.transfer_syntax_uid, "heatmap",
               spool.store(one.path.read_bytes()).digest, one.path.stat().st_size)
        for one in some
    ]


known = results(objects) if way == "delivery" else []


def send(count):
    began, cpu = time.perf_counter(), time.process_time()
    if way == "transport":
        answers = list(transport.send(objects[:count], node))
        assert len(answers) == count and all(one.stored for one in answers), answers[0]
    else:
        with database.begin() as tx:
            made = deliveries.create(tx, node.ae_title, known[:count])
            claimed = deliveries.claim(tx, "bench", 60.0)
        deliver(Desk(database, spool, transport, settings), claimed, node, lambda: False)
        with database.read() as tx:
            assert deliveries.get(tx, made).state is DeliveryState.DELIVERED
    return time.perf_counter() - began, time.process_time() - cpu


for line in sys.stdin:
    print(json.dumps(send(int(line))), flush=True)
"""


@dataclass(frozen=True)
class Sender:
    """A way to send: from a number of images to seconds elapsed and of processor time."""

    name: str
    send: Callable[[int], tuple[float, float]]


def main() -> None:
    """Read the arguments, measure, and print a table."""
    parser = argparse.ArgumentParser(prog="gatekeeper bench send", description=__doc__)
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--kib", type=int, nargs="+", default=[212], help="pixels of an image")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--against", type=Path, help="another source tree, in turns with this one")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = {
        kib: measure(arguments.images, kib, arguments.repeats, arguments.against)
        for kib in arguments.kib
    }
    if arguments.json:
        print(json.dumps(found, indent=2))  # noqa: T201
        return
    for kib, runs in found.items():
        _print(runs, arguments.images, kib)


def measure(
    images: int, kib: int, repeats: int, against: Path | None
) -> dict[str, list[dict[str, float]]]:
    """Return the runs of each sender."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gatekeeper-bench-")))
        write_images(folder / "all", images, kib)
        (folder / "one").mkdir()
        shutil.copy(min((folder / "all").iterdir()), folder / "one")
        port = stack.enter_context(storescp(folder / "received"))
        trees = {"": HERE} | ({" (against)": against.resolve()} if against else {})
        senders = [
            Sender(way + mark, stack.enter_context(ours(tree, way, folder, port)))
            for way in ("transport", "delivery")
            for mark, tree in trees.items()
        ]
        senders += [Sender(name, dcmtk(name, folder, port)) for name in ("storescu", "dcmsend")]
        runs: dict[str, list[dict[str, float]]] = {one.name: [] for one in senders}
        for one in senders:
            one.send(images)
        for _ in range(repeats):
            for one in senders:
                first, first_cpu = one.send(1)
                whole, cpu = one.send(images)
                runs[one.name].append(
                    {
                        "rate": (images - 1) / max(whole - first, 1e-6),
                        "whole ms": 1000 * whole,
                        "first ms": 1000 * first,
                        "cpu ms an image": 1000 * (cpu - first_cpu) / (images - 1),
                    }
                )
        return runs


def write_images(folder: Path, count: int, kib: int) -> None:
    """Write a series of MR images whose pixels are so large."""
    from support.objects import mr_slice

    folder.mkdir(parents=True)
    for number in range(1, count + 1):
        dataset = mr_slice(number)
        dataset.Rows, dataset.Columns = kib, 512
        dataset.PixelData = os.urandom(kib * 1024)
        dataset.save_as(folder / f"{number:04d}.dcm", enforce_file_format=True)


@contextlib.contextmanager
def storescp(folder: Path) -> Generator[int]:
    """Run storescp and give its port."""
    from support.gate import free_port, listening
    from support.waiting import until

    folder.mkdir()
    port = free_port()
    process = subprocess.Popen(
        ["storescp", "+B", "-pdu", str(PDU), "-od", str(folder), str(port)],
        env=NODELAY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: listening(port), 20, "storescp is up")
        yield port
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def ours(
    tree: Path, way: str, folder: Path, port: int
) -> Generator[Callable[[int], tuple[float, float]]]:
    """Run a sender of a source tree in a process of its own."""
    work = Path(tempfile.mkdtemp(dir=folder))
    process = subprocess.Popen(
        [sys.executable, "-c", _OURS, way, str(folder / "all"), str(work), str(port)],
        cwd=tree,
        env={**NODELAY, "PYTHONPATH": str(tree)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def send(count: int) -> tuple[float, float]:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("no pipes")
        process.stdin.write(f"{count}\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the sender by {way} ended")
        elapsed, cpu = json.loads(line)
        return elapsed, cpu

    try:
        yield send
    finally:
        process.kill()
        process.communicate()


def dcmtk(program: str, folder: Path, port: int) -> Callable[[int], tuple[float, float]]:
    """Return a sender by a program of DCMTK: the whole folder, or one image."""
    size = ["-pdu", str(PDU), "--max-send-pdu", str(PDU)]
    options = {
        "storescu": [*size, "-R", "-aec", AE_TITLE, "+sd"],
        "dcmsend": [*size, "-aec", AE_TITLE, "+sd"],
    }[program]

    def send(count: int) -> tuple[float, float]:
        what = folder / ("one" if count == 1 else "all")
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        began = time.perf_counter()
        subprocess.run(
            [program, *options, "127.0.0.1", str(port), str(what)],
            env=NODELAY,
            check=True,
            capture_output=True,
        )
        elapsed = time.perf_counter() - began
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return elapsed, cpu

    return send


def _print(runs: dict[str, list[dict[str, float]]], images: int, kib: int) -> None:
    table = Table(
        title=f"{images} images of {kib} KiB into storescp +B, medians", title_justify="left"
    )
    table.add_column("sender")
    for heading in ("images/s", "least", "most", "x storescu", "CPU ms an image", "whole ms"):
        table.add_column(heading, justify="right")
    reference = [one["rate"] for one in runs["storescu"]]
    for name, found in runs.items():
        rates = [one["rate"] for one in found]
        ratios = [rate / other for rate, other in zip(rates, reference, strict=True)]
        table.add_row(
            name,
            f"{statistics.median(rates):.0f}",
            f"{min(rates):.0f}",
            f"{max(rates):.0f}",
            f"{statistics.median(ratios):.2f}",
            f"{statistics.median(one['cpu ms an image'] for one in found):.2f}",
            f"{statistics.median(one['whole ms'] for one in found):.0f}",
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
