"""Deliveries: what is on its way, to whom, and what the node has stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from storage import deliveries
from storage.engine import Database
from storage.leases import Rescued
from storage.records import Delivery, DeliveryState, Result

MakeResult = Callable[..., Result]


@pytest.fixture
def a_delivery(database: Database, a_result: MakeResult) -> Callable[..., int]:
    """Return a maker of queued deliveries of two objects, to a node."""

    def make(node: str = "PACS") -> int:
        with database.begin() as tx:
            return deliveries.create(tx, node, [a_result(2), a_result(1)])

    return make


def test_a_delivery_holds_its_objects_in_order(
    database: Database, a_delivery: Callable[..., int], a_result: MakeResult
) -> None:
    """All that is needed to send an object is with the delivery."""
    made = a_delivery()
    with database.read() as tx:
        found, items = _get(tx, made), deliveries.pending_items(tx, made)

    assert (found.node, found.state, found.job_id) == ("PACS", DeliveryState.QUEUED, None)
    assert (found.attempt, found.items, found.items_stored) == (0, 2, 0)
    assert [item.sop_instance_uid for item in items] == [
        a_result(2).sop_instance_uid,
        a_result(1).sop_instance_uid,
    ]
    assert {(item.status, item.stored) for item in items} == {(None, False)}
    assert items[0].digest == a_result(2).digest


def test_an_empty_delivery_is_refused(database: Database) -> None:
    """Nothing to send is no delivery."""
    with pytest.raises(ValueError, match="at least one"), database.begin() as tx:
        deliveries.create(tx, "PACS", [])


def test_answers_are_noted_and_what_is_stored_is_not_sent_again(
    database: Database, a_delivery: Callable[..., int], a_result: MakeResult
) -> None:
    """A refused object stays pending with its status; a stored one stays stored."""
    made = a_delivery()
    first, second = a_result(2).sop_instance_uid, a_result(1).sop_instance_uid
    with database.begin() as tx:
        _claim(tx)
        assert deliveries.record_item(tx, made, 1, first, 0x0000, True)
        assert deliveries.record_item(tx, made, 1, second, 0xA700, False)
        assert not deliveries.record_item(tx, made, 1, "1.2.3", 0x0000, True)

        (left,) = deliveries.pending_items(tx, made)
        assert (left.sop_instance_uid, left.status) == (second, 0xA700)
        assert _get(tx, made).items_stored == 1
        assert deliveries.record_item(tx, made, 1, first, 0xA700, False)
        assert len(deliveries.pending_items(tx, made)) == 1


def test_answers_are_noted_together_and_a_foreign_object_is_told(
    database: Database, a_delivery: Callable[..., int], a_result: MakeResult
) -> None:
    """Two answers are one statement; an object of no delivery is said not to be noted."""
    made = a_delivery()
    first, second = a_result(2).sop_instance_uid, a_result(1).sop_instance_uid
    with database.begin() as tx:
        _claim(tx)
        assert deliveries.record_items(tx, made, 1, [(first, 0, True), (second, 0xB000, True)])
        assert not deliveries.record_items(tx, made, 1, [(first, 0, True), ("1.2.3", 0, True)])
        assert not deliveries.record_items(tx, made, 2, [(first, 0xA700, False)])

        assert [one.status for one in deliveries.items_of(tx, made)] == [0, 0xB000]
        assert deliveries.finish(tx, made, 1)


def test_a_delivery_is_delivered_when_every_object_is_stored(
    database: Database, a_delivery: Callable[..., int]
) -> None:
    """Success is not recorded while the node has an object outstanding."""
    made = a_delivery()
    with database.begin() as tx:
        _claim(tx)
        for item in deliveries.pending_items(tx, made):
            assert not deliveries.finish(tx, made, 1)
            deliveries.record_item(tx, made, 1, item.sop_instance_uid, 0, True)
        assert deliveries.finish(tx, made, 1)
        assert not deliveries.finish(tx, made, 1)

        found = _get(tx, made)
    assert (found.state, found.items_stored) == (DeliveryState.DELIVERED, 2)
    assert found.delivered_at is not None


def test_a_stale_attempt_writes_nothing(
    database: Database,
    a_delivery: Callable[..., int],
    a_result: MakeResult,
    eventually: Callable[..., Any],
) -> None:
    """A sender that lost its lease can neither note, hold, end nor fail the delivery."""
    made = a_delivery()
    uid = a_result(1).sop_instance_uid
    with database.begin() as tx:
        _claim(tx, lease=0.001)
        eventually(lambda: deliveries.rescue(tx, 9, 0.0) == Rescued(1, 0))
        assert not deliveries.record_item(tx, made, 1, uid, 0, True)
        _claim(tx)
        before = _get(tx, made), deliveries.items_of(tx, made)

        assert not deliveries.record_item(tx, made, 1, uid, 0, True)
        assert not deliveries.heartbeat(tx, made, 1, 600)
        assert not deliveries.finish(tx, made, 1)
        assert not deliveries.fail(tx, made, 1, "late", 0)
        assert (_get(tx, made), deliveries.items_of(tx, made)) == before
        assert deliveries.heartbeat(tx, made, 2, 600)


def test_a_busy_node_delays_no_other(database: Database, a_delivery: Callable[..., int]) -> None:
    """Deliveries to nodes named as busy are passed over."""
    slow, fast = a_delivery("SLOW"), a_delivery("FAST")
    with database.begin() as tx:
        assert deliveries.claim(tx, "sender", 60, ["SLOW", "FAST"]) is None
        claimed = deliveries.claim(tx, "sender", 60, ["SLOW"])
        assert claimed is not None
        assert claimed.id == fast
        assert _claim(tx).id == slow


def test_a_node_that_is_down_is_tried_again_and_never_dropped(
    database: Database, a_delivery: Callable[..., int]
) -> None:
    """A failed delivery waits, keeps its reason, and lets others pass."""
    down, up = a_delivery("DOWN"), a_delivery("UP")
    with database.begin() as tx:
        _claim(tx)
        assert deliveries.fail(tx, down, 1, "connection refused", 600)
        assert _claim(tx).id == up
        assert deliveries.claim(tx, "sender", 60) is None

        found = _get(tx, down)
    assert (found.state, found.reason) == (DeliveryState.QUEUED, "connection refused")
    assert found.delivered_at is None


def test_a_dead_delivery_is_retried_with_what_is_left(
    database: Database, a_delivery: Callable[..., int], a_result: MakeResult
) -> None:
    """Retry by hand sends what is not stored, with all attempts before it."""
    made = a_delivery()
    with database.begin() as tx:
        _claim(tx)
        deliveries.record_item(tx, made, 1, a_result(2).sop_instance_uid, 0, True)
        assert deliveries.fail(tx, made, 1, "refused", None)
        found = _get(tx, made)
        assert (found.state, found.delivered_at) == (DeliveryState.DEAD, None)

        assert deliveries.retry(tx, made)
        claimed = _claim(tx)
        assert (claimed.attempt, claimed.attempts_before) == (2, 1)
        assert len(deliveries.pending_items(tx, made)) == 1


def test_the_last_expired_attempt_makes_a_delivery_dead(
    database: Database, a_delivery: Callable[..., int], eventually: Callable[..., Any]
) -> None:
    """A sender that always dies does not go on for ever."""
    made = a_delivery()
    with database.begin() as tx:
        _claim(tx, lease=0.001)
        eventually(lambda: deliveries.rescue(tx, 1, 0.0) == Rescued(0, 1))

        assert "the sender of attempt 1 stopped" in _get(tx, made).reason


def test_deliveries_are_listed_and_counted(
    database: Database, a_delivery: Callable[..., int]
) -> None:
    """The newest first, by state and node."""
    made = [a_delivery(node) for node in ("A", "B", "A")]
    with database.begin() as tx:
        _claim(tx)

        def listed(*args: Any, **options: Any) -> list[int]:
            return [one.id for one in deliveries.listing(tx, *args, **options)]

        assert listed() == made[::-1]
        assert listed(limit=2) == made[:0:-1]
        assert listed(DeliveryState.QUEUED) == made[:0:-1]
        assert listed(node="A") == [made[2], made[0]]
        assert listed(DeliveryState.CLAIMED, "B") == []
        assert deliveries.counts(tx) == {
            DeliveryState.QUEUED: 2,
            DeliveryState.CLAIMED: 1,
            DeliveryState.DELIVERED: 0,
            DeliveryState.COMMITTED: 0,
            DeliveryState.DEAD: 0,
        }
        assert deliveries.get(tx, 10**9) is None


def _get(tx: Any, delivery_id: int) -> Delivery:
    found = deliveries.get(tx, delivery_id)
    assert found is not None
    return found


def _claim(tx: Any, lease: float = 60.0) -> Delivery:
    found = deliveries.claim(tx, "sender", lease)
    assert found is not None
    return found
