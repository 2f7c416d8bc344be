"""The ticks: idempotent, doubled, interrupted, and late."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import SQLAlchemyError
from support.waiting import until

from gatekeeper import periodic
from gatekeeper.assemble.content import content_digest
from gatekeeper.settings import Settings
from storage import deliveries, instances, jobs, nodes, studies
from storage.engine import Database
from storage.records import Instance, Job, JobState, Node, Result, StudyState
from storage.spool import Digest, Spool

STUDY = "1.2.3"


def settings(**sections: dict[str, Any]) -> Settings:
    plain = Settings()
    chosen = {"listen": {"quiet_seconds": 0.0}, **sections}
    return dataclasses.replace(
        plain,
        **{
            name: dataclasses.replace(getattr(plain, name), **changes)
            for name, changes in chosen.items()
        },
    )


@pytest.fixture
def context(database: Database, tmp_path: Path) -> periodic.Context:
    return periodic.Context(settings(), database, Spool(tmp_path / "spool"))


def receive(database: Database, uid: str, **more: Any) -> None:
    """Record an instance, its association long gone."""
    values: dict[str, Any] = {
        "sop_instance_uid": uid,
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.4",
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "study_instance_uid": STUDY,
        "series_instance_uid": "1.2.3.4",
        "modality": "MR",
        "digest": Digest.of(uid.encode()),
        "size": 1,
        "source_ae": "SCANNER",
        **more,
    }
    with database.begin() as tx:
        instances.record(tx, Instance(**values), None)


def queue(database: Database) -> list[Job]:
    with database.read() as tx:
        return jobs.listing(tx)


def test_a_quiet_study_becomes_complete_and_one_job(context: periodic.Context) -> None:
    """State, revision, digest and job are of one piece; a second tick finds nothing to do."""
    receive(context.database, "1.2.3.1")
    receive(context.database, "1.2.3.2")

    assert periodic.run_once(context)["complete"] == 1
    assert periodic.run_once(context)["complete"] == 0

    with context.database.read() as tx:
        study = studies.get(tx, STUDY)
        digest = content_digest(instances.of_study(tx, STUDY))
    assert study is not None
    assert (study.state, study.revision, study.content_digest) == (StudyState.COMPLETE, 1, digest)
    [job] = queue(context.database)
    assert (job.study_instance_uid, job.content_digest, job.revision) == (STUDY, digest, 1)
    assert job.model_digest == context.model_digest()


def test_ticks_at_once_make_one_job(context: periodic.Context, database_url: str) -> None:
    """Two processes, two threads each: the database decides who did it."""
    for number in range(5):
        receive(context.database, f"1.2.3.{number}", study_instance_uid=f"1.2.3.{number}")
    other = Database.connect(database_url)
    contexts = [context, dataclasses.replace(context, database=other)] * 2
    start = threading.Barrier(len(contexts))
    completed: list[int] = []

    def tick(mine: periodic.Context) -> None:
        start.wait(10)
        completed.append(periodic.tick_complete(mine))

    threads = [threading.Thread(target=tick, args=(mine,)) for mine in contexts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    other.dispose()

    assert len(completed) == 4
    assert len(queue(context.database)) == 5
    assert {job.revision for job in queue(context.database)} == {1}


def test_a_late_instance_is_a_revision_and_a_repeated_one_is_nothing(
    context: periodic.Context,
) -> None:
    """New content makes revision 2 and a second job; a resend makes neither."""
    receive(context.database, "1.2.3.1")
    periodic.tick_complete(context)
    receive(context.database, "1.2.3.1")
    assert periodic.tick_complete(context) == 0

    receive(context.database, "1.2.3.2")
    assert periodic.tick_complete(context) == 1

    assert sorted(job.revision for job in queue(context.database)) == [1, 2]


def test_own_results_make_no_job(context: periodic.Context) -> None:
    """A loop through a PACS that routes everything back ends here."""
    receive(context.database, "2.25.1", own_result=True)

    assert periodic.tick_complete(context) == 0
    assert queue(context.database) == []


def test_an_open_association_keeps_the_study_receiving(context: periodic.Context) -> None:
    """However quiet; closed, or its lease over, the study completes."""
    receive(context.database, "1.2.3.1")
    with context.database.begin() as tx:
        association = instances.open_association(tx, "SCANNER", "127.0.0.1")
        [instance] = instances.of_study(tx, STUDY)
        instances.record(tx, instance, association)
    assert periodic.tick_complete(context) == 0

    patient = settings(listen={"quiet_seconds": 0.0, "patience_seconds": 0.0})
    with context.database.begin() as tx:
        instances.close_association(tx, association)
    assert periodic.tick_complete(context) == 1
    receive(context.database, "1.2.3.2")
    with context.database.begin() as tx:
        association = instances.open_association(tx, "SCANNER", "127.0.0.1")
        instances.record(tx, instance, association)
    assert periodic.tick_complete(context) == 0
    assert periodic.tick_complete(dataclasses.replace(context, settings=patient)) == 1


def test_the_quiet_time_of_a_node_is_its_own(context: periodic.Context) -> None:
    """A slow scanner gets more time than the rest, and a fast one less."""
    usual = dataclasses.replace(context, settings=settings(listen={"quiet_seconds": 3600.0}))
    with context.database.begin() as tx:
        nodes.save(tx, Node("SLOW", "slow", 104, may_send=True, quiet_seconds=3600.0))
        nodes.save(tx, Node("FAST", "fast", 104, may_send=True, quiet_seconds=0.0))
    receive(context.database, "1.2.3.1", study_instance_uid="1.2.1", source_ae="SLOW")
    receive(context.database, "1.2.3.2", study_instance_uid="1.2.2", source_ae="FAST")
    receive(context.database, "1.2.3.3", study_instance_uid="1.2.3", source_ae="OTHER")

    assert periodic.tick_complete(usual) == 1
    assert [job.study_instance_uid for job in queue(context.database)] == ["1.2.2"]
    assert periodic.tick_complete(context) == 1


def test_no_study_is_complete_without_its_job(context: periodic.Context) -> None:
    """When the job cannot be written the study stays open, and completes later."""
    receive(context.database, "1.2.3.1")
    with context.database.begin() as tx:
        tx.exec_driver_sql("ALTER TABLE job RENAME TO gone")
    with pytest.raises(SQLAlchemyError):
        periodic.tick_complete(context)
    assert periodic.run_safely("complete", context) == 0
    with context.database.begin() as tx:
        study = studies.get(tx, STUDY)
        assert study is not None
        assert (study.state, study.revision) == (StudyState.RECEIVING, 0)
        tx.exec_driver_sql("ALTER TABLE gone RENAME TO job")

    assert periodic.run_safely("complete", context) == 1
    assert len(queue(context.database)) == 1


def test_expired_leases_are_taken_back_and_end_as_dead(context: periodic.Context) -> None:
    """A worker and a sender that vanished: queued again, and dead when the attempts are used up."""
    hasty = dataclasses.replace(
        context,
        settings=settings(
            work={"maximum_attempts": 1}, send={"maximum_attempts": 2, "retry_seconds": 0.0}
        ),
    )
    receive(context.database, "1.2.3.1")
    periodic.tick_complete(context)
    digest = Digest.of(b"")
    with context.database.begin() as tx:
        deliveries.create(tx, "PACS", [Result("2.25.1", "1", "1.2.9", "1", "report", digest, 1)])
        assert jobs.claim(tx, "worker", 0.0) is not None
        assert deliveries.claim(tx, "sender", 0.0) is not None

    def rescued() -> int:
        return periodic.tick_rescue(hasty)

    assert until(rescued, 10, "the leases are over") == 2
    assert periodic.tick_rescue(hasty) == 0
    [job] = queue(context.database)
    assert job.state is JobState.DEAD
    with context.database.begin() as tx:
        assert deliveries.claim(tx, "sender", 60.0) is not None


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_residue_is_swept_and_a_transfer_under_way_is_not(context: periodic.Context) -> None:
    """By age; what has its final name is never touched."""
    stored = context.spool.store(b"whole")
    residue = context.spool.root / "incoming" / "residue.part"
    residue.write_bytes(b"part")
    assert periodic.tick_sweep(context) == 0

    old = time.time() - 2 * context.settings.tick.residue_seconds
    os.utime(residue, (old, old))
    os.utime(stored.path, (old, old))

    assert periodic.tick_sweep(context) == 1
    assert not residue.exists()
    assert stored.path.exists()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_two_schedulers_do_the_work_once(context: periodic.Context) -> None:
    """Doubled by mistake, the scheduler still makes one job of one study."""
    often = dataclasses.replace(
        context,
        settings=settings(tick={"complete_seconds": 0.1, "rescue_seconds": 0.1}),
    )
    schedulers = [periodic.scheduler(often), periodic.scheduler(often)]
    for background in schedulers:
        background.start()
    try:
        receive(context.database, "1.2.3.1")
        until(lambda: queue(context.database), 10, "the job is queued")
        receive(context.database, "1.2.3.2")
        until(lambda: len(queue(context.database)) == 2, 10, "the revision is queued")
    finally:
        for background in schedulers:
            background.shutdown(wait=True)
    assert sorted(job.revision for job in queue(context.database)) == [1, 2]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_every_tick_has_its_setting_and_a_late_one_runs_once(context: periodic.Context) -> None:
    """Coalesced, without a limit to lateness, one at a time."""
    background = periodic.scheduler(context)
    background.start(paused=True)
    try:
        found = background.get_jobs()
        assert {job.id for job in found} == set(periodic.TICKS)
        for job in found:
            assert job.coalesce
            assert job.misfire_grace_time is None
            assert job.max_instances == 1
            seconds = getattr(context.settings.tick, f"{job.id}_seconds")
            assert job.trigger.interval.total_seconds() == seconds
    finally:
        background.shutdown()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_role_ticks_until_sigterm(
    database_url: str, database: Database, tmp_path: Path
) -> None:
    """A process of its own completes a study and ends with success."""
    environment = {
        **os.environ,
        "GATEKEEPER_DATABASE_URL": database_url,
        "GATEKEEPER_SPOOL_DIRECTORY": str(tmp_path / "spool"),
        "GATEKEEPER_LISTEN_QUIET_SECONDS": "0",
        "GATEKEEPER_TICK_COMPLETE_SECONDS": "0.1",
    }
    receive(database, "1.2.3.1")
    program = (
        "from gatekeeper import config, log, periodic;"
        "log.configure(); periodic.serve(config.load())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], env=environment, cwd=tmp_path, stderr=subprocess.PIPE
    )
    try:
        until(lambda: queue(database), 30, "the job is queued")
        process.send_signal(signal.SIGTERM)
        _said, log = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()

    assert process.returncode == 0
    events = log.decode().splitlines()
    assert "ticking" in events[0]
    assert "stopped" in events[-1]
