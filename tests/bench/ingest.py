"""How fast images come in, and at what cost, beside DCMTK's storescp and Orthanc.

The same pre-encoded sender sends the same images to each receiver in turn, round after round; the
table has medians, and medians of the ratios to the first receiver within each round. CPU is that of
the receiver's process tree. PDUs are 128 KiB and TCP_NODELAY is set on every side: without it
DCMTK waits 44 ms an image.

What a machine does besides shows in the figures. To make a file, an ext4 without journal looks at
every inode that was freed in the last five minutes, 0.2 to 0.4 ms a file after a round was removed;
so what was received stays until the end, where there is room, and a second run begins five minutes
after the first. In a virtual machine, memory that was free until now is fetched from the host page
by page, up to 0.6 ms of processor time an image; `--fill-memory` has the page cache take it before.

Receivers:
  storescp        `storescp --fork +B`: no synchronisation, so a power cut loses what it answered
  storescp-fsync  the same with fsync before each close, by a preloaded shim that `cc` makes
  orthanc         Orthanc with its default storage, which synchronises each file
  protocol        our reader alone, files without synchronisation, digest or row: no product, a
                  measure of the wire against storescp
  durable         what users run: before each 0x0000 the fsync of the file and of what its row says
  durable-first   the same with `spool.enter_seconds = 0`: fsync and commit before each 0x0000
  durable-postgres   what users run, on PostgreSQL, whose processes count as the receiver's
The last four take a number of processes (`listen.processes`): durable:1; else the default's.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import FileMetaDataset
from pydicom.dataset import Dataset
from pydicom.uid import UID, CTImageStorage, EnhancedMRImageStorage, ExplicitVRLittleEndian
from rich.console import Console
from rich.table import Table
from support.postgres import postgres_programs
from support.process_tree import PeakResident, cpu_seconds, resident_mib
from support.receivers import (
    RECEIVERS,
    ROW_FIRST,
    WITH_POSTGRES,
    Receiver,
    running,
    synchronising_shim,
)

_WARMING = 32
"""Images of each sender before those that count."""
_FREE = 512 << 20
"""Bytes of memory that `--fill-memory` leaves free."""
_BLOCK = bytes(16 << 20)
_ROOM = 40 << 30
"""Free bytes below which what was received is removed after each load; eight senders of CT images
send 16 GB in four rounds to each of five receivers."""


@dataclass(frozen=True)
class Run:
    """One receiver under one load."""

    images_per_second: float
    cpu_milliseconds: float
    """Processor time of the receiver for one image."""
    median_latency: float
    peak_mib: float


def main() -> None:
    """Read the arguments, measure, and print a table for each load."""
    arguments = _arguments()
    console = Console()
    results: list[dict[str, Any]] = []
    with ExitStack() as stack:
        base = arguments.folder
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ingest-", dir=base)))
        shim = synchronising_shim(folder) if "storescp-fsync" in arguments.receivers else None
        receivers = _available(arguments.receivers, shim, console)
        stores = folder / "stores"
        stores.mkdir()
        for series in arguments.series:
            images = _images(folder, series, arguments)
            for count in () if arguments.only_large else arguments.senders:
                per_association = 1 if arguments.one_per_association else 0
                title = f"{series}, {count} sender{'s' if count > 1 else ''}"
                title += ", one image per association" if per_association else ""
                load = _Load(images, count, arguments.images, per_association)
                if arguments.fill_memory:
                    _fill_memory(folder / "filling", console)
                runs = _interleaved(receivers, load, arguments.rounds, stores, shim)
                _make_room(stores)
                console.print(_table(title, runs))
                results.append({"load": title, "runs": _plain(runs)})
        if arguments.large or arguments.only_large:
            console.print(_large(receivers, arguments, folder, shim))
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(results, indent=2))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="gatekeeper bench ingest",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--receivers", type=_names, default=RECEIVERS, help="which, separated by commas"
    )
    parser.add_argument("--senders", type=_numbers, default=(1, 2, 4, 8), help="1,2,4,8")
    parser.add_argument(
        "--series",
        type=_names,
        default=("mr", "ct"),
        help="mr (the folder --mr, or 384 synthetic slices), ct (synthetic, 512 x 512)",
    )
    parser.add_argument("--mr", type=Path, help="folder of an MR series")
    parser.add_argument("--images", type=int, default=384, help="images of each sender")
    parser.add_argument("--rounds", type=int, default=3, help="after one that does not count")
    parser.add_argument("--one-per-association", action="store_true")
    parser.add_argument("--large", action="store_true", help="also one large object")
    parser.add_argument("--large-mib", type=int, default=192, help="its size")
    parser.add_argument("--only-large", action="store_true", help="nothing else")
    parser.add_argument("--folder", type=Path, help="where receivers write; default: temporary")
    parser.add_argument(
        "--fill-memory", action="store_true", help="before each load, with the pages of a file"
    )
    parser.add_argument("--json", type=Path, help="file for every single run")
    return parser.parse_args()


@dataclass(frozen=True)
class _Load:
    folder: Path
    senders: int
    images: int
    per_association: int


def _interleaved(
    receivers: tuple[str, ...], load: _Load, rounds: int, folder: Path, shim: Path | None
) -> dict[str, list[Run]]:
    """Return the runs of each receiver; each round begins with another one."""
    runs: dict[str, list[Run]] = {name: [] for name in receivers}
    few = dataclasses.replace(load, images=_WARMING)
    with _Senders(few) as warming, _Senders(load) as senders:
        for number in range(rounds + 1):
            turn = number % len(receivers)
            for name in (*receivers[turn:], *receivers[:turn]):
                # What the one before has not synchronised is no burden of this one.
                os.sync()
                with running(name, folder, shim) as receiver:
                    # The first associations pay for what is loaded once.
                    _measure(receiver, warming)
                    run = _measure(receiver, senders)
                if number:
                    runs[name].append(run)
    return runs


def _make_room(stores: Path) -> None:
    if shutil.disk_usage(stores).free < _ROOM:
        for store in stores.iterdir():
            shutil.rmtree(store)


def _fill_memory(path: Path, console: Console) -> None:
    """Make the file at `path` longer by what memory is free, nearly: what receivers need for their
    files is then taken from the page cache, and not from the host."""
    wanted = _free_memory() - _FREE
    if shutil.disk_usage(path.parent).free < wanted + _ROOM:
        console.print(f"{wanted >> 20} MiB of memory stay free: too little room on the disk")
        return
    with path.open("ab") as file:
        for _ in range(wanted // len(_BLOCK)):
            file.write(_BLOCK)
        file.flush()
        os.fsync(file.fileno())


def _free_memory() -> int:
    facts = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(facts["MemFree"].split()[0]) << 10


def _measure(receiver: Receiver, senders: _Senders) -> Run:
    senders.tell(f"PREPARE {receiver.port}")
    senders.tell("FRESH")
    there = receiver.received()
    with PeakResident(*receiver.roots) as peak:
        before = cpu_seconds(*receiver.roots)
        started = time.perf_counter()
        answers = senders.tell(f"GO {receiver.port} {senders.load.per_association}")
        seconds = time.perf_counter() - started
        # Children of storescp that have just released are still closing their files.
        time.sleep(0.1)
        used = cpu_seconds(*receiver.roots) - before
    images = sum(int(answer.split()[0]) for answer in answers)
    if (kept := receiver.received() - there) < images:
        raise SystemExit(f"{kept} of {images} images were kept")
    latency = statistics.median(float(answer.split()[3]) for answer in answers)
    return Run(images / seconds, 1000 * used / images, latency, peak.mebibytes)


def _table(title: str, runs: Mapping[str, list[Run]]) -> Table:
    table = Table(title=title, title_justify="left")
    first = next(iter(runs))
    headings = ("receiver", "images/s", "least", "most", f"x {first}", "CPU ms", f"x {first}")
    for heading in (*headings, "median ms", "peak MiB"):
        table.add_column(heading, justify="left" if heading == "receiver" else "right")
    for name, own in runs.items():
        speeds = [run.images_per_second for run in own]
        table.add_row(
            name,
            f"{statistics.median(speeds):.0f}",
            f"{min(speeds):.0f}",
            f"{max(speeds):.0f}",
            _ratio(own, runs[first], lambda run: run.images_per_second),
            f"{statistics.median(run.cpu_milliseconds for run in own):.3f}",
            _ratio(own, runs[first], lambda run: run.cpu_milliseconds),
            f"{statistics.median(run.median_latency for run in own):.2f}",
            f"{statistics.median(run.peak_mib for run in own):.0f}",
        )
    return table


def _ratio(own: list[Run], other: list[Run], of: Callable[[Run], float]) -> str:
    ratios = [of(one) / of(two) for one, two in zip(own, other, strict=True) if of(two)]
    return f"{statistics.median(ratios):.2f}" if ratios else "-"


def _large(
    receivers: tuple[str, ...], arguments: argparse.Namespace, folder: Path, shim: Path | None
) -> Table:
    """Return what one large object adds to each receiver's resident memory."""
    large, small = folder / "large", folder / "small"
    frames = 2 * arguments.large_mib
    _write(large, [_enhanced(frames * 512 * 512)])
    _write(small, [_ct(number) for number in range(4)])
    table = Table(title=f"one object of {arguments.large_mib} MiB", title_justify="left")
    for heading in ("receiver", "MB/s", "resident MiB before", "more MiB"):
        table.add_column(heading, justify="left" if heading == "receiver" else "right")
    with (
        _Senders(_Load(small, 1, 0, 0)) as warming,
        _Senders(_Load(large, 1, 0, 0)) as sending,
    ):
        for name in receivers:
            speeds: list[float] = []
            before: list[float] = []
            more: list[float] = []
            for _ in range(arguments.rounds):
                with running(name, folder, shim) as receiver:
                    # A first association pays for what is loaded once.
                    _measure(receiver, warming)
                    before.append(resident_mib(*receiver.roots))
                    run = _measure(receiver, sending)
                    speeds.append((arguments.large_mib << 20) / 1e6 * run.images_per_second)
                    more.append(run.peak_mib - before[-1])
            middle = (statistics.median(values) for values in (speeds, before, more))
            table.add_row(name, *(f"{value:.1f}" for value in middle))
    return table


