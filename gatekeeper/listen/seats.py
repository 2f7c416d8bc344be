"""Seats: limited numbers that hold for all processes of a listener together.

A connection or an association takes a seat and leaves it. One process counts for itself
(`OwnSeats`). Several share a table in memory (`SharedSeats`): an entry a seat, with the process
that holds it and a digest of whom it is for. Whoever changes the table holds a lock that goes with
its process; whoever starts the processes frees the seats of one that died.

The limits were not divided among the processes, since the kernel does not divide the connections:
a host could then be refused at half of what it may have.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import mmap
import os
import threading
import time
from collections import Counter
from collections.abc import Generator
from typing import Protocol

MOST_PROCESSES = 32
"""Processes that one table can tell apart."""

_ENTRY = 16
_KEY = _ENTRY - 1
_FREE = bytes(_ENTRY)
_LOCK_SECONDS = 0.1
_LOCK_AGAIN_SECONDS = 0.0002


class Seats(Protocol):
    """Seats that can be taken and left, from any thread."""

    def take(self, whom: str, most: int) -> int:
        """Take a seat for `whom`, who may have `most`; return 0, or the limit that is reached."""
        ...

    def leave(self, whom: str) -> None:
        """Leave a seat that this process took for `whom`."""
        ...


class OwnSeats:
    """The seats of one process that shares them with no other.

    Args:
        total: how many there are.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._lock = threading.Lock()
        self._taken: Counter[str] = Counter()

    def take(self, whom: str, most: int) -> int:
        """See `Seats.take`."""
        with self._lock:
            if self._taken.total() >= self._total:
                return self._total
            if self._taken[whom] >= most:
                return most
            self._taken[whom] += 1
            return 0

    def leave(self, whom: str) -> None:
        """See `Seats.leave`."""
        with self._lock:
            self._taken[whom] -= 1
            if self._taken[whom] <= 0:
                del self._taken[whom]


class Table:
    """The memory that the processes of one listener share: two kinds of seats, and who is up.

    Args:
        memory: descriptor of a memory file (`new_memory`), the same in every process.
        connections: how many connections have a seat.
        associations: how many associations have one.
        process: number of this process, from 1; 0 for the one that started the others.
    """

    def __init__(self, memory: int, connections: int, associations: int, process: int) -> None:
        self._lock = _Lock(memory)
        self._process = process
        self._map = mmap.mmap(memory, _size(connections, associations))
        first = MOST_PROCESSES + 1
        self.connections = SharedSeats(self._map, self._lock, first, connections, process)
        start = first + _ENTRY * connections
        self.associations = SharedSeats(self._map, self._lock, start, associations, process)

    def say_up(self, up: bool) -> None:
        """Say whether this process takes connections."""
        self._map[self._process] = up

    def others_have_room(self) -> bool:
        """Return whether another process that is up has fewer connections than this one."""
        loads = self.connections.loads()
        mine = loads[self._process]
        return any(
            up and loads[process] < mine
            for process, up in enumerate(self._map[: MOST_PROCESSES + 1])
            if process != self._process
        )

    def free(self, process: int) -> None:
        """Free what a process held that has ended."""
        self._map[process] = False
        self.connections.free(process)
        self.associations.free(process)


def new_memory(connections: int, associations: int) -> int:
    """Return the descriptor of memory for a table; a child process may inherit it.

    Raises:
        OSError: if there is none.
    """
    memory = os.memfd_create("gatekeeper-seats")
    os.ftruncate(memory, _size(connections, associations))
    return memory


def _size(connections: int, associations: int) -> int:
    return MOST_PROCESSES + 1 + _ENTRY * (connections + associations)


class SharedSeats:
    """One kind of seats in the shared memory; made by `Table`."""

    def __init__(
        self, memory: mmap.mmap, lock: _Lock, start: int, total: int, process: int
    ) -> None:
        self._memory = memory
        self._lock = lock
        self._start, self._end = start, start + _ENTRY * total
        self._total = total
        self._process = process

    def take(self, whom: str, most: int) -> int:
        """See `Seats.take`."""
        key = _key(whom)
        with self._lock.held():
            entries = self._memory[self._start : self._end]
            free = entries[::_ENTRY].find(0)
            if free < 0:
                return self._total
            if entries.count(key) >= most:
                return most
            self._write(free, bytes((self._process,)) + key)
            return 0

    def leave(self, whom: str) -> None:
        """See `Seats.leave`."""
        entry = bytes((self._process,)) + _key(whom)
        with self._lock.held():
            found = self._memory[self._start : self._end].find(entry)
            if found >= 0:
                self._write(found // _ENTRY, _FREE)

    def free(self, process: int) -> None:
        """Free every seat of a process."""
        with self._lock.held():
            for seat, holder in enumerate(self._memory[self._start : self._end : _ENTRY]):
                if holder == process:
                    self._write(seat, _FREE)

    def loads(self) -> list[int]:
        """Return how many seats each process holds, by its number."""
        holders = self._memory[self._start : self._end : _ENTRY]
        return [holders.count(process) for process in range(MOST_PROCESSES + 1)]

    def _write(self, seat: int, entry: bytes) -> None:
        at = self._start + _ENTRY * seat
        self._memory[at : at + _ENTRY] = entry


class _Lock:
    """Keeps threads and processes apart while they change the table.

    It is held for microseconds. A process that was stopped just then would hold up the intake of
    all, so the wait ends, and the table is changed without: a limit may be off by one then.
    """

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._threads = threading.Lock()

    @contextlib.contextmanager
    def held(self) -> Generator[None]:
        with self._threads:
            held = self._take()
            try:
                yield
            finally:
                if held:
                    fcntl.lockf(self._memory, fcntl.LOCK_UN)

    def _take(self) -> bool:
        deadline = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                # By process, unlike flock: the descriptor is inherited.
                fcntl.lockf(self._memory, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                if time.monotonic() >= deadline:
                    return False
                time.sleep(_LOCK_AGAIN_SECONDS)
            else:
                return True


def _key(whom: str) -> bytes:
    return hashlib.blake2b(whom.encode(), digest_size=_KEY).digest()
