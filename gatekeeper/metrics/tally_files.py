"""Tallies handed from process to process: one small file each, beside the spool's objects.

Every few seconds a process replaces its file ``counters/HOST.ROLE.json`` by a rename; nothing is
synchronised, nothing waits for it, and trouble with it stops nobody. The file belongs to whoever
holds the lock beside it, so a second process of the role takes the next name. A process that starts
again counts from zero under its name, which is what Prometheus takes a fall of a counter for.

A reader leaves out a file that has not changed for `STALE` periods by the reader's own clock: its
process is gone. So clocks need not agree, and dead processes do not add up.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gatekeeper.log import error_name, get_logger
from gatekeeper.metrics.tally import Counts, Tally, read_counts

FOLDER = "counters"
STALE = 6
"""Periods after which a file that did not change is left out."""
MOST_FILES = 256
"""Files that are read."""

_MOST_OF_A_ROLE = 64
_LARGEST = 64 * 1024
_NAME = re.compile(r"[A-Za-z0-9._-]{1,80}\.json")
_NOT_IN_NAMES = re.compile(r"[^a-z0-9-]")

log = get_logger()


class TallyWriter:
    """Writes the tally of this process every few seconds, from a thread of its own.

    Args:
        tally: what is counted.
        spool: root folder of the spool.
        role: ``listen`` or ``web``.
        seconds: how often it is written.
    """

    def __init__(self, tally: Tally, spool: Path, role: str, seconds: float) -> None:
        self._tally = tally
        self._folder = spool / FOLDER
        self._role = role
        self._seconds = seconds
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock: int | None = None
        self._path: Path | None = None
        self._failing = False

    def start(self) -> None:
        """Start writing."""
        self._thread = threading.Thread(target=self._run, name="tally", daemon=True)
        self._thread.start()

    def stop(self, deadline_seconds: float) -> None:
        """Stop writing, and remove the file: what this process counted is over."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(deadline_seconds)
        with contextlib.suppress(OSError):
            if self._path is not None:
                self._path.unlink(missing_ok=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _run(self) -> None:
        for number in itertools.count():
            try:
                self._write(number)
            except OSError as error:
                if not self._failing:
                    log.warning("tally_not_written", error=error_name(error), role=self._role)
                self._failing = True
            else:
                self._failing = False
            if self._stopping.wait(self._seconds):
                return

    def _write(self, number: int) -> None:
        path = self._path or self._claim()
        written = path.with_suffix(".new")
        written.write_text(
            json.dumps({"number": number, "pid": os.getpid(), **self._tally.counts()}),
            encoding="utf-8",
        )
        written.replace(path)

    def _claim(self) -> Path:
        """Return the path of our file, the first of this role whose lock nobody holds."""
        self._folder.mkdir(mode=0o750, exist_ok=True)
        host = _NOT_IN_NAMES.sub("-", socket.gethostname().lower())[:24] or "host"
        for number in range(1, _MOST_OF_A_ROLE + 1):
            name = self._role if number == 1 else f"{self._role}-{number}"
            path = self._folder / f"{host}.{name}.json"
            lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                continue
            except OSError:
                os.close(lock)
                raise
            self._lock, self._path = lock, path
            return path
        raise OSError("every name of this role is taken")


@dataclass(frozen=True, slots=True)
class _Seen:
    mark: tuple[Any, Any]
    at: float


class TallyReader:
    """Reads the tallies of all processes that share the spool.

    Args:
        spool: root folder of the spool.
        seconds: how often they are written.
    """

    def __init__(self, spool: Path, seconds: float) -> None:
        self._folder = spool / FOLDER
        self._stale_seconds = STALE * seconds
        self._seen: dict[str, _Seen] = {}

    def read(self) -> dict[str, Counts]:
        """Return the counts of each process that lives, by ``HOST.ROLE``.

        Raises:
            OSError: if the folder is there and cannot be read.
        """
        clock = time.monotonic()
        found: dict[str, Counts] = {}
        seen: dict[str, _Seen] = {}
        for name, content in self._files():
            try:
                values = json.loads(content)
                counts = read_counts(values)
            except ValueError:
                # Of another version, or no file of ours.
                continue
            mark = (values.get("pid"), values.get("number"))
            before = self._seen.get(name)
            here = before if before is not None and before.mark == mark else _Seen(mark, clock)
            seen[name] = here
            if clock - here.at < self._stale_seconds:
                found[name] = counts
        self._seen = seen
        return found

    def _files(self) -> Iterator[tuple[str, bytes]]:
        if not self._folder.is_dir():
            return
        names = sorted(one.name for one in self._folder.iterdir() if _NAME.fullmatch(one.name))
        for name in names[:MOST_FILES]:
            # One may end, and take its file with it, at any moment.
            with contextlib.suppress(FileNotFoundError), (self._folder / name).open("rb") as file:
                yield name.removesuffix(".json"), file.read(_LARGEST)