class _Senders:
    """Sender processes, ready to be told; a context manager."""

    def __init__(self, load: _Load) -> None:
        self.load = load
        command = [sys.executable, "-m", "support.blast", str(load.folder)]
        if load.images:
            command += ["--images", str(load.images)]
        tests = Path(__file__).resolve().parents[1]
        environment = {**os.environ, "PYTHONPATH": f"{tests}:{tests.parent}"}
        self._processes = [
            subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
            )
            for _ in range(load.senders)
        ]

    def __enter__(self) -> _Senders:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.communicate()

    def tell(self, line: str) -> list[str]:
        """Tell all of them at once and return their answers."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(line + "\n")
            process.stdin.flush()
        answers: list[str] = []
        for process in self._processes:
            assert process.stdout is not None
            answer = process.stdout.readline().strip()
            if not answer:
                raise SystemExit("a sender gave up; its reason is above")
            answers.append(answer)
        return answers


def _available(names: tuple[str, ...], shim: Path | None, console: Console) -> tuple[str, ...]:
    programs = {"storescp": "storescp", "storescp-fsync": "storescp", "orthanc": "Orthanc"}
    found: list[str] = []
    for name in names:
        known = (*RECEIVERS, ROW_FIRST, WITH_POSTGRES)
        if name.partition(":")[0] not in known:
            raise SystemExit(f"no receiver {name}; there are: {', '.join(known)}")
        if name in programs and shutil.which(programs[name]) is None:
            console.print(f"{name}: skipped, {programs[name]} is not installed")
        elif name.partition(":")[0] == WITH_POSTGRES and postgres_programs() is None:
            console.print(f"{name}: skipped, PostgreSQL is not installed")
        elif name == "storescp-fsync" and shim is None:
            console.print(f"{name}: skipped, there is no working cc")
        else:
            found.append(name)
    return tuple(found)


def _images(folder: Path, series: str, arguments: argparse.Namespace) -> Path:
    if series == "mr" and arguments.mr is not None:
        return arguments.mr
    made = folder / f"series-{series}"
    size = {"mr": (320, 320), "ct": (512, 512)}[series]
    _write(made, [_ct(number, size) for number in range(arguments.images or 384)])
    return made


def _write(folder: Path, datasets: list[Dataset]) -> None:
    folder.mkdir(exist_ok=True)
    for number, dataset in enumerate(datasets):
        dataset.save_as(folder / f"{number:04d}.dcm", enforce_file_format=True)


def _ct(number: int, size: tuple[int, int] = (512, 512)) -> Dataset:
    """Return a synthetic slice of noise, as large as a real one."""
    noise = np.random.default_rng(number).integers(0, 4096, size, dtype=np.uint16)
    dataset = _object(CTImageStorage, number)
    dataset.Rows, dataset.Columns = size
    dataset.PixelData = noise.tobytes()
    return dataset


def _enhanced(words: int) -> Dataset:
    dataset = _object(EnhancedMRImageStorage, 1)
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = 512, 512, words // (512 * 512)
    dataset.PixelData = bytes(2 * words)
    return dataset


def _object(sop_class: UID, number: int) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = f"2.25.{10**36 + number}"
    dataset.Modality = "CT"
    dataset.PatientID = dataset.StudyID = "BENCH"
    dataset.PatientName = "Bench^Mark"
    dataset.StudyInstanceUID = f"2.25.{2 * 10**36}"
    dataset.SeriesInstanceUID = f"2.25.{3 * 10**36}"
    dataset.SeriesNumber, dataset.InstanceNumber = 1, number
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    return dataset


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def _plain(runs: Mapping[str, list[Run]]) -> dict[str, list[dict[str, float]]]:
    return {name: [dataclasses.asdict(run) for run in own] for name, own in runs.items()}


if __name__ == "__main__":
    main()
