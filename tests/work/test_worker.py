"""The worker's promises: one outcome for each job, whatever the child or the database do."""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from sqlalchemy import Connection, select, update
from support.waiting import until
from work.phantoms import ROOT, Ward, encoded, image, series

import gatekeeper
from gatekeeper.errors import ChildFailed
from gatekeeper.notify.events import Event
from gatekeeper.results.common import to_bytes
from gatekeeper.work import worker as worker_module
from gatekeeper.work.heartbeat import Heartbeat
from gatekeeper.work.worker import SCRATCH, Worker
from models.registry import Registry
from storage import channels, deliveries, jobs, notifications, outcomes
from storage.engine import Database, DatabaseUnavailableError
from storage.failpoint import VARIABLE
from storage.records import Channel, ChannelKind, JobState, Outcome
from storage.schema import instance
from storage.schema import job as job_table

OTHER_MODELS = "c" * 64


def ct(number: int = 1) -> list[Dataset]:
    """Return a study that no profile covers, so that no model is needed."""
    study = f"{ROOT}.{number}"
    return series(4, modality="CT", description="", study=study)


@pytest.fixture
def ward(tmp_path: Path, database_url: str) -> Iterator[Ward]:
    """Give a database and spool, once on SQLite and once on PostgreSQL."""
    made = Ward(tmp_path, database_url)
    yield made
    made.database.dispose()


@pytest.fixture
def small(tmp_path: Path, sqlite_url: str) -> Iterator[Ward]:
    """Give a database and spool for what does not depend on the kind of database."""
    made = Ward(tmp_path, sqlite_url, maximum_attempts=2)
    yield made
    made.database.dispose()


@contextmanager
def working(ward: Ward) -> Generator[Worker]:
    """Give a worker whose child is gone afterwards."""
    made = Worker(ward.settings, ward.database, ward.spool)
    try:
        yield made
    finally:
        made.close()


def outcome(ward: Ward, job: int) -> Outcome | None:
    with ward.database.read() as tx:
        return outcomes.of_job(tx, job)


def test_a_job_is_settled_with_outcome_results_and_deliveries_in_one(ward: Ward) -> None:
    """One commit writes outcome, results, and a delivery to each node that is to have them."""
    ward.add_node("PACS", receives_results=True)
    ward.add_node("OFF", receives_results=True, enabled=False)
    ward.add_node("SCANNER", may_send=True)
    job = ward.study(ct())
    with working(ward) as worker:
        assert worker.run_once()
        assert not worker.run_once()
    with ward.database.read() as tx:
        found = outcomes.of_job(tx, job)
        (result,) = outcomes.results_of_job(tx, job)
        sent = deliveries.for_job(tx, job)

    assert ward.job(job).state is JobState.DONE
    assert found is not None
    assert (found.verdict, found.score, found.p_value) == ("UNCALIBRATED", None, None)
    assert found.reason == "Not assessed: no profile for CT (body part not stated)."
    assert {"queued", "read", "geometry", "report", "store"} <= found.stages.keys()
    assert found.evidence["peak_mib"] > 0
    assert [item.node for item in sent] == ["PACS"]
    report = dcmread(ward.spool.path(result.digest))
    assert report.SOPInstanceUID == result.sop_instance_uid
    assert report.StudyInstanceUID == ward.job(job).study_instance_uid
    assert ward.spool.path(result.digest).stat().st_size == result.size
    assert list((ward.spool.root / SCRATCH).iterdir()) == []


def test_an_unreadable_study_is_an_outcome_at_the_first_attempt(ward: Ward) -> None:
    """The same broken files give the same answer: it is told at once, with its report."""
    images = [encoded(item) for item in series(4, modality="CT", description="")]
    images[1] = images[1][:-100]
    job = ward.study(images)
    with working(ward) as worker:
        worker.run_once()
    with ward.database.read() as tx:
        found = outcomes.of_job(tx, job)
        results = outcomes.results_of_job(tx, job)

    assert ward.job(job).attempt == 1
    assert found is not None
    assert found.verdict == "UNREADABLE"
    assert found.reason == "Truncated: the pixel data holds 284 of 384 bytes."
    assert [result.kind for result in results] == ["statement"]


