"""One process tree for all roles: each is started, watched, restarted, and stopped in order.

A role that dies is started again after a delay that doubles up to a limit and falls back once the
role has stayed up. On SIGTERM or SIGINT every role gets SIGTERM and, after a deadline, SIGKILL; on
SIGHUP likewise, and each is then started again with the settings as they are by then.
Each role is the same program that `gatekeeper listen | work | send | tick | web` runs, so one
machine and a site of many differ only in who starts the processes.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

from gatekeeper.extras import web_problem
from gatekeeper.log import get_logger
from gatekeeper.settings import Settings

FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 30.0
STAYED_UP_SECONDS = 60.0
STOP_SECONDS = 20.0
_LOOK_SECONDS = 0.1

_SUPERVISOR = "GATEKEEPER_SUPERVISOR"
"""Variable of a role's environment: process id of what restarts it."""

log = get_logger()


def is_supervised() -> bool:
    """Return whether this process is a role of `gatekeeper up`."""
    return os.environ.get(_SUPERVISOR) == str(os.getppid())


def restart_all() -> bool:
    """Ask the supervisor to restart every role, this one too; False where there is none."""
    if not is_supervised():
        return False
    os.kill(os.getppid(), signal.SIGHUP)
    return True


@dataclass(frozen=True, slots=True)
class Role:
    """One process of the tree: its name in the log and its command line."""

    name: str
    command: tuple[str, ...]


@dataclass(slots=True)
class _Running:
    role: Role
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    start_at: float = 0.0
    delay: float = FIRST_DELAY_SECONDS
    kill_at: float | None = None
    """When it is killed, once told to end so as to be started again; None while it was not."""


def roles(settings: Settings, config: Path | None) -> tuple[Role, ...]:
    """Return the roles of one machine: a listener, the workers, a sender, periodic work, and the
    web when it has a port and its extra is installed."""
    program = (sys.executable, "-P", "-m", "gatekeeper")
    option = ("--config", str(config)) if config is not None else ()
    names = ["listen", *["work"] * settings.work.processes, "send", "tick"]
    if settings.web.port and web_problem() is None:
        names.append("web")
    return tuple(Role(name, (*program, *option, name)) for name in names)


class Supervisor:
    """Keeps a set of roles running until told to stop.

    Args:
        roles: what to run.
        environment: variables of the roles; None means those of this process.
        stop_seconds: how long roles have to end before they are killed.
        first_delay_seconds: wait before a role that ended is started again; doubles each time.
        longest_delay_seconds: longest such wait.
        standard_error: file that the roles write their events to; None means ours.
        on_exit: told the role and exit code each time one ends unasked.
        before_end: called before the roles are told to end.
        inherit: descriptors that every role inherits.
        name: of the whole in the log.
    """

    def __init__(
        self,
        roles: Sequence[Role],
        *,
        environment: dict[str, str] | None = None,
        stop_seconds: float = STOP_SECONDS,
        first_delay_seconds: float = FIRST_DELAY_SECONDS,
        longest_delay_seconds: float = LONGEST_DELAY_SECONDS,
        standard_error: IO[bytes] | None = None,
        on_exit: Callable[[Role, int], None] | None = None,
        before_end: Callable[[], None] | None = None,
        inherit: Sequence[int] = (),
        name: str = "up",
    ) -> None:
        self._running = [_Running(role, delay=first_delay_seconds) for role in roles]
        self._first_delay_seconds = first_delay_seconds
        self._longest_delay_seconds = longest_delay_seconds
        self._environment = dict(os.environ if environment is None else environment)
        self._stop_seconds = stop_seconds
        self._standard_error = standard_error
        self._on_exit = on_exit
        self._before_end = before_end
        self._inherit = tuple(inherit)
        self._name = name
        self._stop = threading.Event()
        self._restart = threading.Event()

    def restart(self) -> None:
        """Ask `run` to restart every role; safe from a signal handler or another thread."""
        self._restart.set()

    def stop(self) -> None:
        """Ask `run` to end; safe from a signal handler or another thread."""
        self._stop.set()

    def run(self) -> None:
        """Run the roles until `stop`, then end them all."""
        try:
            while not self._stop.is_set():
                if self._restart.is_set():
                    self._restart.clear()
                    self._begin_restart()
                for item in self._running:
                    self._look_after(item)
                self._stop.wait(_LOOK_SECONDS)
        finally:
            self._end_all()

    @property
    def process_ids(self) -> dict[str, list[int]]:
        """Process ids by role name, of the roles that are up."""
        found: dict[str, list[int]] = {}
        for item in self._running:
            if item.process is not None:
                found.setdefault(item.role.name, []).append(item.process.pid)
        return found

    def _look_after(self, item: _Running) -> None:
        now = time.monotonic()
        if item.process is None:
            if now >= item.start_at:
                # A session of its own: a terminal's Ctrl-C reaches us alone, and we stop the
                # roles in order.
                item.process = subprocess.Popen(
                    item.role.command,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stderr=self._standard_error,
                    start_new_session=True,
                    pass_fds=self._inherit,
                )
                item.started = now
                log.info("role_started", role=item.role.name, pid=item.process.pid)
            return
        code = item.process.poll()
        if code is None:
            if item.kill_at is not None and now >= item.kill_at:
                log.error("role_killed", role=item.role.name, limit=self._stop_seconds)
                item.process.kill()
                item.kill_at = math.inf
            return
        if item.kill_at is not None:
            item.process, item.kill_at, item.start_at = None, None, now
            item.delay = self._first_delay_seconds
            return
        stayed_up = now - item.started >= STAYED_UP_SECONDS
        item.delay = self._first_delay_seconds if stayed_up else item.delay
        item.start_at = now + item.delay
        log.error("role_ended", role=item.role.name, exit_code=code, seconds=item.delay)
        item.delay = min(2 * item.delay, self._longest_delay_seconds)
        item.process = None
        if self._on_exit is not None:
            self._on_exit(item.role, code)

    def _begin_restart(self) -> None:
        log.info("roles_restarted", role=self._name)
        for item in self._running:
            if item.process is not None and item.process.poll() is None:
                item.kill_at = time.monotonic() + self._stop_seconds
                item.process.terminate()

    def _end_all(self) -> None:
        if self._before_end is not None:
            self._before_end()
        alive = [item for item in self._running if item.process is not None]
        for item in alive:
            if item.process is not None and item.process.poll() is None:
                item.process.terminate()
        deadline = time.monotonic() + self._stop_seconds
        for item in alive:
            if item.process is None:
                continue
            try:
                item.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                item.process.kill()
                item.process.wait()
                log.error("role_killed", role=item.role.name, limit=self._stop_seconds)
            item.process = None
        log.info("stopped", role=self._name)


def serve(settings: Settings, config: Path | None) -> None:
    """Run every role of this machine until SIGTERM or SIGINT; the body of `gatekeeper up`."""
    environment = {**os.environ, _SUPERVISOR: str(os.getpid())}
    supervisor = Supervisor(roles(settings, config), environment=environment)

    def stop(_number: int, _frame: FrameType | None) -> None:
        supervisor.stop()

    def restart(_number: int, _frame: FrameType | None) -> None:
        supervisor.restart()

    signal.signal(signal.SIGHUP, restart)
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    supervisor.run()
