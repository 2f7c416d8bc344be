"""What the gate holds is kept; what it decided about and delivered may go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import update
from support.dicom_peers import ScriptedPeer
from support.passage import Passage

from gatekeeper import periodic
from gatekeeper.gate import people
from gatekeeper.retention import retain
from gatekeeper.send.attempt import Desk, deliver
from gatekeeper.send.dimse import DimseTransport
from gatekeeper.settings import RetentionSettings, SendSettings
from storage import deliveries, instances, nodes
from storage.records import DeliveryState, Node, Result
from storage.schema import instance as table
from storage.spool import Digest

STUDY = "1.2.3"
OLD = 10 * 86400.0


def settle_with_report(passage: Passage, verdict: str) -> None:
    """Judge the study's job, and deliver its report and everything else that is queued."""
    passage.judge(STUDY, verdict, results=[a_report()])
    periodic.tick_forward(passage.context)
    deliver_all(passage)


def a_report() -> Result:
    return Result("2.25.1", "1.2.3.9", "2.25.2", "1.2.1", "report", Digest.of(b"report"), 1)


def deliver_all(passage: Passage) -> None:
    with passage.database.begin() as tx:
        while claimed := deliveries.claim(tx, "test", 600):
            for item in deliveries.items_of(tx, claimed.id):
                answer = (item.sop_instance_uid, 0, True)
                deliveries.record_items(tx, claimed.id, claimed.attempt, [answer])
            assert deliveries.finish(tx, claimed.id, claimed.attempt)


def retained(passage: Passage) -> int:
    """Age everything, let retention look, and return how many instances are left."""
    with passage.database.begin() as tx:
        tx.execute(update(table).values(received_at=table.c.received_at - OLD))
    retain(passage.database, passage.spool, RetentionSettings(days=1.0))
    with passage.database.read() as tx:
        return sum(one.removed_at is None for one in instances.of_study(tx, STUDY))


@pytest.mark.parametrize("decide", [people.release, people.reject])
def test_a_suspect_study_is_kept_until_it_was_decided_and_delivered(
    passage: Passage, decide: Callable[..., Any]
) -> None:
    """Held: kept, whatever its age. Released or rejected, and delivered: gone."""
    passage.receive(STUDY)
    passage.complete(STUDY)
    settle_with_report(passage, "SUSPECT")
    assert retained(passage) == 2

    with passage.database.begin() as tx:
        decide(tx, STUDY, "Dr Who", "because")
    if decide is people.release:
        assert retained(passage) == 2
    deliver_all(passage)

    assert retained(passage) == 0


def test_a_study_that_waits_for_its_copies_is_kept(passage: Passage) -> None:
    """However its results are delivered."""
    passage.receive(STUDY)
    passage.complete(STUDY)
    passage.judge(STUDY, "CLEAR", results=[a_report()])
    deliver_all(passage)
    assert retained(passage) == 2

    periodic.tick_forward(passage.context)
    assert retained(passage) == 2
    deliver_all(passage)

    assert retained(passage) == 0


def test_without_a_gated_node_a_suspect_study_is_kept_for_ever(passage: Passage) -> None:
    """Nobody decides about it, and somebody is to look at it."""
    with passage.database.begin() as tx:
        nodes.remove(tx, "AI")
    passage.receive(STUDY)
    passage.complete(STUDY)
    settle_with_report(passage, "SUSPECT")

    assert retained(passage) == 2


def test_a_study_that_rules_left_out_goes_once_it_was_forwarded(passage: Passage) -> None:
    """It has no results whose delivery could be waited for."""
    passage.receive(STUDY)
    passage.complete(STUDY)
    passage.judge(STUDY, "UNCALIBRATED", left_out=["scouts"])
    periodic.tick_forward(passage.context)
    assert retained(passage) == 2

    deliver_all(passage)

    assert retained(passage) == 0


@pytest.mark.parametrize("status", [0xA700, 0xA900])
def test_a_copy_that_the_node_answered_with_a_failure_is_no_copy(
    passage: Passage, status: int
) -> None:
    """Its answer is on record, it is not delivered, and its file is kept."""
    passage.receive(STUDY)
    passage.complete(STUDY)
    passage.judge(STUDY, "CLEAR")
    periodic.tick_forward(passage.context)

    def answer(number: int, _uid: str) -> int:
        return status if number == 1 else 0x0000

    with ScriptedPeer(answer) as peer:
        once = SendSettings(maximum_attempts=1, brief_attempts=1)
        desk = Desk(passage.database, passage.spool, DimseTransport("GATEKEEPER", once), once)
        with passage.database.begin() as tx:
            [of_archive] = deliveries.listing(tx, node="ARCHIVE")
            claims = [deliveries.claim(tx, "test", 600) for _ in range(2)]
        [mine] = [one for one in claims if one is not None and one.id == of_archive.id]
        deliver(desk, mine, Node("ARCHIVE", "127.0.0.1", peer.port), lambda: False)

    with passage.database.read() as tx:
        ended = deliveries.get(tx, of_archive.id)
        items = deliveries.items_of(tx, of_archive.id)
    assert ended is not None
    assert (ended.state, ended.items_stored) == (DeliveryState.DEAD, 1)
    assert [item.status for item in items] == [0x0000, status]
    assert retained(passage) == 2
