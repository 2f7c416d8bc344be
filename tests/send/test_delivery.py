"""Deliveries from the database to peers: recorded answers, retries, dead letters, fences."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from support.dicom_peers import DROP, HANG, RawPeer, ScriptedPeer, wait_for_close
from support.gate import free_port
from support.objects import result_of
from support.waiting import until

from gatekeeper.send.attempt import Desk, after_answers, deliver
from gatekeeper.send.dimse import DimseTransport
from gatekeeper.send.sender import Sender
from gatekeeper.send.statuses import Disposition
from gatekeeper.send.transport import InstanceStatus, SendObject
from gatekeeper.settings import SendSettings
from storage import deliveries, nodes
from storage.engine import Database
from storage.records import Delivery, DeliveryItem, DeliveryState, Node
from storage.spool import Spool

PATIENCE = 20


@pytest.fixture
def desk(database: Database, tmp_path: Path, quick: SendSettings) -> Desk:
    return Desk(database, Spool(tmp_path / "spool"), DimseTransport("GATEKEEPER", quick), quick)


@pytest.fixture
def queue(desk: Desk, objects: list[SendObject]) -> Callable[[str], int]:
    """Return a function that queues a delivery of the six objects to a node."""
    results = [result_of(item, desk.spool.store(item.path.read_bytes()).digest) for item in objects]

    def create(node: str) -> int:
        with desk.database.begin() as tx:
            return deliveries.create(tx, node, results)

    return create


def add_node(desk: Desk, title: str, port: int, *, enabled: bool = True) -> Node:
    node = Node(title, "127.0.0.1", port, receives_results=True, enabled=enabled)
    with desk.database.begin() as tx:
        nodes.save(tx, node)
    return node


def claimed(desk: Desk, lease_seconds: float = 60.0) -> Delivery:
    with desk.database.begin() as tx:
        found = deliveries.claim(tx, "test", lease_seconds)
    assert found is not None
    return found


def look(desk: Desk, delivery_id: int) -> Delivery:
    with desk.database.read() as tx:
        found = deliveries.get(tx, delivery_id)
    assert found is not None
    return found


def items(desk: Desk, delivery_id: int) -> list[DeliveryItem]:
    with desk.database.read() as tx:
        return deliveries.items_of(tx, delivery_id)


def never() -> bool:
    return False


@contextlib.contextmanager
def running(desk: Desk, name: str = "test") -> Generator[Sender]:
    """Run a sender in a thread until the end of the block, and wait for its attempts to end."""
    sender = Sender(desk, name)
    thread = threading.Thread(target=sender.run, daemon=True)
    thread.start()
    try:
        yield sender
    finally:
        sender.stop()
        thread.join(PATIENCE)
        assert not thread.is_alive()
        until(no_attempts, PATIENCE, "all attempts ended")


def no_attempts() -> bool:
    return not any(thread.name.startswith("send-") for thread in threading.enumerate())


def reaches(desk: Desk, delivery_id: int, state: DeliveryState) -> Delivery:
    until(lambda: look(desk, delivery_id).state is state, PATIENCE, f"{delivery_id} is {state}")
    return look(desk, delivery_id)


def test_every_answer_is_recorded_with_its_instance(
    desk: Desk, queue: Callable[[str], int]
) -> None:
    """Success, warning, refusal and error: each status on its own row, stored or not."""
    queued = queue("SCRIPTED")
    statuses = [0x0000, 0xB007, 0xA700, 0xA900, 0xC000, 0x0111]
    with ScriptedPeer(lambda number, _uid: statuses[number]) as peer:
        deliver(desk, claimed(desk), add_node(desk, "SCRIPTED", peer.port), never)

    assert [(item.status, item.stored) for item in items(desk, queued)] == [
        (0x0000, True),
        (0xB007, True),
        (0xA700, False),
        (0xA900, False),
        (0xC000, False),
        (0x0111, True),
    ]
    found = look(desk, queued)
    assert found.state is DeliveryState.QUEUED
    assert "1 of 6: A700 refused: out of resources" in found.reason


def test_answers_are_durable_as_they_come(desk: Desk, queue: Callable[[str], int]) -> None:
    """While the fourth instance waits for its answer, three are on record already."""
    queued = queue("SCRIPTED")
    with ScriptedPeer(lambda number, _uid: HANG if number == 3 else 0) as peer:
        node = add_node(desk, "SCRIPTED", peer.port)
        slow = dataclasses.replace(desk.settings, dimse_timeout=30.0)
        patient = dataclasses.replace(desk, transport=DimseTransport("GATEKEEPER", slow))
        thread = threading.Thread(target=deliver, args=(patient, claimed(desk), node, never))
        thread.start()
        until(lambda: len(peer.received) == 4, PATIENCE, "the fourth instance arrived")
        expected = [True, True, True, False, False, False]
        until(
            lambda: [item.stored for item in items(desk, queued)] == expected,
            PATIENCE,
            "three answers are on record",
        )
        peer.release()
        thread.join(PATIENCE)

    assert look(desk, queued).state is DeliveryState.DELIVERED


def test_a_warning_counts_as_delivered(desk: Desk, queue: Callable[[str], int]) -> None:
    """Success with warning on every instance ends the delivery."""
    queued = queue("SCRIPTED")
    with ScriptedPeer(lambda _number, _uid: 0xB000) as peer:
        add_node(desk, "SCRIPTED", peer.port)
        with running(desk):
            found = reaches(desk, queued, DeliveryState.DELIVERED)

    assert (found.attempt, found.items_stored, found.reason) == (1, 6, "")


def test_out_of_resources_is_tried_again_until_delivered(
    desk: Desk, queue: Callable[[str], int]
) -> None:
    """A700 for one instance: only that one is sent again, and then all are stored."""
    queued = queue("SCRIPTED")
    with ScriptedPeer(lambda number, _uid: 0xA700 if number in {2, 6} else 0) as peer:
        add_node(desk, "SCRIPTED", peer.port)
        with running(desk):
            found = reaches(desk, queued, DeliveryState.DELIVERED)

    assert found.attempt == 3
    third = items(desk, queued)[2].sop_instance_uid
    assert peer.received[6:] == [third, third]


def test_a_data_set_that_does_not_match_is_set_aside_and_can_be_retried(
    desk: Desk, queue: Callable[[str], int]
) -> None:
    """A900 goes dead at once with its reason; retried by hand, only that instance is sent."""
    queued = queue("SCRIPTED")
    with ScriptedPeer(lambda number, _uid: 0xA900 if number == 1 else 0) as peer:
        add_node(desk, "SCRIPTED", peer.port)
        with running(desk):
            found = reaches(desk, queued, DeliveryState.DEAD)
            assert found.attempt == 1
            assert found.reason == "1 of 6: A900 error: data set does not match SOP class"
            with desk.database.begin() as tx:
                assert deliveries.retry(tx, queued)
            reaches(desk, queued, DeliveryState.DELIVERED)

    assert peer.received[6:] == [items(desk, queued)[1].sop_instance_uid]


def test_a_lasting_error_is_tried_briefly_then_set_aside(
    desk: Desk, queue: Callable[[str], int]
) -> None:
    """Cxxx is retried `send.brief_attempts` times, not for ever; a retry by hand counts afresh."""
    queued = queue("SCRIPTED")
    brief = dataclasses.replace(desk, settings=dataclasses.replace(desk.settings, brief_attempts=2))
    with ScriptedPeer(lambda _number, _uid: 0xC000) as peer:
        add_node(desk, "SCRIPTED", peer.port)
        with running(brief):
            assert reaches(desk, queued, DeliveryState.DEAD).attempt == 2
            with desk.database.begin() as tx:
                deliveries.retry(tx, queued)
            until(lambda: look(desk, queued).attempt == 4, PATIENCE, "two more attempts")
            assert reaches(desk, queued, DeliveryState.DEAD).attempt == 4


def test_a_node_that_is_down_is_tried_until_it_is_back(
    desk: Desk, queue: Callable[[str], int]
) -> None:
    """A closed port is a reason and a delay, never a loss."""
    queued = queue("SCRIPTED")
    add_node(desk, "SCRIPTED", free_port())
    with running(desk):
        until(lambda: look(desk, queued).attempt >= 2, PATIENCE, "two attempts failed")
        assert "Connection refused" in look(desk, queued).reason
        with ScriptedPeer() as peer:
            add_node(desk, "SCRIPTED", peer.port)
            reaches(desk, queued, DeliveryState.DELIVERED)


def test_attempts_have_an_end(desk: Desk, queue: Callable[[str], int]) -> None:
    """After `send.maximum_attempts` a delivery is set aside with the last reason."""
    queued = queue("PACS")
    add_node(desk, "PACS", free_port())
    few = dataclasses.replace(desk, settings=dataclasses.replace(desk.settings, maximum_attempts=3))
    with running(few):
        found = reaches(desk, queued, DeliveryState.DEAD)

    assert found.attempt == 3
    assert "Connection refused" in found.reason


def test_dead_and_silent_destinations_delay_no_other(
    desk: Desk, queue: Callable[[str], int]
) -> None:
    """Older deliveries to a closed port and to a silent peer: a later one goes through."""
    slow = dataclasses.replace(
        desk.settings, association_timeout=60.0, retry_seconds=30.0, retry_maximum_seconds=60.0
    )
    patient = dataclasses.replace(desk, settings=slow, transport=DimseTransport("GATEKEEPER", slow))
    with RawPeer(wait_for_close) as hung, ScriptedPeer() as peer:
        add_node(desk, "HUNG", hung.port)
        add_node(desk, "DEAD", free_port())
        add_node(desk, "SCRIPTED", peer.port)
        stuck = [queue("HUNG"), queue("HUNG"), queue("DEAD"), queue("DEAD")]
        good = queue("SCRIPTED")
        with running(patient) as sender:
            started = time.monotonic()
            reaches(desk, good, DeliveryState.DELIVERED)
            assert time.monotonic() - started < 10
            until(lambda: hung.connections, PATIENCE, "the silent peer was called")
            # The silent peer holds no transaction open: the database takes writes.
            started = time.monotonic()
            later = queue("SCRIPTED")
            assert time.monotonic() - started < 2
            reaches(desk, later, DeliveryState.DELIVERED)
            assert hung.connections == 1
            assert look(desk, stuck[0]).state is DeliveryState.CLAIMED
            assert look(desk, stuck[1]).attempt == 0
            until(lambda: look(desk, stuck[3]).attempt == 1, PATIENCE, "the closed port was tried")
            # First, or the second delivery to the silent peer may begin and outlast the stop.
            sender.stop()
            hung.hang_up()


def test_a_delivery_to_a_removed_node_waits_until_it_is_added_again(
    desk: Desk, queue: Callable[[str], int]
) -> None:
    """Not lost, not dead, not in the way: one attempt says why, and the node's return delivers."""
    gone, other = queue("GONE"), queue("SCRIPTED")
    with ScriptedPeer() as peer:
        add_node(desk, "SCRIPTED", peer.port)
        with running(desk):
            reaches(desk, other, DeliveryState.DELIVERED)
            waiting = look(desk, gone)
            assert (waiting.state, waiting.attempt) == (DeliveryState.QUEUED, 1)
            assert waiting.reason == "node GONE is not known: waits until it is added again"
            add_node(desk, "GONE", peer.port)
            assert reaches(desk, gone, DeliveryState.DELIVERED).attempt == 2


