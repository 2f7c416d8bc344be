"""Failpoints: places where a test may make the child fail, by name, from outside.

Off unless the environment variable ``GATEKEEPER_FAILPOINT`` is set, which no production service
sets. Its value is ``NAME=ACTION``, or ``NAME=ACTION@STUDY`` for one Study Instance UID only; the
names are in the code that calls `reached`, the actions in `ACTIONS`.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

VARIABLE = "GATEKEEPER_FAILPOINT"


def reached(name: str, study: str = "") -> None:
    """Do what the environment asks for at this place, which is nothing unless it names it."""
    value = os.environ.get(VARIABLE, "")
    if not value:
        return
    place, _, rest = value.partition("=")
    action, _, only = rest.partition("@")
    if place == name and only in ("", study):
        ACTIONS[action]()


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


def _chatter() -> None:
    os.write(2, b"Doe^Jane " * 1_000_000)
    os.write(1, b'{"answer": "from a library"}\n')


ACTIONS: dict[str, Callable[[], None]] = {
    "segfault": _segfault,
    "hang": _hang,
    "burn": _burn,
    "exhaust": _exhaust,
    "leave": _leave,
    "raise": _raise,
    "chatter": _chatter,
}
