"""Whether nodes keep what they stored: their own word, a bounded number of rounds."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from storage import confirmations, deliveries
from storage.engine import Database
from storage.records import Confirmation, ConfirmationState, DeliveryState, Result


@pytest.fixture
def stored(database: Database, a_result: Callable[..., Result]) -> int:
    """Return a delivery of three objects that the node has answered as stored."""
    with database.begin() as tx:
        made = deliveries.create(tx, "PACS", [a_result(number) for number in range(3)])
    send(database, made)
    return made


def send(database: Database, delivery_id: int) -> None:
    with database.begin() as tx:
        claimed = deliveries.claim(tx, "sender", 60.0)
        assert claimed is not None
        assert claimed.id == delivery_id
        for one in deliveries.pending_items(tx, delivery_id):
            deliveries.record_item(tx, delivery_id, claimed.attempt, one.sop_instance_uid, 0, True)
        assert deliveries.finish(tx, delivery_id, claimed.attempt)
        confirmations.expect(tx, delivery_id, "PACS")


def asked(database: Database, transaction: str) -> Confirmation:
    with database.begin() as tx:
        claimed = confirmations.claim(tx, "sender", 60.0)
        assert claimed is not None
        assert confirmations.ask(tx, claimed, transaction)
    return claimed


def states(database: Database, delivery_id: int) -> tuple[DeliveryState, ConfirmationState | None]:
    with database.read() as tx:
        found = deliveries.get(tx, delivery_id)
    assert found is not None
    return found.state, found.confirmation


def test_only_the_nodes_word_makes_a_delivery_committed(database: Database, stored: int) -> None:
    """Delivered before; the answer is found by the transaction, whoever hears it, once."""
    assert states(database, stored) == (DeliveryState.DELIVERED, ConfirmationState.QUEUED)
    held = asked(database, "1.9.1")
    with database.begin() as tx:
        confirmations.fail(tx, held, "no answer yet", 60.0)
        assert confirmations.of_transaction(tx, "PACS", "1.9.2") is None
        assert confirmations.of_transaction(tx, "OTHER", "1.9.1") is None
        found = confirmations.of_transaction(tx, "PACS", "1.9.1")
        assert found is not None
        assert confirmations.commit(tx, found)
        assert not confirmations.commit(tx, found)

    assert states(database, stored) == (DeliveryState.COMMITTED, ConfirmationState.COMMITTED)


def test_what_is_not_kept_is_queued_again_and_asked_again(database: Database, stored: int) -> None:
    """Exactly those objects; an answer to the question before them settles nothing."""
    held = asked(database, "1.9.1")
    with database.begin() as tx:
        uid = deliveries.items_of(tx, stored)[1].sop_instance_uid
        assert confirmations.resend(tx, held, [uid], "lost", 3) is ConfirmationState.RESENDING
        assert [one.sop_instance_uid for one in deliveries.pending_items(tx, stored)] == [uid]
    assert states(database, stored) == (DeliveryState.QUEUED, ConfirmationState.RESENDING)
    send(database, stored)
    again = asked(database, "1.9.2")
    with database.begin() as tx:
        late = confirmations.of_transaction(tx, "PACS", "1.9.1")
        assert late is not None
        assert not confirmations.commit(tx, late)
        assert confirmations.commit(tx, again)

    assert states(database, stored) == (DeliveryState.COMMITTED, ConfirmationState.COMMITTED)


def test_resending_has_an_end_and_an_answer_after_it_still_counts(
    database: Database, stored: int
) -> None:
    """Dead, never committed; the node's late word can make it so."""
    held = asked(database, "1.9.1")
    with database.begin() as tx:
        assert confirmations.resend(tx, held, [], "lost", 0) is ConfirmationState.DEAD
    assert states(database, stored) == (DeliveryState.DELIVERED, ConfirmationState.DEAD)

    with database.begin() as tx:
        late = confirmations.of_transaction(tx, "PACS", "1.9.1")
        assert late is not None
        assert confirmations.commit(tx, late)
    assert states(database, stored) == (DeliveryState.COMMITTED, ConfirmationState.COMMITTED)


def test_a_stale_attempt_neither_asks_nor_fails(database: Database, stored: int) -> None:
    """Its claim was taken over."""
    with database.begin() as tx:
        stale = confirmations.claim(tx, "sender", -1.0)
        assert stale is not None
        assert confirmations.rescue(tx, 5, 0.0).requeued == 1
        assert confirmations.claim(tx, "sender", 60.0) is not None
        assert not confirmations.ask(tx, stale, "1.9.1")
        assert not confirmations.fail(tx, stale, "late", 0.0)
        assert not confirmations.waive(tx, stale)


def test_a_waived_confirmation_leaves_a_plain_delivery(database: Database, stored: int) -> None:
    """The node is not asked any more: delivered, and nothing said about committed."""
    held = asked(database, "1.9.1")
    with database.begin() as tx:
        assert confirmations.waive(tx, held)

    assert states(database, stored) == (DeliveryState.DELIVERED, None)


def test_a_dead_confirmation_can_be_asked_for_afresh(database: Database, stored: int) -> None:
    """By hand, with all questions and rounds before it."""
    held = asked(database, "1.9.1")
    with database.begin() as tx:
        assert confirmations.questions(tx, held) == 1
        assert not confirmations.retry(tx, stored)
        confirmations.fail(tx, held, "no answer", None)
        assert confirmations.retry(tx, stored)
        again = confirmations.claim(tx, "sender", 60.0)
        assert again is not None
        assert (again.resends, confirmations.questions(tx, again)) == (0, 0)
