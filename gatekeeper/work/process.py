"""The child process as the worker holds it: started, asked, watched, killed.

A child that dies, is over a limit, or says anything but a valid answer raises `ChildFailed` with a
reason for people; the next question starts a fresh one. What it prints is drained, bounded and
never logged: only code locations are taken out of it after a crash.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from gatekeeper.errors import ChildFailed
from gatekeeper.log import get_logger
from gatekeeper.work import limits

START_SECONDS = 120.0
"""Longest wait for the child's first word: it imports nothing large before it."""
LOOK_SECONDS = 0.1
"""How often memory, clock and cancellation are looked at."""
LARGEST_LINE = 65536
"""Bytes of a reply line."""
LARGEST_TAIL = 65536
"""Bytes of the child's standard error that are kept, the last ones."""
END_SECONDS = 10.0
"""Wait for a killed child to be gone."""

_LOCATION = re.compile(r'File "[^"]*?([A-Za-z0-9_]+\.py)", line (\d+) in ([A-Za-z0-9_<>]+)')

log = get_logger()


class ChildStopped(ChildFailed):
    """The child was stopped because the worker asked for it, not for anything it did."""


class ChildOutOfSpace(ChildFailed):
    """The child found a disk full, which is not the fault of what it was asked about."""


@dataclass(frozen=True, slots=True)
class ChildLimits:
    """What the child may use, apart from the processor time that each request names.

    Attributes:
        memory_mib: address space, or resident memory when it uses CUDA.
        device: ``auto``, ``cpu`` or ``cuda``.
        threads: processor threads; 0 means all.
    """

    memory_mib: int
    device: str = "cpu"
    threads: int = 0


class Child:
    """One child process at a time, started when first asked.

    To be used from one thread, the one that lives as long as the process: the kernel kills the
    child when the thread that started it ends.

    Args:
        child_limits: what it may use.
        module: that is run; it speaks as `gatekeeper.work.child` does.
    """

    def __init__(self, child_limits: ChildLimits, module: str = "gatekeeper.work.child") -> None:
        self._limits = child_limits
        self._module = module
        self._process: subprocess.Popen[bytes] | None = None
        self._tail = Tail()
        self._line = b""

    @property
    def pid(self) -> int | None:
        """Process id, None when none is running."""
        return None if self._process is None else self._process.pid

    def ask(
        self,
        request: Path,
        cpu_seconds: float,
        wall_seconds: float,
        cancelled: threading.Event,
    ) -> dict[str, Any]:
        """Return the child's reply to the request in the file `request`.

        A child whose accelerator failed answers from the processor and is gone afterwards.

        Raises:
            ChildStopped: when `cancelled` was set; the child is killed.
            ChildOutOfSpace: when it found a disk full; the child is gone.
            ChildFailed: when it gave no valid reply; the child is gone.
        """
        self.start(cancelled)
        try:
            self._send({"request": str(request)})
            reply = self._receive(wall_seconds, cpu_seconds, cancelled)
        except BaseException:
            self.stop()
            raise
        if "failed" in reply:
            self.stop()
            kind = ChildOutOfSpace if reply.get("out_of_space") is True else ChildFailed
            raise kind(str(reply["failed"]))
        if "worn" in reply:
            log.warning("accelerator_failed", reason="judged on the processor")
            self.stop()
        return reply

    def stop(self) -> None:
        """Kill the child, if there is one, and whatever it started."""
        process, self._process = self._process, None
        if process is None:
            return
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            process.kill()
        process.wait(END_SECONDS)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        self._tail.close()

    def start(self, cancelled: threading.Event) -> None:
        """Have a child running and ready; nothing to do when one is.

        Raises:
            ChildStopped: when `cancelled` was set.
            ChildFailed: when it did not start.
        """
        if self._process is not None and self._process.poll() is None:
            return
        self.stop()
        try:
            self._start(cancelled)
        except BaseException:
            self.stop()
            raise

    def _start(self, cancelled: threading.Event) -> None:
        command = [sys.executable, "-P", "-m", self._module]
        command += ["--parent", str(os.getpid())]
        command += ["--memory-mib", str(self._limits.memory_mib), "--device", self._limits.device]
        self._line = b""
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=_environment(self._limits.threads),
            start_new_session=True,
        )
        self._tail = Tail()
        self._tail.drain(cast(Any, self._process.stderr))
        ready = self._receive(START_SECONDS, START_SECONDS, cancelled)
        if "ready" not in ready:
            raise ChildFailed("did not start as it should")

    def _send(self, message: Mapping[str, Any]) -> None:
        # Far below the capacity of a pipe that the child has emptied, so this cannot block.
        try:
            cast(Any, self._running().stdin).write(json.dumps(message).encode() + b"\n")
        except BrokenPipeError:
            raise ChildFailed(self._how_it_ended(0.0)) from None

    def _receive(
        self, wall_seconds: float, cpu_seconds: float, cancelled: threading.Event
    ) -> dict[str, Any]:
        process = self._running()
        descriptor = cast(Any, process.stdout).fileno()
        deadline = time.monotonic() + wall_seconds
        while b"\n" not in self._line:
            if cancelled.is_set():
                raise ChildStopped("stopped by the worker")
            if time.monotonic() > deadline:
                raise ChildFailed(f"killed at the limit of {wall_seconds:g} s of elapsed time")
            if limits.anonymous_mib(process.pid) > self._limits.memory_mib:
                raise ChildFailed(f"killed at the memory limit of {self._limits.memory_mib} MiB")
            if not select.select([descriptor], [], [], LOOK_SECONDS)[0]:
                continue
            data = os.read(descriptor, LARGEST_LINE)
            if not data:
                raise ChildFailed(self._how_it_ended(cpu_seconds))
            self._line += data
            if len(self._line) > LARGEST_LINE:
                raise ChildFailed("gave an answer without an end")
        line, _, self._line = self._line.partition(b"\n")
        return _parsed(line)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ChildFailed("is not running")
        return self._process

    def _how_it_ended(self, cpu_seconds: float) -> str:
        try:
            code = self._running().wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            return "closed its answers without ending"
        if code >= 0:
            return f"ended with exit code {code} and no answer"
        name = signal.Signals(-code).name
        if -code == signal.SIGXCPU:
            return f"killed at the limit of {cpu_seconds:g} s of processor time"
        if -code == signal.SIGKILL:
            return "killed by the system (SIGKILL), perhaps out of memory"
        return f"crashed with {name}{self._tail.location()}"


