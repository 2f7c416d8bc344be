"""Faults that are in the field's own trackers, and what becomes of them here."""

from __future__ import annotations

import dataclasses
import resource
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from listen.wire import EXPLICIT, MR
from sqlalchemy import insert, text
from support.dicom_peers import ScriptedPeer
from support.gate import free_port
from support.processes import is_up, role
from support.receiving import receive, running_receiver
from support.waiting import until
from work.phantoms import Ward, series
from work.phantoms import encoded as as_file

from gatekeeper import periodic
from gatekeeper.ledger import balance
from gatekeeper.listen.associations import OpenAssociation
from gatekeeper.send.dimse import DimseTransport
from gatekeeper.send.transport import SendObject
from gatekeeper.settings import SendSettings, Settings
from storage import deliveries, instances, jobs, migrations, nodes, studies
from storage.engine import Database
from storage.records import DeliveryState, Instance, JobState, Node
from storage.schema import instance
from storage.spool import Digest, Spool

BASIC_TEXT_SR = "1.2.840.10008.5.1.4.1.1.88.11"
HUGE = 5000
HUGE_MIB = 64


@pytest.fixture
def ward(tmp_path: Path, database_url: str) -> Generator[Ward]:
    """Give a database and spool, once on SQLite and once on PostgreSQL."""
    made = Ward(tmp_path, database_url)
    yield made
    made.database.dispose()


def test_a_folder_that_cannot_be_made_is_no_success(database: Database, tmp_path: Path) -> None:
    """A failed mkdir: 0xA700 and nothing kept; the sender's next try is kept."""
    spool = Spool(tmp_path / "spool")
    with running_receiver(database, spool) as receiver:
        scanner = OpenAssociation("SCANNER", "127.0.0.1")
        # A file where the folder is to be: it fails for whoever runs this, root too.
        digest = _digest_of(database, tmp_path, "1.2.3.4")
        obstacle = spool.root / "objects" / digest[:2]
        obstacle.touch()
        assert receive(receiver, "1.2.3.4", scanner).status == 0xA700
        with database.read() as tx:
            assert instances.count(tx) == 0
        obstacle.unlink()

        assert receive(receiver, "1.2.3.4", scanner).status == 0x0000
        assert balance(database, spool, verify=True).balanced


def _digest_of(database: Database, folder: Path, uid: str) -> str:
    """Return the digest under which this image is kept, found in a spool of its own."""
    other = Spool(folder / "other")
    url = f"sqlite:///{folder}/other.db"
    scratch = Database.connect(url)
    scratch.migrate()
    with running_receiver(scratch, other) as receiver:
        receive(receiver, uid, OpenAssociation("SCANNER", "127.0.0.1"))
    scratch.dispose()
    (path,) = [path for path in (other.root / "objects").rglob("*") if path.is_file()]
    return path.name


def test_a_locked_study_is_refused_and_then_kept(database_url: str, tmp_path: Path) -> None:
    """Somebody holds the study's row: 0xA700 in bounded time, nothing lost, and then a success."""
    impatient, holder = Database.connect(database_url, 0.2), Database.connect(database_url)
    spool = Spool(tmp_path / "spool")
    with running_receiver(impatient, spool) as receiver:
        scanner = OpenAssociation("SCANNER", "127.0.0.1")
        assert receive(receiver, "1.2.3.1", scanner).status == 0x0000
        with holder.begin() as tx:
            tx.execute(text("UPDATE study SET state = state"))
            assert receive(receiver, "1.2.3.2", scanner).status == 0xA700
        assert receive(receiver, "1.2.3.2", scanner).status == 0x0000

        with impatient.read() as tx:
            assert len(instances.of_study(tx, "1.2.3")) == 2
        assert balance(impatient, spool, verify=True).balanced
    impatient.dispose()
    holder.dispose()


def test_a_study_of_5000_instances_is_one_job_in_flat_memory(
    ward: Ward, an_instance_of: Callable[[int], Instance]
) -> None:
    """Completing it reads its rows and no file; the process grows by less than 64 MiB."""
    with ward.database.begin() as tx:
        instances.record(tx, an_instance_of(0), None)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with ward.database.begin() as tx:
        # As they would be recorded, without the time that recording takes.
        rows = [dataclasses.asdict(an_instance_of(number)) for number in range(1, HUGE)]
        for row in rows:
            del row["conflict"]
        tx.execute(insert(instance), rows)
    settings = Settings()
    quiet = periodic.Context(_without_quiet_time(settings), ward.database, ward.spool)
    assert periodic.tick_complete(quiet) == 1
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10

    with ward.database.read() as tx:
        (job,) = jobs.listing(tx)
        found = studies.get(tx, "1.2.3")
    assert found is not None
    assert (found.instances, job.revision) == (HUGE, 1)
    assert grown < HUGE_MIB


def _without_quiet_time(settings: Settings) -> Settings:
    return dataclasses.replace(
        settings, listen=dataclasses.replace(settings.listen, quiet_seconds=0.0)
    )


