"""The committer: one transaction for many, an answer for each."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError
from support.waiting import until

from storage import instances
from storage.committer import Committer
from storage.engine import Database, DatabaseUnavailableError
from storage.records import Instance


@pytest.fixture
def committer(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Committer]:
    """Give a committer of one thread on either database."""
    monkeypatch.setattr("storage.committer._THREADS", {"sqlite": 1, "postgresql": 1})
    made = Committer(database, at_once=10, wait_seconds=30)
    yield made
    made.stop(30)


class Gate:
    """Work that holds the committer until it is told to go on."""

    def __init__(self) -> None:
        self.reached, self.open = threading.Event(), threading.Event()

    def __call__(self, _tx: Connection) -> None:
        self.reached.set()
        assert self.open.wait(30)


def test_what_waits_together_is_committed_together(
    committer: Committer, an_instance: Callable[..., Instance]
) -> None:
    """While one commit is under way the others gather, and go with the next."""
    gate = Gate()
    transactions: list[Any] = []

    def record(tx: Connection, number: int) -> bool:
        transactions.append(tx)
        return instances.record(tx, an_instance(number), None).new

    first = committer.submit("", gate)
    assert gate.reached.wait(30)
    answers = [committer.submit("", lambda tx, n=n: record(tx, n)) for n in range(25)]
    gate.open.set()

    assert first.result(30) is None
    assert [one.result(30) for one in answers] == [True] * 25
    assert len({id(one) for one in transactions}) <= 3


def test_one_that_cannot_be_written_fails_alone(
    committer: Committer, database: Database, an_instance: Callable[..., Instance]
) -> None:
    """The others of its transaction are committed, whatever stopped it."""
    gate = Gate()
    first = committer.submit("", gate)
    assert gate.reached.wait(30)

    def broken(tx: Connection) -> None:
        tx.execute(text("INSERT INTO association_study VALUES ('1.2', 99)"))

    def defect(_tx: Connection) -> None:
        raise KeyError("CANARY")

    good = [
        committer.submit("a", lambda tx: instances.record(tx, an_instance(1), None)),
        committer.submit("c", lambda tx: instances.record(tx, an_instance(2), None)),
    ]
    bad = committer.submit("b", broken), committer.submit("d", defect)
    gate.open.set()

    first.result(30)
    assert [one.result(30).new for one in good] == [True, True]
    with pytest.raises(IntegrityError):
        bad[0].result(30)
    with pytest.raises(KeyError):
        bad[1].result(30)
    with database.read() as tx:
        assert instances.count(tx) == 2


def test_several_handed_in_together_are_answered_together_each_with_its_own(
    committer: Committer, an_instance: Callable[..., Instance]
) -> None:
    """Over as many transactions as it takes; one that cannot be written is one result."""

    def record(tx: Connection, number: int) -> bool:
        if number == 7:
            raise ValueError("seven")
        return instances.record(tx, an_instance(number), None).new

    works = [("", functools.partial(record, number=number)) for number in range(25)]
    found = committer.submit_each(works).result(30)

    assert [one for one in found if one is True] == [True] * 24
    assert isinstance(found[7], ValueError)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_nothing_waits_longer_than_its_limit(database: Database) -> None:
    """What waited too long for its turn is refused without being tried."""
    committer = Committer(database, at_once=1, wait_seconds=0.05)
    gate = Gate()
    ran: list[int] = []
    first = committer.submit("", gate)
    assert gate.reached.wait(30)
    late = committer.submit("", lambda _tx: ran.append(1))
    overdue = threading.Event()
    until(lambda: overdue.wait(0.1) or True, 30, "the limit has passed")
    gate.open.set()

    assert first.result(30) is None
    with pytest.raises(DatabaseUnavailableError, match="too long"):
        late.result(30)
    assert ran == []
    committer.stop(30)


def test_a_stopped_committer_finishes_what_it_has_and_takes_no_more(
    committer: Committer, database: Database, an_instance: Callable[..., Instance]
) -> None:
    """Stopping loses nothing that was handed in."""
    answer = committer.submit("", lambda tx: instances.record(tx, an_instance(), None))
    committer.stop(30)

    assert answer.result(0).new
    with pytest.raises(DatabaseUnavailableError, match="ending"):
        committer.submit("", lambda _tx: None)


def test_studies_are_written_in_the_same_order_in_every_process(committer: Committer) -> None:
    """Two listeners with the same two studies never wait for each other in a ring."""
    gate = Gate()
    ran: list[str] = []
    first = committer.submit("", gate)
    assert gate.reached.wait(30)
    answers = [committer.submit(name, lambda _tx, n=name: ran.append(n)) for name in "cab"]
    gate.open.set()
    for answer in [first, *answers]:
        answer.result(30)

    assert ran == ["a", "b", "c"]


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_a_server_is_given_several_transactions_at_once(database: Database) -> None:
    """One that waits for a lock there does not hold up the others."""
    committer = Committer(database, at_once=10, wait_seconds=30)
    gates = [Gate() for _ in range(4)]
    answers: list[Future[None]] = []
    for gate in gates:
        answers.append(committer.submit("", gate))
        assert gate.reached.wait(30)
    for gate in gates:
        gate.open.set()

    assert [answer.result(30) for answer in answers] == [None] * 4
    committer.stop(30)
