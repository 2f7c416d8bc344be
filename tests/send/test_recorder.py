"""Answers are committed together where they come fast, and at once where they do not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, event
from support.objects import result_of
from support.waiting import until

from gatekeeper.send.recorder import Recorder
from gatekeeper.send.statuses import Disposition
from gatekeeper.send.transport import InstanceStatus, SendObject
from storage import deliveries
from storage.engine import Database
from storage.records import Delivery


@pytest.fixture
def delivery(database: Database, objects: list[SendObject]) -> Delivery:
    """Return a claimed delivery of the six objects."""
    with database.begin() as tx:
        deliveries.create(tx, "PACS", [result_of(item, "0" * 64) for item in objects])
        claimed = deliveries.claim(tx, "test", 60.0)
    assert claimed is not None
    return claimed


@pytest.fixture
def commits() -> Iterator[list[object]]:
    """Give a list that grows by one with each commit."""
    seen: list[object] = []

    def note(connection: object) -> None:
        seen.append(connection)

    event.listen(Engine, "commit", note)
    yield seen
    event.remove(Engine, "commit", note)


def stored(item: SendObject) -> InstanceStatus:
    return InstanceStatus(item, 0x0000, Disposition.STORED, "0000 success")


def pending(database: Database, delivery: Delivery) -> int:
    with database.read() as tx:
        return len(deliveries.pending_items(tx, delivery.id))


def test_answers_that_came_together_are_one_commit(
    database: Database, delivery: Delivery, objects: list[SendObject], commits: list[object]
) -> None:
    """Six answers wait for the recorder; one transaction takes them all."""
    recorder = Recorder(database, delivery)
    for item in objects:
        recorder.record(stored(item))
    before = len(commits)
    with recorder:
        pass

    assert len(commits) == before + 1
    assert pending(database, delivery) == 0
    assert not recorder.over


def test_an_answer_is_committed_without_waiting_for_the_next(
    database: Database, delivery: Delivery, objects: list[SendObject]
) -> None:
    """While the sender waits for the peer, what was answered is on record."""
    with Recorder(database, delivery) as recorder:
        for number, item in enumerate(objects[:3], start=1):
            recorder.record(stored(item))
            until(lambda left=6 - number: pending(database, delivery) == left, 20, "on record")


def test_a_lost_delivery_stops_the_recorder(
    database: Database,
    delivery: Delivery,
    objects: list[SendObject],
) -> None:
    """Nothing more is recorded under an attempt that is another's, and the sender is told."""
    with database.begin() as tx:
        assert deliveries.fail(tx, delivery.id, delivery.attempt, "taken away", 0.0)
    with Recorder(database, delivery) as recorder:
        recorder.record(stored(objects[0]))
        until(lambda: recorder.over, 20, "the loss is noticed")
        recorder.record(stored(objects[1]))

    assert recorder.lost
    assert pending(database, delivery) == 6
