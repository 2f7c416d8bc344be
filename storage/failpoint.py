"""Failpoints: places where a test may make any process fail, by name, from outside.

Off unless the environment variable ``GATEKEEPER_FAILPOINT`` is set when the process starts, which
no production service sets; a point that is passed then costs one look at an empty table. The value
is ``NAME=ACTION`` or several of them between commas. The names are in the code that calls
`reached`, the actions in `ACTIONS`. What follows an ``@`` says when a point acts:

==========================  =====================================================================
``NAME=ACTION``             each time; an action that raises an OSError, the first time alone
``NAME=ACTION@3``           the third time, and only then
``NAME=ACTION@1.2.3``       for this Study Instance UID
``NAME=ACTION@/path``       while this file exists
==========================  =====================================================================
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

VARIABLE = "GATEKEEPER_FAILPOINT"


@dataclass(slots=True)
class _Point:
    """One armed point."""

    action: str
    when: str
    passed: int = field(default=0)

    def acts(self, study: str) -> bool:
        self.passed += 1
        if self.when.startswith("/"):
            return Path(self.when).exists()
        if self.when.isdecimal():
            return self.passed == int(self.when)
        if self.action in _ONCE and self.passed > 1:
            return False
        return self.when in ("", study)


def reached(name: str, study: str = "") -> None:
    """Do what the environment asks for at this place, which is nothing unless it names it.

    Args:
        name: of the place: ``ROLE.STEP``.
        study: Study Instance UID of what is worked on, where there is one.
    """
    if _armed and (point := _armed.get(name)) is not None and point.acts(study):
        ACTIONS[point.action]()


@contextlib.contextmanager
def armed(value: str) -> Generator[None]:
    """Have the points of `value` act in this process until the block ends, and no others.

    Raises:
        ValueError: if `value` names no point or an action that there is not.
    """
    before = dict(_armed)
    _armed.clear()
    _armed.update(_parsed(value))
    try:
        yield
    finally:
        _armed.clear()
        _armed.update(before)


def _parsed(value: str) -> dict[str, _Point]:
    points: dict[str, _Point] = {}
    for one in filter(None, value.split(",")):
        name, _, rest = one.partition("=")
        action, _, when = rest.partition("@")
        if not name or action not in ACTIONS:
            raise ValueError(f"{VARIABLE}: NAME=ACTION wanted, with one of {', '.join(ACTIONS)}")
        points[name] = _Point(action, when)
    return points


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _segfault() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def _hang() -> None:
    while True:
        time.sleep(0.1)


def _burn() -> None:
    while True:
        pass


def _exhaust() -> None:
    blocks: list[bytearray] = []
    while True:
        blocks.append(bytearray(64 << 20))


def _leave() -> None:
    os._exit(7)


def _raise() -> None:
    raise RuntimeError("Doe^Jane: what a library may say")


def _fail(code: int) -> Callable[[], None]:
    def fail() -> None:
        raise OSError(code, os.strerror(code))

    return fail


def _chatter() -> None:
    os.write(2, b"Doe^Jane " * 1_000_000)
    os.write(1, b'{"answer": "from a library"}\n')


ACTIONS: dict[str, Callable[[], Any]] = {
    "kill": _kill,
    "segfault": _segfault,
    "hang": _hang,
    "burn": _burn,
    "exhaust": _exhaust,
    "leave": _leave,
    "raise": _raise,
    "eio": _fail(errno.EIO),
    "enospc": _fail(errno.ENOSPC),
    "chatter": _chatter,
}
_ONCE = frozenset({"eio", "enospc"})

_armed: dict[str, _Point] = _parsed(os.environ.get(VARIABLE, ""))