def test_a_crash_is_tried_again_and_then_set_aside_and_the_queue_moves_on(
    small: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A study that crashes the analysis goes dead with its reason; the next is done.

    People are told of both, since neither was decided.
    """
    monkeypatch.setenv(VARIABLE, f"child.read=segfault@{ROOT}.1")
    with small.database.begin() as tx:
        channels.save(tx, Channel("desk", ChannelKind.EMAIL, "desk@hospital.example"))
    poisoned, healthy = small.study(ct(1)), small.study(ct(2))
    with working(small) as worker:
        for _ in range(3):
            assert worker.run_once()
        assert not worker.run_once()

    dead = small.job(poisoned)
    assert (dead.state, dead.attempt) == (JobState.DEAD, 2)
    assert "crashed with SIGSEGV" in dead.reason
    assert dead.reason.endswith("given up after 2 attempts")
    assert outcome(small, poisoned) is None
    assert small.job(healthy).state is JobState.DONE
    with small.database.read() as tx:
        told = notifications.listing(tx)
    assert {one.event: one.facts for one in told} == {
        Event.JOB_DEAD: {"job": poisoned, "study": f"{ROOT}.1", "reason": dead.reason},
        Event.STUDY_NOT_DECIDED: {
            "job": healthy,
            "study": f"{ROOT}.2",
            "verdict": "UNCALIBRATED",
        },
    }


def test_a_detector_that_segfaults_ends_as_a_dead_letter(
    small: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash inside the model, with its weights loaded, kills the child and nothing else."""
    monkeypatch.setenv(VARIABLE, f"child.detect=segfault@{ROOT}.1")
    poisoned = small.study(series(4))
    healthy = small.study(ct(2))
    with working(small) as worker:
        while worker.run_once():
            pass

    assert small.job(poisoned).state is JobState.DEAD
    assert "crashed with SIGSEGV" in small.job(poisoned).reason
    assert small.job(healthy).state is JobState.DONE


def test_retrying_a_dead_job_gives_it_all_its_attempts_again(
    small: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attempts before a retry by hand do not count against the maximum."""
    monkeypatch.setenv(VARIABLE, "child.job=leave")
    job = small.study(ct())
    with working(small) as worker:
        while worker.run_once():
            pass
        assert small.job(job).attempt == 2
        with small.database.begin() as tx:
            assert jobs.retry(tx, job)
        assert worker.run_once()
        assert small.job(job).state is JobState.QUEUED
        monkeypatch.delenv(VARIABLE)
        assert worker.run_once()
    assert small.job(job).state is JobState.DONE


def test_a_machine_that_cannot_start_a_child_claims_nothing(
    small: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken installation leaves the queue to others and uses up no attempts."""
    monkeypatch.setenv(VARIABLE, "child.start=leave")
    job = small.study(ct())
    with working(small) as worker:
        with pytest.raises(ChildFailed, match="ended with exit code 7"):
            worker.run_once()
        assert (small.job(job).state, small.job(job).attempt) == (JobState.QUEUED, 0)
        monkeypatch.delenv(VARIABLE)
        assert worker.run_once()
    assert small.job(job).state is JobState.DONE


def test_a_child_that_died_while_idle_costs_no_attempt(small: Ward) -> None:
    """The system may kill an idle child; the next job finds a fresh one."""
    first, second = small.study(ct(1)), small.study(ct(2))
    with working(small) as worker:
        worker.run_once()
        assert worker.child_pid is not None
        os.kill(worker.child_pid, signal.SIGKILL)
        stat = Path(f"/proc/{worker.child_pid}/stat")
        until(lambda: stat.read_text().rsplit(")", 1)[1].split()[0] == "Z", 10, "the child's end")
        worker.run_once()
    assert small.job(first).state is small.job(second).state is JobState.DONE
    assert small.job(second).attempt == 1


def test_a_study_that_changed_is_not_analysed_under_its_old_job(ward: Ward) -> None:
    """A late slice supersedes the job; the next revision's job analyses what is there now."""
    images = ct()
    job = ward.study(images[:3])
    study = ward.receive(images[3:])
    with working(ward) as worker:
        worker.run_once()
        old = ward.job(job)
        assert (old.state, old.reason) == (
            JobState.DEAD, "superseded: the study changed after revision 1",
        )  # fmt: skip
        late = ward.queue(study)
        worker.run_once()
    assert outcome(ward, job) is None
    assert ward.job(late).state is JobState.DONE


def test_a_study_whose_files_retention_removed_is_set_aside_with_its_reason(small: Ward) -> None:
    """A late slice alone is no study; nothing is judged on what is left of it."""
    job = small.study(ct(1))
    with small.database.begin() as tx:
        tx.execute(update(instance).values(removed_at=1.0))
    with working(small) as worker:
        worker.run_once()
    found = small.job(job)
    assert (found.state, outcome(small, job)) == (JobState.DEAD, None)
    assert found.reason == "4 instances were removed by retention; have the study sent again"


def test_changed_models_make_a_job_of_their_own(ward: Ward) -> None:
    """A job for models no longer in use gives way to one for those that are."""
    job = ward.queue(ward.receive(ct()), OTHER_MODELS)
    with working(ward) as worker:
        worker.run_once()
        worker.run_once()
    with ward.database.read() as tx:
        new, old = jobs.listing(tx)

    assert (old.id, old.state) == (job, JobState.DEAD)
    assert "models changed" in old.reason
    assert (new.model_digest, new.state) == (Registry().digest, JobState.DONE)


def test_a_stale_attempt_writes_nothing(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that lost its lease while it worked leaves the job to its successor."""
    job = ward.study(ct())
    settle = jobs.settle

    def late(tx: Connection, *arguments: Any) -> bool:
        # Another worker was given the job before this one came to its end.
        assert jobs.fail(tx, job, 1, "taken", 0.0)
        assert jobs.claim(tx, "another", 60.0) is not None
        return settle(tx, *arguments)

    monkeypatch.setattr(worker_module.jobs, "settle", late)
    with working(ward) as worker:
        worker.run_once()

    assert outcome(ward, job) is None
    assert (ward.job(job).worker, ward.job(job).state) == ("another", JobState.CLAIMED)


def test_the_heartbeat_holds_the_lease(ward: Ward) -> None:
    """While the work goes on the lease never ends, however short it is."""
    ward.study(ct())
    with ward.database.begin() as tx:
        job = jobs.claim(tx, "me", 1.0)
    assert job is not None
    before = job.lease_until or 0.0
    with Heartbeat(ward.database, job, 1.0, threading.Event(), 0.0) as heartbeat:
        until(lambda: (ward.job(job.id).lease_until or 0) > before + 1.0, 15, "the lease to go on")
        assert not heartbeat.cancelled.is_set()


def test_a_lost_lease_cancels_the_work(ward: Ward) -> None:
    """When the fence says stale, the work stops at the next beat."""
    ward.study(ct())
    with ward.database.begin() as tx:
        job = jobs.claim(tx, "me", 60.0)
        assert job is not None
        assert jobs.fail(tx, job.id, job.attempt, "taken", 0.0)
    with Heartbeat(ward.database, job, 0.3, threading.Event(), 60.0) as heartbeat:
        assert heartbeat.cancelled.wait(10)
        assert heartbeat.lost


def test_a_database_that_is_away_for_a_lease_cancels_the_work(small: Ward) -> None:
    """A lease that cannot be renewed is not believed in longer than it lasts."""
    small.study(ct())
    with small.database.begin() as tx:
        job = jobs.claim(tx, "me", 60.0)
    assert job is not None
    impatient = Database.connect(small.settings.database.url, lock_seconds=0.1)
    with (
        small.database.begin(),  # the only writer, for as long as it likes
        Heartbeat(impatient, job, 0.3, threading.Event(), 60.0) as heartbeat,
    ):
        assert heartbeat.cancelled.wait(10)
        assert heartbeat.lost
    impatient.dispose()


def test_an_outcome_waits_for_a_database_that_comes_back(
    small: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short absence of the database at the end costs a moment, not the work."""
    job = small.study(ct())
    calls: list[int] = []
    settle = jobs.settle

    def unlucky(tx: Connection, *arguments: Any) -> bool:
        calls.append(1)
        if len(calls) < 3:
            raise DatabaseUnavailableError("away")
        return settle(tx, *arguments)

    monkeypatch.setattr(worker_module.jobs, "settle", unlucky)
    with working(small) as worker:
        worker.run_once()

    assert len(calls) == 3
    assert small.job(job).state is JobState.DONE


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_uses_up_no_attempts(
    ward: Ward, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Nothing that the disk does is the study's fault: the job waits until there is space."""
    ward.shorten(maximum_attempts=1)
    job = ward.study(ct())

    def full(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    with working(ward) as worker:
        with monkeypatch.context() as context:
            context.setattr(type(ward.spool), "writer", full)
            for _ in range(3):
                assert worker.run_once()
        waiting = ward.job(job)
        with ward.database.read() as tx:
            assert jobs.waiting_for_space(tx) == 1
        assert (waiting.state, waiting.attempt, waiting.attempts_before) == (JobState.QUEUED, 3, 3)
        assert waiting.reason == f"waits for space: {os.strerror(code)}"
        worker.run_once()
    assert ward.job(job).state is JobState.DONE
    with ward.database.read() as tx:
        assert jobs.waiting_for_space(tx) == 0


@pytest.mark.parametrize("step", ["child.job", "child.answer"])
def test_a_disk_that_is_full_for_the_child_uses_up_no_attempts(
    small: Ward, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Its scratch folder is on the same disk."""
    monkeypatch.setenv(VARIABLE, f"{step}=enospc")
    small.shorten(maximum_attempts=1)
    job = small.study(ct())
    with working(small) as worker:
        for _ in range(2):
            worker.run_once()
    assert (small.job(job).state, small.job(job).attempts_before) == (JobState.QUEUED, 2)
    monkeypatch.delenv(VARIABLE)
    with working(small) as worker:
        worker.run_once()
    assert small.job(job).state is JobState.DONE


def test_a_full_disk_is_tried_after_a_growing_delay_and_told_once_an_attempt(
    small: Ward, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The delay doubles with each attempt that does not count; each leaves one line in the log."""
    small.shorten(retry_seconds=100.0, retry_maximum_seconds=10_000.0)
    job = small.study(ct())
    monkeypatch.setattr(type(small.spool), "writer", _no_space)
    delays: list[float] = []
    with working(small) as worker:
        for _ in range(3):
            with small.database.begin() as tx:
                tx.execute(update(job_table).values(not_before=0.0))
            assert worker.run_once()
            with small.database.read() as tx:
                waits = job_table.c.not_before - job_table.c.updated_at
                delays.append(tx.execute(select(waits)).scalar_one())
    floors = [50.0, 100.0, 200.0]

    assert all(low - 1 <= delay <= 2 * low + 1 for low, delay in zip(floors, delays, strict=True))
    assert capsys.readouterr().out.count("job_failed") == 3
    assert small.job(job).state is JobState.QUEUED


def test_a_file_missing_from_the_spool_is_a_failure_with_its_reason(small: Ward) -> None:
    """A received file that is gone is never an empty verdict."""
    images = ct()
    job = small.study(images)
    digest = next(path for path in (small.spool.root / "objects").rglob("*") if path.is_file())
    digest.unlink()
    with working(small) as worker:
        while worker.run_once():
            pass

    assert small.job(job).state is JobState.DEAD
    assert "No such file" in small.job(job).reason


def test_a_stopped_worker_releases_its_job(small: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the grace the job is free at once for another worker, which does it."""
    monkeypatch.setenv(VARIABLE, "child.read=hang")
    small.shorten(stop_seconds=0.2)
    job = small.study(ct())
    with working(small) as worker:
        runner = threading.Thread(target=worker.run)
        runner.start()
        until(lambda: small.job(job).state is JobState.CLAIMED, 20, "the job to be claimed")
        worker.stop()
        runner.join(30)
        assert not runner.is_alive()

    released = small.job(job)
    assert (released.state, released.reason) == (
        JobState.QUEUED, "released: the worker was asked to stop",
    )  # fmt: skip
    monkeypatch.delenv(VARIABLE)
    with working(small) as another:
        assert another.run_once()
    assert small.job(job).state is JobState.DONE


def test_a_stopped_worker_finishes_what_ends_within_the_grace(small: Ward) -> None:
    """A job near its end is settled, not thrown away; no other is begun."""
    first, second = small.study(ct(1)), small.study(ct(2))
    with working(small) as worker:
        runner = threading.Thread(target=worker.run)
        small.shorten(stop_seconds=60.0)
        runner.start()
        until(lambda: small.job(first).state is JobState.CLAIMED, 20, "the job to be claimed")
        worker.stop()
        runner.join(60)

    assert small.job(first).state is JobState.DONE
    assert small.job(second).state is JobState.QUEUED


def test_what_a_killed_worker_left_is_swept(small: Ward) -> None:
    """Scratch folders hold images; old ones are removed when a worker starts."""
    old, young = small.spool.root / SCRATCH / "old", small.spool.root / SCRATCH / "young"
    for folder in (old, young):
        folder.mkdir(parents=True)
        (folder / "image.dcm").write_bytes(b"x")
    os.utime(old, (0, 0))
    with working(small) as worker:
        worker.stop()
        worker.run()

    assert not old.exists()
    assert young.exists()


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_a_study_with_identifiers_that_break_the_rules_is_answered(small: Ward) -> None:
    """Real scanners send UUIDs as UIDs; such a study gets its outcome too."""
    study = "550e8400-e29b-41d4-a716-446655440000"
    images = [
        image(k, modality="CT", description="", position=(0, 0, 2 * k), StudyInstanceUID=study,
              SeriesInstanceUID="550e8400-e29b-41d4-a716-446655440001")
        for k in range(4)
    ]  # fmt: skip
    job = small.study(images)
    with working(small) as worker:
        worker.run_once()
    found = outcome(small, job)

    assert found is not None, small.job(job).reason
    assert found.verdict == "UNCALIBRATED"


def test_a_scan_too_large_for_the_memory_gets_a_verdict(small: Ward) -> None:
    """Over the limit is an answer with both numbers in it, and no crash."""
    small.shorten(memory_mib=1281)
    images = series(3, shape=(256, 256), PixelData=b"\0\0" * 65536)
    job = small.study(images)
    with working(small) as worker:
        worker.run_once()
    found = outcome(small, job)

    assert found is not None
    assert found.verdict == "UNREADABLE"
    assert found.reason == "Too large: 196,608 voxels are declared and 65,536 are allowed."


def test_a_scan_that_is_no_brain_is_not_assessed_and_says_why(small: Ward) -> None:
    """The shipped model, loaded in the child, refuses what it cannot judge."""
    job = small.study(series(24, shape=(64, 64), PixelData=bytes(8192)))
    with working(small) as worker:
        worker.run_once()
    found = outcome(small, job)

    assert found is not None, small.job(job).reason
    assert found.verdict == "UNCALIBRATED"
    assert found.reason.startswith("Not assessed: ")


def test_the_real_pelvis_study_is_answered_with_its_missing_slice(
    small: Ward, shared_data: Path
) -> None:
    """A real study of a whole series and one that lacks an image is UNREADABLE with the gap."""
    job = small.study(sorted((shared_data / "pelvis_mr_prostatex_dicom").rglob("*.dcm")))
    with working(small) as worker:
        worker.run_once()
    found = outcome(small, job)

    assert found is not None, small.job(job).reason
    assert found.verdict == "UNREADABLE"
    assert found.reason == (
        "1 slice is missing: images 5 and 7 lie 6.00 mm apart where 3.00 mm is regular."
    )
    assert [item["reason"] for item in found.evidence["series"]] == [
        "Not assessed: no profile for MR PELVIS T2.",
        found.reason,
    ]


def _no_space(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_report_on_a_late_slice_names_the_report_before(small: Ward) -> None:
    """The predecessor is the stored report of revision 1; a further revision names the second."""
    images = ct()
    small.add_node("PACS", receives_results=True)
    study = small.receive(images[:2])
    made: list[Dataset] = []
    with working(small) as worker:
        for revision, late in enumerate(([], images[2:3], images[3:]), start=1):
            small.receive(late)
            job = small.queue(study, revision=revision)
            worker.run_once()
            with small.database.read() as tx:
                (result,) = outcomes.results_of_job(tx, job)
            made.append(dcmread(small.spool.path(result.digest)))

    assert "PredecessorDocumentsSequence" not in made[0]
    for before, report in pairwise(made):
        (named,) = report.PredecessorDocumentsSequence
        (series,) = named.ReferencedSeriesSequence
        (reference,) = series.ReferencedSOPSequence
        assert named.StudyInstanceUID == study
        assert series.SeriesInstanceUID == before.SeriesInstanceUID
        assert reference.ReferencedSOPInstanceUID == before.SOPInstanceUID
        assert reference.ReferencedSOPClassUID == before.SOPClassUID
    assert b"This report replaces the one of revision 2." in to_bytes(made[2])


def test_each_node_gets_its_results_in_its_language(small: Ward, tmp_path: Path) -> None:
    """A hospital's own catalogue goes first; a language that lost its catalogue gets English."""
    shipped = Path(gatekeeper.__file__).parent / "results" / "catalogues" / "de.toml"
    own = shipped.read_text("utf-8").replace("Gatekeeper-Bericht", "Bericht der Klinik")
    (tmp_path / "de.toml").write_text(own, "utf-8")
    settings = small.settings
    small.settings = replace(settings, results=replace(settings.results, catalogues=str(tmp_path)))
    for node, language in (("PACS", "en"), ("KLINIK", "de"), ("LOST", "tlh")):
        small.add_node(node, receives_results=True, language=language)
    job = small.study(ct())
    with working(small) as worker:
        worker.run_once()
    with small.database.read() as tx:
        results = {one.language: one for one in outcomes.results_of_job(tx, job)}
        sent = {
            delivery.node: [item.sop_instance_uid for item in deliveries.items_of(tx, delivery.id)]
            for delivery in deliveries.for_job(tx, job)
        }

    assert set(results) == {"en", "de"}
    assert sent == {
        "PACS": [results["en"].sop_instance_uid],
        "KLINIK": [results["de"].sop_instance_uid],
        "LOST": [results["en"].sop_instance_uid],
    }
    german = dcmread(small.spool.path(results["de"].digest))
    assert german.SeriesDescription == "Bericht der Klinik: UNCALIBRATED"
    assert b"Nicht beurteilt: Es gibt kein Profil f" in to_bytes(german)
