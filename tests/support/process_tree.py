"""Processor time and memory of processes and all below them, from /proc."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from pathlib import Path
from typing import Self

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class PeakResident(threading.Thread):
    """Watches the resident memory of process trees, twenty times a second; a context manager.

    Which processes are in them it looks up twice a second: looking takes a millisecond or two,
    and what is measured needs both cores.
    """

    def __init__(self, *roots: int) -> None:
        super().__init__(daemon=True)
        self._roots = roots
        self._done = threading.Event()
        self.mebibytes = 0.0

    def run(self) -> None:
        tree: set[int] = set()
        for look in itertools.count():
            if look % 10 == 0:
                tree = set(_tree(*self._roots))
            self.mebibytes = max(self.mebibytes, sum(map(_resident, tree)))
            if self._done.wait(0.05):
                return

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self.join()


def _resident(pid: int) -> float:
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:  # noqa: PTH123 - a `Path` costs more
            return int(file.read().split()[1]) * _PAGE / (1 << 20)
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


def _tree(*roots: int) -> dict[int, list[str]]:
    """Return /proc/PID/stat after the name, of processes and all below, the dead included."""
    every: dict[int, list[str]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                every[int(entry.name)] = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
    wanted = set(roots)
    while True:
        more = {pid for pid, fields in every.items() if int(fields[1]) in wanted} - wanted
        if not more:
            return {pid: every[pid] for pid in wanted if pid in every}
        wanted |= more


def cpu_seconds(*roots: int) -> float:
    """Return user and system time of process trees and of their children that were waited for."""
    ticks = sum(sum(map(int, fields[11:15])) for fields in _tree(*roots).values())
    return ticks / _TICKS


def resident_mib(*roots: int) -> float:
    """Return the resident memory of process trees."""
    return sum(map(_resident, _tree(*roots)))


def connections(pid: int, port: int) -> set[int]:
    """Return the ports of the peers, on this machine, that a process serves on its IPv4 port."""
    peers: dict[str, int] = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, state, *_, inode = line.split()[:10]
        if state == "01" and int(local.rpartition(":")[2], 16) == port:
            peers[f"socket:[{inode}]"] = int(remote.rpartition(":")[2], 16)
    found: set[int] = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(peers.get(str(entry.readlink()), 0))
    return found - {0}
