"""One computation for all who ask at once, and for some seconds after."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading

import pytest

from gatekeeper.metrics.shared import Shared


def test_many_who_ask_at_once_cost_one_computation() -> None:
    """And so do those who ask within its time; afterwards it is made again."""
    numbers = itertools.count(1)

    async def ask() -> list[int]:
        kept = Shared(lambda: next(numbers), fresh_seconds=600.0, wait_seconds=60.0)
        anew = Shared(lambda: next(numbers), fresh_seconds=0.0, wait_seconds=60.0)
        found = await asyncio.gather(*(kept.get() for _ in range(20)))
        return [*found, await kept.get(), await anew.get(), await anew.get()]

    assert asyncio.run(ask()) == [*[1] * 21, 2, 3]


def test_who_waits_too_long_is_told_and_nothing_piles_up() -> None:
    """The computation under way is nobody's but the next one's who asks: it is not begun again."""
    numbers = itertools.count(1)
    go_on = threading.Event()

    def work() -> int:
        found = next(numbers)
        assert go_on.wait(60)
        return found

    async def ask() -> int:
        shared = Shared(work, fresh_seconds=600.0, wait_seconds=0.01)
        for _ in range(5):
            with pytest.raises(TimeoutError):
                await shared.get()
        go_on.set()
        while True:
            with contextlib.suppress(TimeoutError):
                return await shared.get()

    assert asyncio.run(ask()) == 1
    assert next(numbers) == 2


def test_trouble_is_not_kept() -> None:
    """Who asks after it has it tried again."""
    answers = iter([OSError("no"), 7])

    def work() -> int:
        found = next(answers)
        if isinstance(found, OSError):
            raise found
        return found

    async def ask() -> int:
        shared = Shared(work, fresh_seconds=600.0, wait_seconds=60.0)
        with pytest.raises(OSError, match="no"):
            await shared.get()
        return await shared.get()

    assert asyncio.run(ask()) == 7
