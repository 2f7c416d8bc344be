"""Where a job's time went: elapsed milliseconds by stage, by a clock that never steps."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager


class Stages:
    """Adds up the milliseconds of named stages; a stage entered twice counts both times."""

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}

    @contextmanager
    def measure(self, name: str) -> Generator[None]:
        """Count the time inside the ``with`` block as stage `name`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, (time.perf_counter() - started) * 1000)

    def add(self, name: str, milliseconds: float) -> None:
        """Add to stage `name`."""
        self.milliseconds[name] = round(self.milliseconds.get(name, 0.0) + milliseconds, 3)