def test_a_delivery_to_a_disabled_node_waits_until_it_is_enabled(
    desk: Desk, queue: Callable[[str], int]
) -> None:
    """Disabled is a pause: no attempt is made and none is counted."""
    queued, other = queue("PAUSED"), queue("SCRIPTED")
    with ScriptedPeer() as peer:
        add_node(desk, "PAUSED", peer.port, enabled=False)
        add_node(desk, "SCRIPTED", peer.port)
        with running(desk):
            reaches(desk, other, DeliveryState.DELIVERED)
            assert (look(desk, queued).state, look(desk, queued).attempt) == (
                DeliveryState.QUEUED,
                0,
            )
            add_node(desk, "PAUSED", peer.port)
            reaches(desk, queued, DeliveryState.DELIVERED)


def test_a_stale_attempt_cannot_record(desk: Desk, queue: Callable[[str], int]) -> None:
    """A sender whose claim was taken over changes nothing, while it sends and at its end."""
    queued = queue("SCRIPTED")
    stale = claimed(desk, lease_seconds=-1.0)
    with desk.database.begin() as tx:
        deliveries.rescue(tx, 10, 0.0)
    fresh = claimed(desk)
    with ScriptedPeer() as peer:
        deliver(desk, stale, add_node(desk, "SCRIPTED", peer.port), never)

    found = look(desk, queued)
    assert fresh.attempt == stale.attempt + 1
    assert (found.state, found.attempt) == (DeliveryState.CLAIMED, fresh.attempt)
    assert [(item.status, item.stored) for item in items(desk, queued)] == [(None, False)] * 6


