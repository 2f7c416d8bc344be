"""Backoff: how long to wait after a failed attempt."""

from __future__ import annotations

import random


def delay(attempt: int, first: float, maximum: float, jitter: random.Random) -> float:
    """Return the seconds to wait after attempt number `attempt` failed.

    Doubles from `first` and stops at `maximum`. The upper half is drawn by chance, so that what
    failed together does not come back together.

    Args:
        attempt: attempts made, 1 after the first failure.
        first: full delay after the first failure, in seconds.
        maximum: longest delay, in seconds.
        jitter: source of chance.
    """
    # 2.0 ** 1024 overflows; by then any delay has long reached its maximum.
    full = min(maximum, first * 2.0 ** min(max(attempt, 1) - 1, 64))
    return full * jitter.uniform(0.5, 1.0)