def _environment(threads: int) -> dict[str, str]:
    environment = dict(os.environ)
    # glibc reserves 64 MiB of address space for each arena; two are enough and keep RLIMIT_AS true.
    environment["MALLOC_ARENA_MAX"] = "2"
    environment["PYTHONSAFEPATH"] = "1"
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
        environment["OPENBLAS_NUM_THREADS"] = str(threads)
        environment["MKL_NUM_THREADS"] = str(threads)
    return environment


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        reply: object = json.loads(line)
    except ValueError:
        raise ChildFailed("gave an answer that is not JSON") from None
    if not isinstance(reply, dict):
        raise ChildFailed("gave an answer that is not an object")
    return cast(dict[str, Any], reply)


class Tail:
    """The end of what the child printed; kept for code locations alone.

    Attributes:
        kept: at most `LARGEST_TAIL` bytes; may hold patient data.
    """

    def __init__(self) -> None:
        self.kept = b""
        self._thread: threading.Thread | None = None

    def drain(self, pipe: Any) -> None:
        """Read `pipe` to its end in a thread of its own."""

        def read() -> None:
            with pipe:
                while data := pipe.read(LARGEST_TAIL):
                    self.kept = (self.kept + data)[-LARGEST_TAIL:]

        self._thread = threading.Thread(target=read, name="child-stderr", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Wait for the end of the pipe, which the child's death brings."""
        if self._thread is not None:
            self._thread.join(END_SECONDS)

    def location(self) -> str:
        """Return the first code location that faulthandler printed: `` in detect (x.py:88)``."""
        self.close()
        found = _LOCATION.search(self.kept.decode("ascii", errors="replace"))
        return "" if found is None else f" in {found[3]} ({found[1]}:{found[2]})"
