"""From C-STORE to durable to status, with every fault on the way."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from listen.wire import EXPLICIT, MR, encoded, image, sqlite_only, together
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from sqlalchemy import text
from support.files import written_files
from support.receiving import receive_data
from support.waiting import until

from gatekeeper.listen.associations import OpenAssociation
from gatekeeper.listen.messages import Answer
from gatekeeper.listen.receive import Arrival, Receiver
from storage import instances, jobs, nodes, studies
from storage.engine import Database
from storage.records import Node, Outcome, Result, StudyState
from storage.spool import Spool


class Site:
    """A receiver with its database and spool."""

    def __init__(self, folder: Path, database: Database, low_water_mib: int = 0) -> None:
        self.database = database
        self.spool = Spool(folder)
        self.receiver = Receiver(database, self.spool, low_water_mib)
        self.association = OpenAssociation("SCANNER", "127.0.0.1")

    def receive(self, instance: str, association: OpenAssociation | None = None) -> Answer:
        return self.take(encoded(image(instance)), instance, association)

    def take(
        self, data: bytes, instance: str, association: OpenAssociation | None = None
    ) -> Answer:
        """Receive a data set of an MR image at once."""
        return receive_data(self.receiver, instance, data, association or self.association)

    def count(self) -> int:
        with self.database.read() as tx:
            return instances.count(tx)

    def files(self) -> list[Path]:
        """Return every file of the spool once what was received is settled; no empty slots."""
        slots = self.spool.root / "slots"
        until(lambda: not written_files(slots), 30, "the slots are given back")
        return [path for path in written_files(self.spool.root) if slots not in path.parents]


@pytest.fixture
def site(tmp_path: Path, database: Database) -> Iterator[Site]:
    made = Site(tmp_path / "spool", database)
    yield made
    made.receiver.close(30)


def test_success_means_file_and_row_are_there(site: Site) -> None:
    """The file's name is the SHA-256 of its content, the row has what the data set says."""
    assert site.receive("1.2.3.4.5") == Answer(0x0000)

    with site.database.read() as tx:
        [row] = instances.find(tx, "1.2.3.4.5")
        study = studies.get(tx, "1.2.3")
    content = site.spool.path(row.digest).read_bytes()
    assert sha256(content).hexdigest() == row.digest
    assert len(content) == row.size
    assert (row.sop_class_uid, row.transfer_syntax_uid) == (MR, EXPLICIT)
    assert (row.study_instance_uid, row.series_instance_uid) == ("1.2.3", "1.2.3.4")
    assert (row.modality, row.source_ae, row.own_result) == ("MR", "SCANNER", False)
    assert study is not None
    assert study.state is StudyState.RECEIVING


@sqlite_only
def test_an_object_is_the_same_however_it_comes(site: Site) -> None:
    """In one part, in small ones, identifiers late or early: the same file."""
    small = encoded(image("1.2.3.4.5"))
    late = encoded(image("1.2.3.4.6", SourceImageSequence=Sequence([Dataset()] * 9000)))
    large = encoded(image("1.2.3.4.7", PixelData=bytes(200_000)))
    for instance, data in (("1.2.3.4.5", small), ("1.2.3.4.6", late), ("1.2.3.4.7", large)):
        for size in (len(data), 1000, 16 * 1024, 16 * 1024 + 1, 50_001):
            receiving = site.receiver.begin(Arrival(MR, instance, EXPLICIT), site.association)
            for start in range(0, len(data), size):
                receiving.write(memoryview(data)[start : start + size])
            assert receiving.finish() == Answer(0x0000)
        with site.database.read() as tx:
            [row] = instances.find(tx, instance)
        assert site.spool.path(row.digest).read_bytes().endswith(data)
    assert len(site.files()) == 3


@sqlite_only
def test_an_object_that_is_abandoned_leaves_nothing(site: Site) -> None:
    """No file, no row, no count; also when it was refused already."""
    data = memoryview(encoded(image("1.2.3.4.5", PixelData=bytes(100_000))))
    for instance in ("1.2.3.4.5", "1.2.3.4.6"):
        receiving = site.receiver.begin(Arrival(MR, instance, EXPLICIT), site.association)
        receiving.write(data[:50_000])
        receiving.abandon()
    assert (site.files(), site.count()) == ([], 0)
    assert (site.association.stored, site.association.refused) == (0, 0)


@sqlite_only
def test_an_object_that_is_not_what_it_says_is_never_written(site: Site) -> None:
    """What the beginning tells is told at the end; the bytes between go nowhere."""
    data = memoryview(encoded(image("1.2.3.4.5", PixelData=bytes(100_000))))
    receiving = site.receiver.begin(Arrival(MR, "1.2.3.4.6", EXPLICIT), site.association)
    for start in range(0, len(data), 20_000):
        receiving.write(data[start : start + 20_000])
        assert site.files() == []
    assert receiving.finish().status == 0xA900


