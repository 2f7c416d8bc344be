"""Received studies are sent without what a node does not take, and the delivery says so."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from support.dicom_peers import ScriptedPeer
from support.objects import MR, result_of

from gatekeeper.send.attempt import Desk, deliver
from gatekeeper.send.dimse import DimseTransport
from gatekeeper.send.transport import SendObject
from gatekeeper.settings import SendSettings
from storage import confirmations, deliveries
from storage.engine import Database
from storage.records import Delivery, DeliveryState, Node
from storage.spool import Spool

CT = "1.2.840.10008.5.1.4.1.1.2"


@pytest.fixture
def desk(database: Database, tmp_path: Path, quick: SendSettings) -> Desk:
    return Desk(database, Spool(tmp_path / "spool"), DimseTransport("GATEKEEPER", quick), quick)


@pytest.fixture
def queue(desk: Desk, objects: list[SendObject]) -> Callable[[], int]:
    """Return a function that queues six objects, of which the books say that two are CT."""
    stored = [result_of(item, desk.spool.store(item.path.read_bytes()).digest) for item in objects]
    mixed = [
        dataclasses.replace(one, sop_class_uid=CT if number < 2 else MR)
        for number, one in enumerate(stored)
    ]

    def create() -> int:
        with desk.database.begin() as tx:
            return deliveries.create(tx, "SCRIPTED", mixed)

    return create


def attempt(desk: Desk, port: int, *classes: str) -> Delivery:
    node = Node("SCRIPTED", "127.0.0.1", port, receives_studies=True, sop_classes=classes)
    with desk.database.begin() as tx:
        claimed = deliveries.claim(tx, "test", 60)
    assert claimed is not None
    deliver(desk, claimed, node, lambda: False)
    with desk.database.read() as tx:
        found = deliveries.get(tx, claimed.id)
    assert found is not None
    return found


def test_what_a_node_does_not_take_is_left_out_and_the_rest_delivered(
    desk: Desk, queue: Callable[[], int]
) -> None:
    """No failure: it is delivered, four of six stored and two left out."""
    queue()
    with ScriptedPeer() as peer:
        ended = attempt(desk, peer.port, "MR")

    assert ended.state is DeliveryState.DELIVERED
    assert (ended.items, ended.items_stored, ended.items_left_out) == (6, 4, 2)
    assert len(peer.received) == 4


def test_a_node_that_takes_nothing_of_it_is_not_called(
    desk: Desk, queue: Callable[[], int]
) -> None:
    """Its delivery has ended all the same, and says why nothing went."""
    queue()
    with ScriptedPeer() as peer:
        ended = attempt(desk, peer.port, "US")

    assert ended.state is DeliveryState.DELIVERED
    assert (ended.items_stored, ended.items_left_out, peer.associations) == (0, 6, 0)


def test_what_was_left_out_is_looked_at_again_at_the_next_attempt(
    desk: Desk, queue: Callable[[], int]
) -> None:
    """The node may take it by then; what it has stored stays stored."""
    number = queue()
    with ScriptedPeer(lambda number, _uid: 0xA700 if number == 3 else 0) as peer:
        first = attempt(desk, peer.port, "MR")
        assert (first.state, first.items_left_out) == (DeliveryState.QUEUED, 2)
        with desk.database.begin() as tx:
            delivery = deliveries.claim(tx, "test", 60)
            while delivery is None:
                delivery = deliveries.claim(tx, "test", 60)
            assert deliveries.fail(tx, number, delivery.attempt, "", 0.0)
        second = attempt(desk, peer.port, "US")

    assert second.state is DeliveryState.DELIVERED
    assert (second.items_stored, second.items_left_out) == (3, 3)


def test_a_node_is_not_asked_to_confirm_what_it_was_not_sent(
    desk: Desk, queue: Callable[[], int]
) -> None:
    """Else a study of which part is left out were never committed."""
    number = queue()
    with ScriptedPeer() as peer:
        attempt(desk, peer.port, "MR")
    with desk.database.begin() as tx:
        confirmations.expect(tx, number, "SCRIPTED")
        asked = confirmations.get(tx, number)
        assert asked is not None
        assert len(confirmations.expected(tx, asked)) == 4
