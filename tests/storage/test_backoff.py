"""Backoff: doubling, capped, spread."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from storage.backoff import delay

SECONDS = st.floats(0.001, 1e6)


@given(st.integers(1, 100_000), SECONDS, SECONDS, st.randoms(use_true_random=False))
def test_a_delay_is_within_half_and_whole_of_the_capped_doubling(
    attempt: int, first: float, maximum: float, jitter: random.Random
) -> None:
    """However many attempts, the delay is at most the maximum and at least half the full one."""
    full = min(maximum, first * 2 ** min(attempt - 1, 60))

    assert full / 2 <= delay(attempt, first, maximum, jitter) <= full


def test_delays_double_and_then_stay() -> None:
    """The full delays are 10, 20, 40, 60, 60 seconds for a first of 10 and a maximum of 60."""

    class Latest(random.Random):
        def random(self) -> float:
            return 1.0

    assert [delay(n, 10, 60, Latest()) for n in range(1, 6)] == [10, 20, 40, 60, 60]


def test_what_failed_together_does_not_come_back_together() -> None:
    """A hundred delays of the same attempt are a hundred different ones."""
    jitter = random.Random(1)

    assert len({delay(3, 10, 900, jitter) for _ in range(100)}) == 100
