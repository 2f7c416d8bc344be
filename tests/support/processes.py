"""Roles as processes that are up in a moment: forked from one that has imported everything.

Each is a process of its own, with the role's own main function, to be killed like any other.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from support.waiting import until

ROLES = {
    "listen": "gatekeeper.listen.role",
    "work": "gatekeeper.work.worker",
    "send": "gatekeeper.send.sender",
    "tick": "gatekeeper.periodic",
    "web": "gatekeeper.web.server",
}
START_SECONDS = 60.0

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["gatekeeper.config", "gatekeeper.listen.process", *ROLES.values()])


@dataclass(frozen=True)
class RoleProcess:
    """A role that runs.

    Attributes:
        process: the process.
        log: file of its events.
    """

    process: BaseProcess
    log: Path

    def died(self) -> bool:
        """Wait for the process's end and return whether it was SIGKILL."""
        self.process.join(START_SECONDS)
        assert self.process.exitcode is not None, "it did not end"
        return self.process.exitcode == -9

    def said(self, event: str) -> bool:
        """Return whether the event is in the log."""
        return f'"event": "{event}"' in self.log.read_text(encoding="utf-8")


@contextmanager
def role(name: str, folder: Path, points: str = "", **settings: object) -> Generator[RoleProcess]:
    """Run a role until the block ends, then kill it.

    Args:
        name: ``listen``, ``work``, ``send``, ``tick`` or ``web``.
        folder: where the log goes.
        points: failpoints, as `storage.failpoint` reads them.
        settings: as environment variables without their prefix: ``LISTEN_PORT=...``.
    """
    log = folder / f"{name}-{time.monotonic_ns()}.log"
    log.touch()
    environment = {f"GATEKEEPER_{key}": str(value) for key, value in settings.items()}
    process = _context.Process(target=_main, args=(name, environment, points, str(log)))
    process.start()
    try:
        yield RoleProcess(process, log)
    finally:
        process.kill()
        process.join(START_SECONDS)
        process.close()


def is_up(running: RoleProcess, event: str) -> None:
    """Wait until the role has written this event, or died before."""
    until(
        lambda: running.said(event) or running.process.exitcode is not None,
        START_SECONDS,
        f"the role says {event}",
    )


def _main(name: str, environment: dict[str, str], points: str, log_file: str) -> None:
    """Be the role; runs in the new process."""
    from gatekeeper import config, log
    from storage import failpoint

    for key in [key for key in os.environ if key.startswith("GATEKEEPER_")]:
        del os.environ[key]
    os.environ.pop("PYTEST_VERSION", None)
    os.environ.update(environment)
    if points:
        # For the worker's child, which is started afresh.
        os.environ[failpoint.VARIABLE] = points
    with (
        Path(log_file).open("w", encoding="utf-8", buffering=1) as stream,
        failpoint.armed(points) if points else contextlib.nullcontext(),
    ):
        settings = config.load(None)
        log.configure(settings.log.level, stream)
        importlib.import_module(ROLES[name]).serve(settings)