@pytest.fixture
def an_instance_of() -> Callable[[int], Instance]:
    """Return a maker of the instances of one study."""

    def make(number: int) -> Instance:
        digest = Digest.of(str(number).encode())
        return Instance(
            f"1.2.3.4.{number}", MR, EXPLICIT, "1.2.3", "1.2.3.4", "MR", digest, 100, "SCANNER"
        )

    return make


def test_an_upgrade_and_a_downgrade_keep_a_queue_that_is_not_empty(ward: Ward) -> None:
    """The schema goes one step back and forth under a waiting job and a claimed one."""
    first = ward.study(series(2, modality="CT", description=""))
    second = ward.study(series(2, modality="CT", description="", study="1.2.826.0.1.3680043.1"))
    with ward.database.begin() as tx:
        claimed = jobs.claim(tx, "worker", 600)
        migrations.downgrade(tx, "-1")
    ward.database.migrate()

    assert claimed is not None
    assert claimed.id == first
    assert [ward.job(job).state for job in (first, second)] == [JobState.CLAIMED, JobState.QUEUED]
    with ward.database.begin() as tx:
        assert jobs.heartbeat(tx, first, claimed.attempt, 600)
    assert ward.database.schema_problem() is None


def test_a_server_that_is_stopped_is_a_refusal_and_used_again_once_back(
    postgres_server: Any, postgres_url: str, tmp_path: Path
) -> None:
    """PostgreSQL gone: 0xA700 without a row; back again, the same process takes the instance."""
    database = Database.connect(postgres_url, lock_seconds=1)
    spool = Spool(tmp_path / "spool")
    with running_receiver(database, spool) as receiver:
        scanner = OpenAssociation("SCANNER", "127.0.0.1")
        assert receive(receiver, "1.2.3.1", scanner).status == 0x0000
        postgres_server.stop()
        try:
            refused = receive(receiver, "1.2.3.2", scanner)
        finally:
            postgres_server.start()

        assert refused.status == 0xA700
        assert refused.rule.startswith("database trouble")
        assert receive(receiver, "1.2.3.2", scanner).status == 0x0000
        assert balance(database, spool, verify=True).balanced
    database.dispose()


@pytest.mark.filterwarnings("ignore")
def test_nothing_of_the_patient_is_in_any_roles_log(tmp_path: Path, sqlite_url: str) -> None:
    """A study with a canary in its text attributes goes the whole way, and no role writes it."""
    ward = Ward(tmp_path, sqlite_url)
    port = free_port()
    settings: dict[str, Any] = {
        "DATABASE_URL": sqlite_url,
        "SPOOL_DIRECTORY": ward.spool.root,
        "SPOOL_LOW_WATER_MIB": 0,
        "LISTEN_HOST": "127.0.0.1",
        "LISTEN_PORT": port,
        "LISTEN_QUIET_SECONDS": 0,
        "WORK_MEMORY_MIB": 2048,
        "WORK_DEVICE": "cpu",
        "LOG_LEVEL": "DEBUG",
    }
    canary = dict.fromkeys(TEXT_ATTRIBUTES, "CANARY")
    images = series(2, modality="CT", description="CANARY", **canary)
    paths = [tmp_path / f"{item.SOPInstanceUID}.dcm" for item in images]
    for path, item in zip(paths, images, strict=True):
        path.write_bytes(as_file(item))
    ward.add_node("SCANNER", may_send=True)

    def delivered() -> bool:
        with ward.database.read() as tx:
            return deliveries.counts(tx)[DeliveryState.DELIVERED] == 1

    with ScriptedPeer(sop_classes=[BASIC_TEXT_SR]) as peer, ExitStack() as stack:
        with ward.database.begin() as tx:
            nodes.save(tx, Node("PACS", "127.0.0.1", peer.port, receives_results=True))
        listener = stack.enter_context(role("listen", tmp_path, **settings))
        is_up(listener, "listening")
        objects = [
            SendObject(str(item.SOPClassUID), str(item.SOPInstanceUID), EXPLICIT, path)
            for item, path in zip(images, paths, strict=True)
        ]
        sent = DimseTransport("SCANNER", SendSettings()).send(
            objects, Node("GATEKEEPER", "127.0.0.1", port)
        )
        assert [answer.status for answer in sent] == [0x0000, 0x0000]
        running = [
            stack.enter_context(role(name, tmp_path, **settings))
            for name in ("tick", "work", "send")
        ]
        until(delivered, 120, "the report is delivered")
        logs = [one.log.read_text(encoding="utf-8") for one in (listener, *running)]
    ward.database.dispose()

    assert all(logs)
    assert [log for log in logs if "CANARY" in log.upper()] == []


TEXT_ATTRIBUTES = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientAge",
    "PatientSex",
    "PatientComments",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "StudyDescription",
    "ReferringPhysicianName",
    "InstitutionName",
    "InstitutionAddress",
    "StationName",
    "OperatorsName",
    "ProtocolName",
    "ImageComments",
    "AcquisitionDateTime",
    "SoftwareVersions",
)
"""Attributes of the VRs PN, LO, SH, LT, ST, CS, DA, TM, DT and AS."""
