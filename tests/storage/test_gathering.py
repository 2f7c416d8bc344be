"""What gathers and is done many at once: in order, until it succeeds, and never without a bound."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator

import pytest
from support.waiting import until

from storage.gathering import BacklogError, Gathering, Rhythm

SECONDS = 30.0
LONG = 600.0


class Doing:
    """Work that notes what it was given, and says what has to be tried again."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.refused: set[int] = set()
        self.error: Exception | None = None
        self.go = threading.Event()
        self.go.set()

    def __call__(self, batch: list[int]) -> list[int]:
        self.go.wait(SECONDS)
        if self.error is not None:
            raise self.error
        self.batches.append(batch)
        return [one for one in batch if one in self.refused]

    @property
    def done(self) -> list[int]:
        return [one for batch in self.batches for one in batch if one not in self.refused]


Make = Callable[..., Gathering[int]]


@pytest.fixture
def doing() -> Doing:
    return Doing()


@pytest.fixture
def troubles() -> list[Exception]:
    return []


@pytest.fixture
def make(doing: Doing, troubles: list[Exception]) -> Iterator[Make]:
    """Give what makes a gathering, which does nothing by itself for longer than any test waits."""
    made: list[Gathering[int]] = []

    def gathering(seconds: float = LONG, at_once: int = 3, limit: int = 100) -> Gathering[int]:
        rhythm = Rhythm(seconds, at_once, enough=limit, limit=limit)
        made.append(Gathering("test", rhythm, doing, troubles.append))
        return made[-1]

    yield gathering
    doing.error = None
    doing.go.set()
    for one in made:
        one.stop(SECONDS)


def failed(make: Make, doing: Doing, troubles: list[Exception], code: int) -> Gathering[int]:
    """Return a gathering whose work has failed, was told to have failed, and would succeed now."""
    gathering = make(seconds=0)
    doing.error = OSError(code, os.strerror(code))
    gathering.add(1)
    until(lambda: troubles, SECONDS, "it is told")
    doing.error = None
    return gathering


def test_a_flush_has_all_done_in_order_and_no_more_at_once_than_it_may(
    doing: Doing, make: Make
) -> None:
    """Everything that waits at the call, in the order in which it came."""
    gathering = make()
    for number in range(7):
        gathering.add(number)
    assert doing.batches == []

    assert gathering.flush(SECONDS)

    assert doing.batches == [[0, 1, 2], [3, 4, 5], [6]]
    assert gathering.flush(0)


def test_what_could_not_be_done_is_tried_again_and_holds_up_no_other(
    doing: Doing, make: Make
) -> None:
    """And who asks for a flush meanwhile does not wait for it."""
    gathering = make(seconds=0)
    doing.refused = {1}
    for number in range(3):
        gathering.add(number)
    until(lambda: doing.done == [0, 2], SECONDS, "the others are done")
    assert not gathering.flush(LONG)

    doing.refused = set()

    until(lambda: doing.done.count(1) > 1, SECONDS, "it is done")
    assert gathering.flush(SECONDS)


def test_who_brings_more_than_may_wait_is_held_up_and_refused(doing: Doing, make: Make) -> None:
    """In bounded time; and goes on as soon as there is room."""
    gathering = make(seconds=0, limit=2)
    doing.go.clear()
    for number in range(2):
        gathering.wait_for_room(0)
        gathering.add(number)
    with pytest.raises(BacklogError):
        gathering.wait_for_room(0.01)

    doing.go.set()

    gathering.wait_for_room(SECONDS)


def test_a_failure_of_all_is_told_and_tried_again(
    doing: Doing, make: Make, troubles: list[Exception]
) -> None:
    """A full disk today is not one tomorrow."""
    failed(make, doing, troubles, errno.ENOSPC)

    until(lambda: doing.done == [1], SECONDS, "it is done")


def test_after_a_lost_write_nothing_is_tried_again(
    doing: Doing, make: Make, troubles: list[Exception]
) -> None:
    """The process has to end; until then nothing more is taken."""
    gathering = failed(make, doing, troubles, errno.EIO)

    with pytest.raises(BacklogError):
        gathering.wait_for_room(SECONDS)
    assert not gathering.flush(SECONDS)
    assert doing.done == []


def test_stopping_has_done_what_waits(doing: Doing, make: Make) -> None:
    """Once, at once, and then the thread is gone."""
    gathering = make()
    for number in range(4):
        gathering.add(number)

    gathering.stop(SECONDS)

    assert doing.done == [0, 1, 2, 3]
