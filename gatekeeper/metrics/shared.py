"""One computation at a time for all who ask, and its answer for some seconds after.

So whoever asks too often, or many at once, costs no more than one who asks now and then.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Shared(Generic[T]):
    """What `work` returns, computed in a thread; used in one event loop.

    Args:
        work: computes it, one at a time.
        fresh_seconds: how long an answer is given again.
        wait_seconds: longest wait for an answer.
    """

    def __init__(self, work: Callable[[], T], fresh_seconds: float, wait_seconds: float) -> None:
        self._work = work
        self._fresh_seconds = fresh_seconds
        self._wait_seconds = wait_seconds
        self._task: asyncio.Task[T] | None = None
        self._began = 0.0

    async def get(self) -> T:
        """Return the answer, a fresh one or that of a moment ago.

        Raises:
            TimeoutError: if there is none in time; the computation goes on, for the next who asks.
        """
        task = self._task
        if task is None or self._is_over(task):
            self._began = time.monotonic()
            task = self._task = asyncio.create_task(asyncio.to_thread(self._work))
        async with asyncio.timeout(self._wait_seconds):
            return await asyncio.shield(task)

    def _is_over(self, task: asyncio.Task[T]) -> bool:
        if not task.done():
            return False
        old = time.monotonic() - self._began >= self._fresh_seconds
        return old or task.cancelled() or task.exception() is not None
