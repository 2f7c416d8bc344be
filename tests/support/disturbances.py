"""What a fault campaign does to a running site: kills, and cuts of archive, database and disk."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from support.orthanc import Orthanc
from support.postgres import PostgresServer

LIVES = {"listen": 3.0, "share": 4.0, "work": 8.0, "child": 6.0, "send": 2.0, "tick": 2.0}
"""Mean seconds that a process of each role lives once it is up, where there is no time to spare."""
_START_SECONDS = {
    "listen": 0.8,
    "share": 0.5,
    "work": 0.45,
    "child": 0.0,
    "send": 0.45,
    "tick": 0.5,
}
"""Processor time that a role takes to come up, on however busy a machine."""

_CHILDREN = {"work": "child", "listen": "share"}
"""What the children of a role are called: of a listener of several processes, those and the
recorder."""

Cut = Callable[[], AbstractContextManager[None]]


class Reaper:
    """Gives every process of the roles a life of random length, and ends it with SIGKILL.

    Args:
        process_ids: of the roles that are up, by role.
        chance: where the lengths come from.
    """

    def __init__(
        self, process_ids: Callable[[], Mapping[str, list[int]]], chance: random.Random
    ) -> None:
        self._process_ids = process_ids
        self._chance = chance
        self._ends: dict[int, float] = {}
        self.kills: Counter[str] = Counter()

    def reap(self, at_most: int, seconds: float, spared: Collection[str] = ()) -> None:
        """Kill whatever has lived its life, but no more than so many, and no spared role.

        Lives that begin are so long that the kills fill two thirds of the `seconds` left, and the
        site works in between.
        """
        now = time.monotonic()
        alive = Counter(role for role, _ in self._alive())
        longer = max(1.0, seconds / 1.5 / max(at_most, 1) * _kills_each_second(alive))
        for role, pid in self._alive():
            if pid not in self._ends:
                if _processor_seconds(pid) >= _START_SECONDS[role]:
                    self._ends[pid] = now + longer * self._chance.expovariate(1 / LIVES[role])
            elif self._ends[pid] <= now and at_most > 0 and role not in spared:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    self.kills[role] += 1
                    at_most -= 1
                del self._ends[pid]

    def _alive(self) -> Iterator[tuple[str, int]]:
        for role, pids in self._process_ids().items():
            for pid in pids:
                yield role, pid
                if role in _CHILDREN:
                    yield from ((_CHILDREN[role], child) for child in children(pid))


def _kills_each_second(alive: Mapping[str, int]) -> float:
    """Return how many there would be with the shortest lives, each worker having a child."""
    numbers = {**alive, "child": alive.get("work", 0)}
    return sum(number / LIVES[role] for role, number in numbers.items())


def children(pid: int) -> list[int]:
    """Return the process ids of a process's children; none when it is gone."""
    try:
        return [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text(encoding="ascii").split()
        ]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _processor_seconds(pid: int) -> float:
    try:
        # What follows the name in brackets, which may hold anything.
        numbers = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(numbers[11]) + int(numbers[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def orthanc_gone(archive: Orthanc) -> Generator[None]:
    """Orthanc is killed, and started again."""
    archive.kill()
    try:
        yield
    finally:
        archive.start_again()


@contextmanager
def orthanc_silent(archive: Orthanc) -> Generator[None]:
    """Orthanc takes connections and answers nothing: half-open to whoever calls it."""
    archive.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        archive.process.send_signal(signal.SIGCONT)


@contextmanager
def postgres_gone(server: PostgresServer) -> Generator[None]:
    """PostgreSQL is stopped, cutting off its clients, and started again."""
    server.stop()
    try:
        yield
    finally:
        server.start()


@contextmanager
def sqlite_locked(url: str) -> Generator[None]:
    """Another program holds SQLite's write lock."""
    connection = sqlite3.connect(url.removeprefix("sqlite:///"), timeout=60, isolation_level=None)
    try:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")
    finally:
        connection.close()


class Disk:
    """The spool's disk: a small file system in memory where it may be mounted.

    Where it may not, a file makes every write into the spool fail as on a full disk.

    Attributes:
        mounted: whether it is a file system of its own.
        failpoint: what the roles' environment must name.
    """

    def __init__(self, spool: Path, switch: Path, size_mib: int) -> None:
        spool.mkdir(parents=True)
        self._spool = spool
        self._switch = switch
        size = f"size={size_mib}m,mode=0750"
        mount = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(spool)]
        self.mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
        self.failpoint = "" if self.mounted else f"spool.written=enospc@{switch}"

    @contextmanager
    def full(self) -> Generator[None]:
        """There is no space left for a while."""
        ballast = self._spool / "ballast" if self.mounted else self._switch
        try:
            with ballast.open("wb") as file:
                while self.mounted and (free := _free_bytes(self._spool)) > 0:
                    with contextlib.suppress(OSError):
                        os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), free)
                        file.seek(0, os.SEEK_END)
            yield
        finally:
            ballast.unlink()

    def close(self) -> None:
        """Unmount it."""
        if self.mounted:
            subprocess.run(["umount", "--lazy", str(self._spool)], check=False)


def _free_bytes(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize
