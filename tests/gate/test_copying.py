"""Copies to nodes that are not gated: as received, each instance once, whatever else is late."""

from __future__ import annotations

import dataclasses
import threading

import pytest
from sqlalchemy import update
from support.passage import DOWNSTREAM, Passage

from gatekeeper import periodic
from gatekeeper.ledger import balance
from storage import deliveries, instances, unsettled
from storage.engine import Database
from storage.records import Node, Role
from storage.schema import instance as table
from storage.schema import study as study_table
from storage.unsettled import Unsettled

STUDY = "1.2.3"


def tick(passage: Passage) -> int:
    return periodic.tick_forward(passage.context)


def test_copies_start_while_the_study_is_being_received(passage: Passage) -> None:
    """No completeness, no job, no verdict: each look takes what is new, and nothing twice."""
    first = passage.receive(STUDY)
    assert tick(passage) == 2
    assert tick(passage) == 0
    second = passage.receive(STUDY, 1)
    assert tick(passage) == 1

    assert passage.sent("ARCHIVE") != []
    assert passage.uids("ARCHIVE") == [item.sop_instance_uid for item in [*first, *second]]
    assert passage.uids("AI") == []


def test_what_came_between_the_last_look_and_completion_is_copied(passage: Passage) -> None:
    """The forward of a complete study waits until the node has a delivery for every instance."""
    passage.receive(STUDY)
    passage.complete(STUDY)
    assert passage.forwards(STUDY, "ARCHIVE") == ["waiting"]

    assert tick(passage) == 2

    assert passage.forwards(STUDY, "ARCHIVE") == ["sent"]
    assert tick(passage) == 0


# SQLite has one writer: numbers become visible in their order.
@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_an_instance_that_commits_late_is_not_lost(passage: Passage, database_url: str) -> None:
    """One with a lower number becomes visible after one with a higher number was copied."""
    [early] = passage.receive("1.2.9", 1)
    late = dataclasses.replace(
        early, sop_instance_uid="1.2.9.1.999", digest=passage.spool.store(b"late").digest
    )
    other = Database.connect(database_url)
    with other.begin() as tx:
        instances.record(tx, late, None)
        passage.receive("1.2.8", 1)
        assert tick(passage) == 2
    other.dispose()

    assert tick(passage) == 1
    assert passage.uids("ARCHIVE")[-1] == late.sop_instance_uid


def test_not_copied_are_own_results_what_the_node_sent_and_what_was_removed(
    passage: Passage,
) -> None:
    """A router that gets its own images back would send them again."""
    passage.receive(STUDY, 1, source_ae="ARCHIVE")
    [removed] = passage.receive(STUDY, 1)
    [kept] = passage.receive(STUDY, 1)
    passage.receive(STUDY, 1, own_result=True)
    with passage.database.begin() as tx:
        gone = update(table).where(table.c.sop_instance_uid == removed.sop_instance_uid)
        tx.execute(gone.values(removed_at=1.0))

    tick(passage)

    assert passage.uids("ARCHIVE") == [kept.sop_instance_uid]


def test_what_may_still_be_withdrawn_is_copied_once_it_cannot(passage: Passage) -> None:
    """A file whose name is not durable yet is left for the next look, complete or not."""
    [settled, fresh] = passage.receive(STUDY)
    with passage.database.begin() as tx:
        slot = Unsettled("owner/1", fresh.sop_instance_uid, fresh.digest, new=True)
        unsettled.add(tx, slot)
    tick(passage)
    passage.complete(STUDY)
    tick(passage)
    assert passage.uids("ARCHIVE") == [settled.sop_instance_uid]
    assert passage.forwards(STUDY, "ARCHIVE") == ["waiting"]

    with passage.database.begin() as tx:
        unsettled.settle(tx, ["owner/1"])
    tick(passage)

    assert passage.uids("ARCHIVE") == [settled.sop_instance_uid, fresh.sop_instance_uid]
    assert passage.forwards(STUDY, "ARCHIVE") == ["sent"]


