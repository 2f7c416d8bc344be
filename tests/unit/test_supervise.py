"""The process tree: what dies is started again, and stopping stops everything."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from support.waiting import until

from gatekeeper.settings import Settings, WebSettings
from gatekeeper.supervise import Role, Supervisor, roles

DEADLINE_SECONDS = 20.0
SLEEPER = "import signal; signal.pause()"
DEAF = """
import signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(sys.argv[1], "w").close()
signal.pause()
"""


def wait_for(condition: Callable[[], bool]) -> None:
    until(condition, DEADLINE_SECONDS, "the process tree is as awaited")


@contextmanager
def running(supervisor: Supervisor) -> Generator[None]:
    thread = threading.Thread(target=supervisor.run)
    thread.start()
    try:
        yield
    finally:
        supervisor.stop()
        thread.join(DEADLINE_SECONDS * 2)
        assert not thread.is_alive()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_killed_role_is_started_again() -> None:
    """A role that dies comes back under a new process id, and its exit is reported."""
    exits: list[tuple[str, int]] = []
    supervisor = Supervisor(
        [Role("sleeper", (sys.executable, "-c", SLEEPER))],
        on_exit=lambda role, code: exits.append((role.name, code)),
    )
    with running(supervisor):
        wait_for(lambda: bool(supervisor.process_ids))
        first = supervisor.process_ids["sleeper"][0]
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: supervisor.process_ids.get("sleeper", [first]) != [first])
    assert exits == [("sleeper", -signal.SIGKILL)]


def test_stopping_ends_every_role() -> None:
    """After run returns, no process of the tree is left."""
    supervisor = Supervisor(
        [Role(name, (sys.executable, "-c", SLEEPER)) for name in ("one", "two")]
    )
    with running(supervisor):
        wait_for(lambda: len(supervisor.process_ids) == 2)
        pids = [pid for group in supervisor.process_ids.values() for pid in group]
    assert not any(alive(pid) for pid in pids)


def test_a_role_that_ignores_the_request_to_stop_is_killed(tmp_path: Path) -> None:
    """Stopping has a deadline."""
    said = tmp_path / "said"
    command = (sys.executable, "-c", DEAF, str(said))
    supervisor = Supervisor([Role("deaf", command)], stop_seconds=0.5)
    with running(supervisor):
        wait_for(said.exists)
        pid = supervisor.process_ids["deaf"][0]
    assert not alive(pid)


def test_a_restart_gives_every_role_a_new_process_and_no_alarm(tmp_path: Path) -> None:
    """One that does not listen is killed after the deadline and started again like the others."""
    exits: list[str] = []
    said = tmp_path / "said"
    roles_of = [
        Role("sleeper", (sys.executable, "-c", SLEEPER)),
        Role("deaf", (sys.executable, "-c", DEAF, str(said))),
    ]
    supervisor = Supervisor(
        roles_of, stop_seconds=0.5, on_exit=lambda role, _code: exits.append(role.name)
    )
    with running(supervisor):
        wait_for(lambda: len(supervisor.process_ids) == 2 and said.exists())
        before = supervisor.process_ids
        supervisor.restart()

        def is_new() -> bool:
            after = supervisor.process_ids
            return len(after) == 2 and all(after[name] != before[name] for name in before)

        wait_for(is_new)
        assert not any(alive(pid) for group in before.values() for pid in group)
    assert exits == []


def test_a_role_that_fails_at_once_is_not_started_in_a_tight_loop() -> None:
    """The delay between starts doubles."""
    exits: list[float] = []
    supervisor = Supervisor(
        [Role("failing", (sys.executable, "-c", "raise SystemExit(3)"))],
        on_exit=lambda _role, _code: exits.append(time.monotonic()),
    )
    with running(supervisor):
        wait_for(lambda: len(exits) >= 3)
    assert exits[2] - exits[1] > exits[1] - exits[0]


def test_the_web_role_is_run_when_it_has_a_port() -> None:
    """It has one by default; without one, nothing listens that was not asked for."""
    usual = [role.name for role in roles(Settings(web=WebSettings(port=0)), None)]
    with_web = [role.name for role in roles(Settings(), None)]
    assert "web" not in usual
    assert with_web == [*usual, "web"]
