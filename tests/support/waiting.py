"""Waiting for a condition, never for a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(condition: Callable[[], T | None], seconds: float, what: str) -> T:
    """Return the first true value of `condition`; fail after `seconds`, saying `what` was due."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while True:
        if found := condition():
            return found
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        pause.wait(0.05)
