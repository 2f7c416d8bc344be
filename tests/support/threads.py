"""Something that runs until it is told to stop, in a thread of its own."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator

_PATIENCE = 30


@contextlib.contextmanager
def in_thread(run: Callable[[], None], stop: Callable[[], None]) -> Generator[None]:
    """Run `run` in a thread; at the end of the block call `stop` and wait for it."""
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop()
        thread.join(_PATIENCE)
        assert not thread.is_alive()