@sqlite_only
def test_a_full_disk_in_the_middle_of_an_object_is_out_of_resources(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ENOSPC while bytes still come: the rest is let go, and nothing is left."""
    data = memoryview(encoded(image("1.2.3.4.5", PixelData=bytes(100_000))))
    receiving = site.receiver.begin(Arrival(MR, "1.2.3.4.5", EXPLICIT), site.association)
    receiving.write(data[:50_000])

    def full(_descriptor: int, _parts: tuple[memoryview, ...]) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "writev", full)
        receiving.write(data[50_000:])
    assert site.files() == []
    assert receiving.finish() == Answer(0xA700, "spool trouble: ENOSPC")


def test_a_resend_is_a_success_that_changes_nothing(site: Site) -> None:
    """Also from another node: who sent it is no part of the content."""
    site.receive("1.2.3.4.5")
    files = site.files()

    assert site.receive("1.2.3.4.5", OpenAssociation("ROUTER", "127.0.0.2")) == Answer(0x0000)
    assert site.receive("1.2.3.4.5") == Answer(0x0000)

    assert site.files() == files
    assert site.count() == 1


def test_two_contents_of_one_uid_are_both_kept_and_flagged(site: Site) -> None:
    """Nothing received is overwritten; the conflict can be seen."""
    for burned_in in ("NO", "YES"):
        data = encoded(image("1.2.3.4.5", BurnedInAnnotation=burned_in))
        assert site.take(data, "1.2.3.4.5").status == 0x0000

    with site.database.read() as tx:
        both = instances.find(tx, "1.2.3.4.5")
    assert [row.conflict for row in both] == [True, True]
    assert all(site.spool.exists(row.digest) for row in both)


def test_one_uid_sent_at_once_is_one_row_for_each_content(site: Site) -> None:
    """Eight senders, two contents: two rows, two files, eight successes."""
    answers: list[Answer] = []

    def send(burned_in: str) -> None:
        data = encoded(image("1.2.3.4.5", BurnedInAnnotation=burned_in))
        answers.append(site.take(data, "1.2.3.4.5", OpenAssociation("SCANNER", "127.0.0.1")))

    together(*[lambda value=value: send(value) for value in ("NO", "YES") * 4])

    assert answers == [Answer(0x0000)] * 8
    with site.database.read() as tx:
        both = instances.find(tx, "1.2.3.4.5")
    assert [row.conflict for row in both] == [True, True]
    assert len(site.files()) == 2


def test_an_association_is_recorded_with_its_first_instance(site: Site) -> None:
    """One row for many instances and studies; an association without an instance has none."""
    assert site.association.id is None
    site.receive("1.2.3.4.5")
    first = site.association.id
    site.receive("1.2.3.4.6")

    assert first is not None
    assert site.association.id == first
    with site.database.read() as tx:
        [study] = studies.open_studies(tx)
        assert study.active_associations == 1
        assert tx.execute(text("SELECT count(*) FROM association")).scalar_one() == 1


def test_own_results_are_kept_and_start_no_study(site: Site) -> None:
    """Recognised by their marks, or by a UID that we gave out; answered with success."""
    marks = {"Manufacturer": "Gatekeeper", "ManufacturerModelName": "Gatekeeper"}
    assert site.take(encoded(image("2.25.1", **marks)), "2.25.1").status == 0x0000
    with site.database.read() as tx:
        assert studies.get(tx, "1.2.3") is None
        assert instances.find(tx, "2.25.1")[0].own_result

    site.receive("1.2.3.4.5")
    produce(site.database, "2.25.2")
    assert site.receive("2.25.2").status == 0x0000

    with site.database.read() as tx:
        assert instances.find(tx, "2.25.2")[0].own_result
        [study] = studies.open_studies(tx)
    assert study.study.instances == 1


def produce(database: Database, uid: str) -> None:
    """Settle a job of study 1.2.3 with one result of this UID."""
    digest = "0" * 64
    with database.begin() as tx:
        nodes.save(tx, Node("PACS", "127.0.0.1", 104, receives_results=True))
        job = jobs.enqueue(tx, "1.2.3", digest, digest, 1)
        claimed = jobs.claim(tx, "worker", 60)
        assert job is not None
        assert claimed is not None
        outcome = Outcome(job, "CLEAR", "nothing found", None, None)
        result = Result(uid, MR, "1.2.9", EXPLICIT, "heatmap", digest, 1)
        assert jobs.settle(tx, job, claimed.attempt, outcome, [result], ["PACS"])


@sqlite_only
def test_low_water_refuses_until_there_is_space_again(database: Database, tmp_path: Path) -> None:
    """0xA700 before anything is written; intake resumes by itself."""
    shared_memory = Path("/dev/shm")  # noqa: S108 - a file system that nothing else fills now
    parent = shared_memory if os.access(shared_memory, os.W_OK) else tmp_path
    folder = parent / f"gatekeeper-test-{os.getpid()}"
    before = set(threading.enumerate())
    try:
        site = Site(folder, database, low_water_mib=(shutil.disk_usage(parent).free >> 20) - 256)
        assert site.receive("1.2.3.4.5").status == 0x0000
        ballast = folder / "ballast"
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, 512 << 20)

        refused = site.receive("1.2.3.4.6")
        assert refused.status == 0xA700
        assert "low-water" in refused.rule
        ballast.unlink()

        assert site.receive("1.2.3.4.6").status == 0x0000
        assert site.count() == 2
        until(lambda: nobody_watches(before), 30, "the end of the pause is written")
        site.receiver.close(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def nobody_watches(before: set[threading.Thread]) -> bool:
    """Return whether no thread watches a pause that did not do so before."""
    ours = set(threading.enumerate()) - before
    return not any(thread.name.startswith("paused-") for thread in ours)


@sqlite_only
def test_a_full_disk_is_out_of_resources_and_leaves_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ENOSPC at the synchronisation: 0xA700, no row, no file, and the next one is taken."""
    with failing_fsync(monkeypatch, errno.ENOSPC):
        answer = site.receive("1.2.3.4.5")

    assert answer == Answer(0xA700, "spool trouble: ENOSPC")
    assert not site.receiver.failed.is_set()
    assert site.files() == []
    assert site.count() == 0
    assert site.receive("1.2.3.4.5").status == 0x0000


@sqlite_only
def test_a_failed_synchronisation_ends_intake_until_a_restart(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EIO: no second try, since the kernel may then report success for data it has dropped."""
    with failing_fsync(monkeypatch, errno.EIO):
        assert site.receive("1.2.3.4.5").status == 0xA700

    assert site.receiver.failed.is_set()
    assert site.receive("1.2.3.4.5").status == 0xA700
    assert site.count() == 0


@contextmanager
def failing_fsync(monkeypatch: pytest.MonkeyPatch, code: int) -> Generator[None]:
    """Let every synchronisation fail as the operating system would."""

    def fail(_descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        for name in ("fsync", "fdatasync"):
            patch.setattr(os, name, fail)
        yield


@sqlite_only
def test_a_spool_that_is_gone_is_out_of_resources(site: Site) -> None:
    """The folder may come back: the sender is asked to try again."""
    shutil.rmtree(site.spool.root)

    assert site.receive("1.2.3.4.5") == Answer(0xA700, "spool trouble: ENOENT")


def test_a_locked_database_is_out_of_resources_in_bounded_time(
    database_url: str, tmp_path: Path
) -> None:
    """0xA700 after the lock time-out; the next one is taken, and adopts the file."""
    impatient, holder = Database.connect(database_url, 0.2), Database.connect(database_url)
    site = Site(tmp_path / "spool", impatient)
    with holder.begin() as tx:
        if holder.dialect == "postgresql":
            tx.execute(text("LOCK TABLE instance IN ACCESS EXCLUSIVE MODE"))
        answer = site.receive("1.2.3.4.5")
    holder.dispose()

    assert answer.status == 0xA700
    assert answer.rule.startswith("database trouble")
    assert site.association.id is None
    assert site.receive("1.2.3.4.5").status == 0x0000
    assert site.count() == 1
    assert len(site.files()) == 1
    site.receiver.close(30)
    impatient.dispose()


@sqlite_only
def test_a_defect_is_a_failure_status_and_not_an_exception(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pynetdicom would answer 0xC211 and write the values to its log."""

    def defect(*_arguments: object) -> None:
        raise sqlite3.ProgrammingError("CANARY")

    monkeypatch.setattr(instances, "record", defect)

    assert site.receive("1.2.3.4.5") == Answer(0x0110, "defect: ProgrammingError")


@sqlite_only
@pytest.mark.filterwarnings("ignore")
def test_no_uid_writes_outside_the_spool(site: Site, tmp_path: Path) -> None:
    """Whatever text the command and the data set hold, paths come from digests alone."""
    traversals = st.sampled_from(["../../etc/x", "/etc/x", "..", "a/../../b", "1.2.3\0/../x"])

    def everything_else() -> set[Path]:
        return {
            path
            for path in tmp_path.rglob("*")
            if site.spool.root not in path.parents and not path.name.startswith("gatekeeper.db")
        }

    @settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
    @given(st.text(max_size=70) | traversals, st.text(max_size=70) | traversals)
    def check(instance: str, study: str) -> None:
        before = everything_else()
        data = bytearray(encoded(image("1.2.3.4.5")))
        name = instance.encode("utf-8", "replace")
        at = data.index(b"\x0a\x001.2.3.4.5\x00")
        data[at : at + 12] = len(name).to_bytes(2, "little") + name
        at = data.index(b"\x06\x001.2.3\x00")
        name = study.encode("utf-8", "replace")
        data[at : at + 8] = len(name).to_bytes(2, "little") + name
        answer = site.take(bytes(data), instance, OpenAssociation("SCANNER", "127.0.0.1"))
        assert answer.status in {0x0000, 0xA900, 0xC000}
        assert everything_else() == before
        for path in site.files():
            assert path.parent == site.spool.path(path.name).parent

    check()
