"""Commits for all threads: what waits together becomes durable with one transaction.

A commit waits for the disk. While one is under way, what comes meanwhile gathers and goes with the
next, so a lone writer is never held up and many share the wait. Each gets its own answer: when a
transaction of several fails, each is tried alone, so that one that cannot be written fails by
itself. Nothing waits longer than its limit.

SQLite has one writer at a time, so one thread commits. To a server every statement is a journey,
and the server gathers commits itself, so a few threads commit there.
"""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection

from storage import failpoint
from storage.engine import Database, DatabaseUnavailableError, SynchronisationError

T = TypeVar("T")

_THREADS = {"sqlite": 1, "postgresql": 4}


class Answer(Protocol):
    """Where a result goes; a `Future` is one."""

    def set_result(self, result: Any, /) -> None:
        """Take what the work returned; its transaction is durable."""
        ...

    def set_exception(self, exception: BaseException, /) -> None:
        """Take why it was not done."""
        ...


@dataclass(frozen=True, slots=True)
class Request:
    """Something to be done in a transaction.

    Attributes:
        order: those of one transaction run in this order.
        work: may run more than once; only the last time is committed.
        deadline: monotonic time after which it is not begun.
        answer: told once what came of it.
    """

    order: str
    work: Callable[[Connection], Any]
    deadline: float
    answer: Answer


class Collecting:
    """The answers of several requests, told together once the last of them is there.

    Args:
        count: how many there will be.
        told: told them in their order: what the work of each returned, or why it was not done.
    """

    def __init__(self, count: int, told: Callable[[list[Any]], None]) -> None:
        self._results: list[Any] = [None] * count
        self._missing = count
        self._told = told
        self._lock = threading.Lock()

    def answers(self) -> list[Answer]:
        """Return where the result of each goes."""
        return [_Collected(self, place) for place in range(len(self._results))]

    def put(self, place: int, result: Any) -> None:
        """Take the result of the request at this place."""
        with self._lock:
            self._results[place] = result
            self._missing -= 1
            missing = self._missing
        if not missing:
            self._told(self._results)


@dataclass(frozen=True, slots=True)
class _Collected:
    """See `Answer`."""

    collecting: Collecting
    place: int

    def set_result(self, result: Any, /) -> None:
        self.collecting.put(self.place, result)

    def set_exception(self, exception: BaseException, /) -> None:
        self.collecting.put(self.place, exception)


def commit(database: Database, batch: list[Request]) -> None:
    """Commit these together, or each alone when that fails, and answer each."""
    batch = [request for request in batch if not _overdue(request)]
    if not batch:
        return
    try:
        _together(database, batch)
    except Exception as error:  # noqa: BLE001 - each who waits gets it and judges it
        if len(batch) == 1 or isinstance(error, SynchronisationError):
            for request in batch:
                request.answer.set_exception(error)
            return
        for request in batch:
            commit(database, [request])


def _together(database: Database, batch: list[Request]) -> None:
    batch.sort(key=lambda request: request.order)
    with database.begin() as tx:
        results = [request.work(tx) for request in batch]
    failpoint.reached("committer.committed")
    for request, result in zip(batch, results, strict=True):
        request.answer.set_result(result)


def _overdue(request: Request) -> bool:
    """Answer a request that has waited for too long, and return whether it has."""
    if time.monotonic() <= request.deadline:
        return False
    request.answer.set_exception(DatabaseUnavailableError("the database takes too long"))
    return True


class Committer:
    """Commits what the threads of a process hand in; its own start when they are needed.

    Args:
        database: where to.
        at_once: most requests in one transaction.
        wait_seconds: how long one may wait for its turn; then `DatabaseUnavailableError`.
    """

    def __init__(self, database: Database, at_once: int, wait_seconds: float) -> None:
        self._database = database
        self._at_once = at_once
        self._wait_seconds = wait_seconds
        self._waiting: collections.deque[Request] = collections.deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._threads: list[threading.Thread] = []
        self._idle = 0

    def submit(self, order: str, work: Callable[[Connection], T]) -> Future[T]:
        """Return the future result of `work`, there once its transaction is durable.

        Args:
            order: those of one transaction run in this order, the same in every process, so that
                no two processes wait for each other's rows.
            work: may run more than once; only the last time is committed.
        """
        answer = Future[T]()
        self._add([(order, work)], [answer])
        return answer

    def submit_each(
        self, works: Sequence[tuple[str, Callable[[Connection], T]]]
    ) -> Future[list[T | Exception]]:
        """Return the future results of several, each there once all are; see `submit`.

        What cannot be done fails alone: the exception is its result.
        """
        answer = Future[list[T | Exception]]()
        self._add(works, Collecting(len(works), answer.set_result).answers())
        return answer

    def _add(
        self, works: Sequence[tuple[str, Callable[[Connection], Any]]], answers: Sequence[Answer]
    ) -> None:
        deadline = time.monotonic() + self._wait_seconds
        with self._changed:
            if self._stopping:
                raise DatabaseUnavailableError("this process is ending")
            self._waiting.extend(
                Request(order, work, deadline, answer)
                for (order, work), answer in zip(works, answers, strict=True)
            )
            if not self._idle and len(self._threads) < _THREADS[self._database.dialect]:
                thread = threading.Thread(target=self._run, name="committer", daemon=True)
                self._threads.append(thread)
                thread.start()
            self._changed.notify()

    def stop(self, deadline_seconds: float) -> None:
        """Commit what was handed in, take no more, and end the threads."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(deadline_seconds / len(self._threads))

    def _run(self) -> None:
        while batch := self._next():
            commit(self._database, batch)

    def _next(self) -> list[Request]:
        with self._changed:
            self._idle += 1
            self._changed.wait_for(lambda: self._waiting or self._stopping)
            self._idle -= 1
            size = min(self._at_once, len(self._waiting))
            return [self._waiting.popleft() for _ in range(size)]
