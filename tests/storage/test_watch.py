"""What a monitoring system asks: exact, and read from where the last look stopped."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event, update

from storage import deliveries, forwards, instances, jobs, watch
from storage.engine import Database, now
from storage.records import Instance, Outcome, Result
from storage.schema import instance, job

LEASE = 60.0


def settle(database: Database, outcome: Outcome, results: Any = (), nodes: Any = ()) -> int:
    """Claim a job and end it; return its number."""
    with database.begin() as tx:
        claimed = jobs.claim(tx, "worker", LEASE)
        assert claimed is not None
        assert jobs.settle(tx, claimed.id, claimed.attempt, outcome, results, nodes)
    return claimed.id


def look(database: Database, endings: watch.Endings) -> list[int]:
    with database.read() as tx:
        return endings.look(tx)


def test_each_job_that_ends_is_told_once(
    database: Database, a_job: Callable[..., int], an_outcome: Outcome
) -> None:
    """In whatever order: one from before the first look, one that came and ended between two."""
    endings = watch.jobs_ending()
    a_job(1)
    settle(database, an_outcome)
    waiting = a_job(2)
    assert look(database, endings) == []
    assert settle(database, an_outcome) == waiting
    between = a_job(3)
    settle(database, an_outcome)
    assert look(database, endings) == [waiting, between]
    assert look(database, endings) == []


def test_a_job_that_fails_is_told_when_it_ends_well(
    database: Database, a_job: Callable[..., int], an_outcome: Outcome
) -> None:
    """Not when it is set aside as dead, and not lost by being tried again."""
    endings = watch.jobs_ending()
    number = a_job()
    assert look(database, endings) == []
    with database.begin() as tx:
        claimed = jobs.claim(tx, "worker", LEASE)
        assert claimed is not None
        jobs.fail(tx, number, claimed.attempt, "it does not work", None)
    assert look(database, endings) == []
    with database.begin() as tx:
        jobs.retry(tx, number)
    settle(database, an_outcome)
    assert look(database, endings) == [number]


def test_what_was_found_comes_with_its_sender_and_its_times(
    database: Database, a_job: Callable[..., int], an_outcome: Outcome
) -> None:
    """The verdict, the stages, and the seconds from the queue to the end."""
    a_job()
    number = settle(database, an_outcome)
    with database.begin() as tx:
        tx.execute(update(job).values(created_at=job.c.finished_at - 90.0))
    with database.read() as tx:
        [found] = watch.judged(tx, [number])
    assert (found.source_ae, found.verdict, found.stages) == ("SCANNER", "SUSPECT", {"read": 12.5})
    assert found.seconds == pytest.approx(90.0, abs=1e-3)


def test_a_delivery_is_told_with_its_node_once_it_has_all(
    database: Database,
    a_job: Callable[..., int],
    an_outcome: Outcome,
    a_result: Callable[..., Result],
) -> None:
    """By the state of its end, whichever that is."""
    endings = watch.deliveries_ending()
    assert look(database, endings) == []
    a_job()
    settle(database, an_outcome, [a_result()], ["PACS"])
    assert look(database, endings) == []
    with database.begin() as tx:
        [delivery] = deliveries.listing(tx)
        claimed = deliveries.claim(tx, "sender", LEASE)
        assert claimed is not None
        for item in deliveries.items_of(tx, claimed.id):
            uid = item.sop_instance_uid
            deliveries.record_item(tx, claimed.id, claimed.attempt, uid, 0, stored=True)
        assert deliveries.finish(tx, claimed.id, claimed.attempt)
    assert look(database, endings) == [delivery.id]
    with database.read() as tx:
        assert [one.node for one in watch.delivered(tx, [delivery.id])] == ["PACS"]


def test_what_arrives_is_counted_once_and_not_before_it_is_settled(
    database: Database, an_instance: Callable[..., Instance]
) -> None:
    """A young row waits, as one with a smaller number may still be on its way to the database."""
    arrivals = watch.Arrivals(settled_seconds=60.0, limit=2)

    def arrived() -> tuple[int, int]:
        with database.read() as tx:
            found = arrivals.look(tx).get("SCANNER")
        return (0, 0) if found is None else (found.instances, found.size)

    assert arrived() == (0, 0)
    with database.begin() as tx:
        for number in range(1, 4):
            instances.record(tx, an_instance(number), None)
    assert arrived() == (0, 0)
    with database.begin() as tx:
        tx.execute(update(instance).values(received_at=now() - 61.0))
    assert arrived() == (2, 1001 + 1002), "no more than the limit at a time"
    assert arrived() == (1, 1003)
    assert arrived() == (0, 0)
    with database.read() as tx:
        assert list(watch.latest_of_senders(tx)) == ["SCANNER"]


def test_queues_tell_what_waits_and_how_long(database: Database, a_job: Callable[..., int]) -> None:
    """Of each stage, by state; the age is that of the oldest that is not dead."""
    first, second = a_job(1), a_job(2)
    with database.begin() as tx:
        tx.execute(update(job).where(job.c.id == first).values(created_at=now() - 500.0))
        tx.execute(update(job).where(job.c.id == second).values(created_at=now() - 100.0))
    with database.read() as tx:
        found = watch.queues(tx)
    assert found["analyse"].counts == {"queued": 2, "claimed": 0, "dead": 0}
    assert 500.0 <= found["analyse"].oldest_seconds < 560.0
    assert found["receive"].counts == {"receiving": 1}
    assert found["deliver"].oldest_seconds == 0.0
    with database.begin() as tx:
        claimed = jobs.claim(tx, "worker", LEASE)
        assert claimed is not None
        jobs.fail(tx, claimed.id, claimed.attempt, "no", None)
    with database.read() as tx:
        found = watch.queues(tx)
    assert found["analyse"].counts == {"queued": 1, "claimed": 0, "dead": 1}
    assert 100.0 <= found["analyse"].oldest_seconds < 160.0
    with database.begin() as tx:
        claimed = jobs.claim(tx, "worker", LEASE)
        assert claimed is not None
        jobs.fail(tx, claimed.id, claimed.attempt, f"{jobs.SUPERSEDED}: by another", None)
    with database.read() as tx:
        assert watch.queues(tx)["analyse"].counts == {"queued": 0, "claimed": 0, "dead": 1}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_no_question_of_every_few_seconds_reads_a_table_from_end_to_end(
    database: Database,
) -> None:
    """By SQLite's own plans: each search is in an index or by primary key."""
    endings = watch.jobs_ending(), watch.deliveries_ending()
    arrivals = watch.Arrivals(10.0, 100)
    with database.read() as tx:
        arrivals.look(tx)
        with statements(tx) as asked:
            watch.queues(tx)
            watch.holds(tx)
            arrivals.look(tx)
            for one in endings:
                one.look(tx)
            list(watch.judged(tx, [1, 2]))
            list(watch.delivered(tx, [1, 2]))
    assert len(asked) > 15
    with database.read() as tx:
        for statement, parameters in asked:
            plan = tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            steps = [str(row[3]) for row in plan]
            scans = [step for step in steps if step.startswith("SCAN") and "anon_" not in step]
            assert [one for one in scans if "CONSTANT ROW" not in one] == [], statement


@contextmanager
def statements(tx: Any) -> Generator[list[tuple[str, Any]]]:
    """Give the statements that are executed in the block, with their parameters."""
    asked: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        asked.append((statement, parameters))

    event.listen(tx.engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        event.remove(tx.engine, "before_cursor_execute", note)


def test_holds_are_none_where_nothing_is_held(database: Database) -> None:
    """And end at no time."""
    with database.read() as tx:
        assert forwards.listing(tx) == []
        assert watch.holds(tx) == watch.Holds({}, None)
