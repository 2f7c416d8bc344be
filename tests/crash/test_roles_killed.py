"""Worker, sender and ticks killed at each of their steps: one outcome, one delivery, one job."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from support.dicom_peers import ScriptedPeer
from support.objects import result_of
from support.processes import role
from support.waiting import until
from work.phantoms import ROOT, Ward, series

from gatekeeper.ledger import balance
from gatekeeper.send.transport import SendObject
from storage import deliveries, instances, jobs, nodes, outcomes, studies
from storage.records import DeliveryState, JobState, Node

PATIENCE = 90


@pytest.fixture
def ward(tmp_path: Path, database_url: str) -> Generator[Ward]:
    """Give a database and spool, once on SQLite and once on PostgreSQL."""
    made = Ward(tmp_path, database_url)
    yield made
    made.database.dispose()


def settings_of(ward: Ward) -> dict[str, Any]:
    return {
        "DATABASE_URL": ward.settings.database.url,
        "SPOOL_DIRECTORY": ward.settings.spool.directory,
        "WORK_LEASE_SECONDS": 2,
        "WORK_POLL_SECONDS": 0.05,
        "WORK_RETRY_SECONDS": 0,
        "WORK_MEMORY_MIB": 2048,
        "WORK_DEVICE": "cpu",
        "WORK_THREADS": 1,
        "SEND_LEASE_SECONDS": 2,
        "SEND_POLL_SECONDS": 0.05,
        "SEND_RETRY_SECONDS": 0,
        "LISTEN_QUIET_SECONDS": 0,
    }


def rescued(ward: Ward) -> None:
    """Do what the periodic work does with leases that ended."""
    with ward.database.begin() as tx:
        jobs.rescue(tx, 10, 0.0)
        deliveries.rescue(tx, 10, 0.0)


def test_a_worker_killed_at_any_step_leaves_one_outcome(ward: Ward, tmp_path: Path) -> None:
    """After the claim, in the child's answer, before and after the settle: done once, sent once."""
    ward.add_node("PACS", receives_results=True)
    made = [
        ward.study(series(4, modality="CT", description="", study=f"{ROOT}.{number}"))
        for number in range(1, 4)
    ]
    # Each process dies over another study; the leases of the dead run meanwhile.
    for number, step in enumerate(("worker.claimed", "worker.settling", "worker.settled"), 1):
        point = f"{step}=kill@{ROOT}.{number}"
        with role("work", tmp_path, point, **settings_of(ward)) as doomed:
            assert doomed.died(), step
    assert [ward.job(job).state for job in made] == [
        JobState.CLAIMED, JobState.CLAIMED, JobState.DONE,
    ]  # fmt: skip
    assert balance(ward.database, ward.spool).balanced

    def all_done() -> bool:
        rescued(ward)
        return all(ward.job(job).state is JobState.DONE for job in made)

    with role("work", tmp_path, **settings_of(ward)):
        until(all_done, PATIENCE, "all jobs are done")

    assert [ward.job(job).attempt for job in made] == [2, 2, 1]
    with ward.database.read() as tx:
        assert all(outcomes.of_job(tx, job) is not None for job in made)
        assert [len(deliveries.for_job(tx, job)) for job in made] == [1, 1, 1]
    assert balance(ward.database, ward.spool, verify=True).balanced


def test_a_sender_killed_at_any_step_delivers_everything_once(
    ward: Ward, tmp_path: Path, objects: list[SendObject]
) -> None:
    """Claimed, before the first store, after the peer accepted, before the end: all arrives."""
    results = [result_of(item, ward.spool.store(item.path.read_bytes()).digest) for item in objects]
    steps = ("sender.claimed", "sender.sending", "sender.answered", "sender.finishing")

    def states() -> list[DeliveryState]:
        with ward.database.read() as tx:
            found = [deliveries.get(tx, one) for one in made]
        return [one.state for one in found if one is not None]

    def all_delivered() -> bool:
        rescued(ward)
        return set(states()) == {DeliveryState.DELIVERED}

    made: list[int] = []
    with ScriptedPeer() as peer:
        for number, step in enumerate(steps):
            with ward.database.begin() as tx:
                nodes.save(tx, Node(f"PACS{number}", "127.0.0.1", peer.port))
                made.append(deliveries.create(tx, f"PACS{number}", results))
            with role("send", tmp_path, f"{step}=kill", **settings_of(ward)) as doomed:
                assert doomed.died(), step
        assert states() == [DeliveryState.CLAIMED] * len(steps)
        before = len(peer.received)
        with role("send", tmp_path, **settings_of(ward)):
            until(all_delivered, PATIENCE, "everything is delivered")
        again = len(peer.received) - before

    # Twice nothing was sent; once the peer had taken some whose answers died with the sender.
    assert 2 * len(objects) <= again <= 3 * len(objects)
    assert set(peer.received) == {item.sop_instance_uid for item in objects}
    with ward.database.read() as tx:
        assert all(item.stored for one in made for item in deliveries.items_of(tx, one))


@pytest.mark.parametrize("step", ["tick.completing", "tick.completed", "tick.rescuing"])
def test_a_tick_killed_at_any_step_is_done_by_the_next(
    ward: Ward, tmp_path: Path, step: str
) -> None:
    """No study is complete without its job or has two, and no lost claim is taken back twice."""
    study = ward.receive(series(2, modality="CT", description=""))
    lost = ward.study(series(2, modality="CT", description="", study=f"{ROOT}.2"))
    with ward.database.begin() as tx:
        assert jobs.claim(tx, "gone", -1.0) is not None
    with role("tick", tmp_path, f"{step}=kill", **settings_of(ward)) as doomed:
        assert doomed.died()

    def is_settled() -> bool:
        with ward.database.read() as tx:
            found = studies.get(tx, study)
            made = jobs.listing(tx, study=study)
        queued = ward.job(lost).state is JobState.QUEUED
        return found is not None and found.revision == len(made) == 1 and queued

    with role("tick", tmp_path, **settings_of(ward)):
        until(is_settled, PATIENCE, "the next process did the work")

    assert ward.job(lost).attempt == 1
    assert balance(ward.database, ward.spool).balanced


def test_the_same_content_in_any_order_is_one_job_and_late_content_a_revision(
    ward: Ward, tmp_path: Path
) -> None:
    """Repeated instances change nothing; one that comes after the end makes revision 2."""
    images = series(3, modality="CT", description="")
    study = ward.receive([images[1], images[0], images[1], images[0]])

    def revisions() -> list[int]:
        with ward.database.read() as tx:
            return [job.revision for job in jobs.listing(tx, study=study)]

    with role("tick", tmp_path, **settings_of(ward)):
        until(lambda: revisions() == [1], PATIENCE, "the first revision")
        ward.receive([images[0], images[1]])
        ward.receive([images[2]])
        until(lambda: revisions() == [2, 1], PATIENCE, "the second revision")
    with ward.database.read() as tx:
        assert len(instances.of_study(tx, study)) == 3