def test_a_claim_that_outlives_its_lease_is_held_by_heartbeats(
    desk: Desk, queue: Callable[[str], int]
) -> None:
    """An attempt longer than its lease keeps its claim."""
    queued = queue("SCRIPTED")
    settings = dataclasses.replace(desk.settings, lease_seconds=1.0, dimse_timeout=30.0)
    patient = dataclasses.replace(
        desk, settings=settings, transport=DimseTransport("GATEKEEPER", settings)
    )
    with ScriptedPeer(lambda number, _uid: HANG if number == 0 else 0) as peer:
        add_node(desk, "SCRIPTED", peer.port)
        with running(patient):
            until(lambda: peer.received, PATIENCE, "the first instance arrived")
            first = look(desk, queued).lease_until
            assert first is not None
            # The lease as claimed is over once the latest one is a whole lease later.
            until(lambda: (look(desk, queued).lease_until or 0) > first + 1.2, PATIENCE, "held")
            with desk.database.begin() as tx:
                assert deliveries.rescue(tx, 10, 0.0).requeued == 0
            peer.release()
            assert reaches(desk, queued, DeliveryState.DELIVERED).attempt == 1


def test_a_sender_that_stops_gives_back_what_is_not_sent(
    desk: Desk, queue: Callable[[str], int]
) -> None:
    """The instance under way is finished and recorded, the rest is queued at once."""
    queued = queue("SCRIPTED")
    slow = dataclasses.replace(desk.settings, dimse_timeout=30.0)
    patient = dataclasses.replace(desk, settings=slow, transport=DimseTransport("GATEKEEPER", slow))
    with ScriptedPeer(lambda number, _uid: HANG if number == 1 else 0) as peer:
        add_node(desk, "SCRIPTED", peer.port)
        with running(patient) as sender:
            until(lambda: len(peer.received) == 2, PATIENCE, "the second instance arrived")
            sender.stop()
            peer.release()
            reaches(desk, queued, DeliveryState.QUEUED)
        assert [item.stored for item in items(desk, queued)] == [True, True] + [False] * 4
        assert look(desk, queued).reason == "the sender was stopped"
        with running(desk):
            reaches(desk, queued, DeliveryState.DELIVERED)

    assert len(peer.received) == 6


