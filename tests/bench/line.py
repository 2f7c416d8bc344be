"""From the last C-STORE to the report in Orthanc: the stage split and the peak memory.

Sends a study through a whole site several times, a new site and a new archive each time, and
reports medians. Orthanc is the PACS; DCMTK's storescu the scanner.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import threading
from pathlib import Path

from pydicom import dcmread
from rich.console import Console
from rich.table import Table
from support.files import dicom_files
from support.orthanc import running_orthanc
from support.waiting import until

from gatekeeper import log
from gatekeeper.demo.run import stages
from gatekeeper.demo.site import SCANNER, running_site
from gatekeeper.history import StudyHistory, read_history
from storage.records import DeliveryState, JobState, Node


def main() -> None:
    """Read the arguments, measure, and print a table."""
    parser = argparse.ArgumentParser(prog="gatekeeper bench line", description=__doc__)
    parser.add_argument("study", type=Path, help="folder of one study")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    log.configure("ERROR")
    runs = [measure(arguments.study) for _ in range(arguments.repeats)]
    names = list(runs[0])
    medians = {name: statistics.median(run[name] for run in runs) for name in names}
    if arguments.json:
        print(json.dumps({"runs": runs, "medians": medians}, indent=2))  # noqa: T201
        return
    table = Table(title=f"{arguments.study}, {arguments.repeats} runs", title_justify="left")
    for heading in ("measure", "median", "least", "most"):
        table.add_column(heading)
    for name in names:
        values = [run[name] for run in runs]
        table.add_row(name, f"{medians[name]:.0f}", f"{min(values):.0f}", f"{max(values):.0f}")
    Console().print(table)


def measure(study: Path) -> dict[str, float]:
    """Return milliseconds of each stage and MiB of each role, of one run."""
    files = dicom_files(study)
    uid = str(dcmread(files[0], stop_before_pixels=True).StudyInstanceUID)
    folder = Path(tempfile.mkdtemp(prefix="gatekeeper-bench-"))
    try:
        with running_orthanc(str(shutil.which("Orthanc"))) as archive:
            node = Node(archive.aet, "127.0.0.1", archive.port, receives_results=True)
            with running_site(folder / "site", node, quiet_seconds=1.0) as site:
                memory = PeakMemory()
                memory.start()
                subprocess.run(
                    [
                        "storescu",
                        "-aet",
                        SCANNER,
                        "-aec",
                        site.node.ae_title,
                        "127.0.0.1",
                        str(site.node.port),
                        *map(str, files),
                    ],
                    env={**os.environ, "TCP_NODELAY": "1"},
                    check=True,
                )

                def delivered() -> StudyHistory | None:
                    with site.database.read() as tx:
                        history = read_history(tx, uid)
                    return history if history is not None and _ended(history) else None

                history = until(delivered, 900, "the results are delivered")
                memory.stop()
        received = 1000 * (history.study.last_received_at - history.study.first_received_at)
        return {
            "receive ms": received,
            **{f"{name} ms": value for name, value in stages(history).items()},
            **{f"peak {role} MiB": value for role, value in memory.peaks.items()},
        }
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _ended(history: StudyHistory) -> bool:
    newest = history.jobs[0] if history.jobs else None
    return (
        newest is not None
        and newest.job.state is JobState.DONE
        and all(item.state is DeliveryState.DELIVERED for item in newest.deliveries)
    )


class PeakMemory(threading.Thread):
    """Watches the resident peak of each role below this process."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peaks: dict[str, float] = {}
        self._done = threading.Event()

    def run(self) -> None:
        """Look four times a second; the kernel keeps the peaks in between."""
        while not self._done.wait(0.25):
            for role, mebibytes in _peaks(os.getpid()).items():
                self.peaks[role] = max(self.peaks.get(role, 0.0), mebibytes)

    def stop(self) -> None:
        """End the watch."""
        self._done.set()
        self.join()


def _peaks(root: int) -> dict[str, float]:
    """Return VmHWM in MiB by role of the processes below `root`."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(entry.name)] = int(stat[1])
    found: dict[str, float] = {}
    for pid in parents:
        ancestor = pid
        while ancestor in parents and ancestor != root:
            ancestor = parents[ancestor]
        if ancestor != root or pid == root:
            continue
        try:
            words = (Path("/proc") / str(pid) / "cmdline").read_bytes().split(b"\0")
            status = (Path("/proc") / str(pid) / "status").read_text()
        except OSError:
            continue
        role = _role([word.decode(errors="replace") for word in words if word])
        peak = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
        if role and peak:
            found[role] = max(found.get(role, 0.0), int(peak[0]) / 1024)
    return found


def _role(words: list[str]) -> str:
    if "gatekeeper.work.child" in words:
        return "work child"
    return words[-1] if "gatekeeper" in words else ""


if __name__ == "__main__":
    main()