def test_deliveries_have_a_limit(passage: Passage) -> None:
    """A burst is many deliveries of bounded size."""
    gate = dataclasses.replace(passage.settings.gate, copy_instances=3)
    context = dataclasses.replace(
        passage.context, settings=dataclasses.replace(passage.settings, gate=gate)
    )
    passage.receive(STUDY, 7)

    assert periodic.tick_forward(context) == 7

    with passage.database.read() as tx:
        assert [one.items for one in deliveries.listing(tx)] == [1, 3, 3]


def test_one_uid_with_two_contents_is_copied_as_two(passage: Passage) -> None:
    """The archive sees what it would have seen from the scanner; neither is dropped."""
    [first] = passage.receive(STUDY, 1)
    other = dataclasses.replace(first, digest=passage.spool.store(b"other content").digest)
    with passage.database.begin() as tx:
        instances.record(tx, other, None)

    tick(passage)

    assert [item.digest for item in passage.sent("ARCHIVE")] == [first.digest, other.digest]


def test_ticks_at_once_copy_once(passage: Passage, database_url: str) -> None:
    """Two processes, two threads each."""
    passage.receive(STUDY, 20)
    other = Database.connect(database_url, lock_seconds=30)
    contexts = [
        dataclasses.replace(passage.context, database=database, copied={})
        for database in (passage.database, other) * 2
    ]
    start = threading.Barrier(len(contexts))
    copied: list[int] = []

    def look(context: periodic.Context) -> None:
        start.wait(20)
        copied.append(periodic.tick_forward(context))

    threads = [threading.Thread(target=look, args=(context,)) for context in contexts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    other.dispose()

    assert sum(copied) == 20
    assert len(passage.uids("ARCHIVE")) == len(set(passage.uids("ARCHIVE"))) == 20


def test_a_node_added_later_gets_what_comes_from_then_on(passage: Passage) -> None:
    """Complete studies are not sent after the fact; one that is added to goes whole."""
    passage.walk("1.2.1", "CLEAR")
    tick(passage)
    passage.add(Node("NEW", "127.0.0.1", 1, roles=(Role.WORKSTATION,), receives_studies=True))
    tick(passage)
    assert passage.uids("NEW") == []

    passage.receive("1.2.1", 1)
    tick(passage)

    assert len(passage.uids("NEW")) == 3


def test_a_node_that_is_both_archive_and_downstream_is_gated(passage: Passage) -> None:
    """The gate is the stronger word."""
    passage.add(dataclasses.replace(DOWNSTREAM, roles=(Role.ARCHIVE, Role.DOWNSTREAM)))
    passage.receive(STUDY)
    tick(passage)

    assert passage.uids("AI") == []


def test_the_books_miss_what_was_not_copied(passage: Passage) -> None:
    """A difference once overdue: while the study comes, and after it was sent on."""
    passage.receive(STUDY)

    def causes(overdue: float) -> list[str]:
        found = balance(passage.database, passage.spool, overdue_seconds=overdue).differences
        return [entry.cause for entry in found if "on no delivery to" in entry.cause]

    assert causes(300) == []
    assert len(causes(-1)) == 1
    tick(passage)
    assert causes(-1) == []
    passage.complete(STUDY)
    tick(passage)
    passage.receive(STUDY, 1)
    with passage.database.begin() as tx:
        tx.execute(update(study_table).values(state="complete"))
    [cause] = causes(-1)
    assert cause.startswith("1 of its instances are on no delivery to ARCHIVE")


def test_what_need_not_be_looked_at_again_is_forgotten_in_the_end(passage: Passage) -> None:
    """Once a study is complete, so that the memory of the process does not grow."""
    passage.receive(STUDY)
    tick(passage)
    assert len(passage.context.copied) == 1
    passage.complete(STUDY)
    tick(passage)

    assert passage.context.copied == {}


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_a_study_that_is_locked_is_copied_all_the_same(passage: Passage, database_url: str) -> None:
    """Somebody holds its row: copies write none of it."""
    passage.receive(STUDY)
    holder = Database.connect(database_url)
    with holder.begin() as tx:
        tx.execute(update(study_table).values(state=study_table.c.state))
        assert tick(passage) == 2
    holder.dispose()

    assert tick(passage) == 0