def test_a_delivery_whose_last_answer_was_recorded_is_finished_without_a_call(
    desk: Desk, queue: Callable[[str], int]
) -> None:
    """Killed between the last answer and the end: the next attempt needs no peer."""
    queued = queue("PACS")
    first = claimed(desk)
    with desk.database.begin() as tx:
        for item in deliveries.pending_items(tx, queued):
            assert deliveries.record_item(tx, queued, first.attempt, item.sop_instance_uid, 0, True)
        deliveries.fail(tx, queued, first.attempt, "killed", 0.0)
    add_node(desk, "PACS", free_port())
    with running(desk):
        reaches(desk, queued, DeliveryState.DELIVERED)


def test_an_association_dropped_again_and_again_still_delivers(
    desk: Desk, queue: Callable[[str], int]
) -> None:
    """A peer that drops every third instance: all arrive, none that was answered is sent again."""
    queued = queue("SCRIPTED")
    with ScriptedPeer(lambda number, _uid: DROP if number % 3 == 2 else 0) as peer:
        add_node(desk, "SCRIPTED", peer.port)
        with running(desk):
            reaches(desk, queued, DeliveryState.DELIVERED)

    answered = [uid for number, uid in enumerate(peer.received) if number % 3 != 2]
    assert sorted(answered) == sorted(item.sop_instance_uid for item in items(desk, queued))


def test_the_spools_file_gone_is_a_dead_letter_with_its_reason(
    desk: Desk, queue: Callable[[str], int]
) -> None:
    """Nothing to send is told, and the other objects are delivered."""
    queued = queue("SCRIPTED")
    desk.spool.path(items(desk, queued)[4].digest).unlink()
    with ScriptedPeer() as peer:
        add_node(desk, "SCRIPTED", peer.port)
        with running(desk):
            found = reaches(desk, queued, DeliveryState.DEAD)

    assert found.reason == "1 of 6: the object's file is gone"
    assert found.items_stored == 5


@pytest.mark.parametrize(
    ("dispositions", "made", "retried"),
    [
        ([Disposition.RETRY], 49, True),
        ([Disposition.RETRY], 50, False),
        ([Disposition.RETRY_BRIEFLY], 9, True),
        ([Disposition.RETRY_BRIEFLY], 10, False),
        ([Disposition.DEAD], 1, False),
        ([Disposition.DEAD, Disposition.RETRY_BRIEFLY], 9, True),
        ([Disposition.DEAD, Disposition.RETRY_BRIEFLY, Disposition.RETRY], 49, True),
    ],
)
def test_an_attempt_is_followed_by_another_while_any_object_may_yet_be_taken(
    dispositions: list[Disposition], made: int, retried: bool
) -> None:
    """The most hopeful answer decides, under the limits of the default settings."""
    item = SendObject("1.2", "1.3", "1.4", Path("x"))
    failed = [InstanceStatus(item, None, one, f"reason {one}") for one in dispositions]

    failure = after_answers(made, 9, failed, SendSettings())

    assert (failure.delay is not None) == retried
    assert failure.reason.startswith(f"1 of 9: reason {dispositions[0]}")
