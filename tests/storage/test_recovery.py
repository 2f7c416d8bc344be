"""Recovery: from whatever several crashes left, rows and files that agree."""

from __future__ import annotations

import contextlib
import enum
import os
import shutil
import tempfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from storage import failpoint, instances, studies, unsettled, voucher
from storage.engine import Database
from storage.filesystem import synchronise_names
from storage.records import Instance, StudyState
from storage.recovery import recover
from storage.slots import Slots
from storage.spool import Digest, Spool
from storage.unsettled import Unsettled, Withdrawn
from storage.voucher import Voucher


class Step(enum.Enum):
    """How far an object had come when everything stopped, by what is then on the disk."""

    PARTLY_WRITTEN = enum.auto()
    WRITTEN = enum.auto()
    ROW_AND_TORN_FILE = enum.auto()
    ROW_AND_WHOLE_FILE = enum.auto()
    FILE_WITH_NAME = enum.auto()
    ROW_AND_NAME = enum.auto()
    ANSWERED = enum.auto()
    ANSWERED_NAME_LOST = enum.auto()
    SETTLED = enum.auto()
    VOUCHED_AND_TORN = enum.auto()
    VOUCHED = enum.auto()
    VOUCHED_AND_NAME = enum.auto()
    ENTERED = enum.auto()
    ENTERED_NAME_LOST = enum.auto()


VOUCHED = {
    Step.VOUCHED_AND_TORN,
    Step.VOUCHED,
    Step.VOUCHED_AND_NAME,
    Step.ENTERED,
    Step.ENTERED_NAME_LOST,
}
HAS_ROW = {
    Step.ROW_AND_TORN_FILE,
    Step.ROW_AND_WHOLE_FILE,
    Step.ROW_AND_NAME,
    Step.ANSWERED,
    Step.ANSWERED_NAME_LOST,
    Step.SETTLED,
    Step.ENTERED,
    Step.ENTERED_NAME_LOST,
}
HAS_NAME = {
    Step.FILE_WITH_NAME,
    Step.ROW_AND_NAME,
    Step.ANSWERED,
    Step.SETTLED,
    Step.VOUCHED_AND_NAME,
    Step.ENTERED,
}
TORN = {Step.PARTLY_WRITTEN, Step.ROW_AND_TORN_FILE, Step.VOUCHED_AND_TORN}
ACKNOWLEDGED = {
    Step.ANSWERED,
    Step.ANSWERED_NAME_LOST,
    Step.SETTLED,
    Step.VOUCHED,
    Step.VOUCHED_AND_NAME,
    Step.ENTERED,
    Step.ENTERED_NAME_LOST,
}


@dataclass(frozen=True)
class Arrival:
    """One object: two UIDs with two contents each, in either of two listeners."""

    uid: int
    content: int
    listener: int
    step: Step

    @property
    def data(self) -> bytes:
        return f"{self.uid} {self.content}".encode() * 10

    @property
    def instance(self) -> Instance:
        data = self.data
        name, digest = f"1.2.3.{self.uid}", Digest.of(data)
        return Instance(name, "1.3", "1.4", "1.2.3", "1.6", "MR", digest, len(data), "SCANNER")


arrivals = st.lists(
    st.builds(
        Arrival,
        st.integers(0, 1),
        st.integers(0, 1),
        st.integers(0, 1),
        st.sampled_from(Step),
    ),
    max_size=8,
)


@settings(max_examples=30)
@given(arrivals, st.booleans())
def test_whatever_was_left_rows_and_files_agree_afterwards(
    _sqlite_template: Path, left: list[Arrival], interrupted: bool
) -> None:
    """What was acknowledged is whole and listed, nothing is listed that is not whole.

    One listener dies, then the other; recovery may itself be killed in between.
    """
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - for speed
    folder = Path(tempfile.mkdtemp(prefix="gatekeeper-recovery-", dir=memory))
    shutil.copyfile(_sqlite_template, folder / "gatekeeper.db")
    database = Database.connect(f"sqlite:///{folder}/gatekeeper.db")
    spool = Spool(folder / "spool")
    acknowledged = {one.instance.digest for one in left if one.step in ACKNOWLEDGED}
    entered = {one.instance.digest for one in left if one.step in HAS_ROW}
    listeners = [Slots(spool.root, 2), Slots(spool.root, 2)]
    try:
        for one in left:
            stop_at(database, spool, listeners[one.listener], one)
        for listener in listeners:
            die(listener)
            point = "recovery.settled=raise@1" if interrupted else ""
            with failpoint.armed(point), contextlib.suppress(RuntimeError):
                recover(database, spool, -60, described)
            # What vouches for itself is entered by its listener, or by a recovery that ends.
            assert acknowledged & entered <= rows(database)
        found = recover(database, spool, -60, described)

        assert acknowledged <= rows(database)
        assert found.left == found.elsewhere == 0
        with database.read() as tx:
            assert unsettled.count(tx) == 0
        kept = {path.name for path in (spool.root / "objects").rglob("*") if path.is_file()}
        assert rows(database) <= kept
        for digest in kept:
            assert sha256(spool.path(digest).read_bytes()).hexdigest() == digest
        assert list((spool.root / "incoming").iterdir()) == []
        assert [*spool.root.glob("slots/*")] == []
        with database.read() as tx:
            assert (studies.get(tx, "1.2.3") is not None) == bool(rows(database))
    finally:
        database.dispose()
        shutil.rmtree(folder)


def stop_at(database: Database, spool: Spool, slots: Slots, one: Arrival) -> None:
    """Leave what an intake leaves when it stops at this step."""
    descriptor, path = slots.take()
    os.write(descriptor, one.data[: 3 if one.step in TORN else None])
    instance = one.instance
    if one.step in VOUCHED:
        assert voucher.put(descriptor, Voucher(instance.digest, instance.source_ae))
    os.close(descriptor)
    if one.step in HAS_ROW:
        uid, digest = instance.sop_instance_uid, instance.digest
        with database.begin() as tx:
            recorded = instances.record(tx, instance, None)
            if one.step not in VOUCHED:
                unsettled.add(tx, Unsettled(slots.name(path), uid, digest, recorded.new))
    if one.step in HAS_NAME:
        spool.name(path, Digest(instance.digest), instance.size)
    if one.step is Step.SETTLED:
        with database.begin() as tx:
            unsettled.settle(tx, [slots.name(path)])
        Path(path).unlink()


def die(slots: Slots) -> None:
    """Give up the locks once no thread makes slots, as the end of a process ends all of them."""
    with slots._filling:  # pyright: ignore[reportPrivateUsage]
        for _, lock in slots._held:  # pyright: ignore[reportPrivateUsage]
            os.close(lock)


def described(path: Path, voucher: Voucher) -> Instance:
    """Return what was said of the instance whose whole content is here."""
    uid, content = path.read_bytes()[:3].decode().split()
    instance = Arrival(int(uid), int(content), 0, Step.VOUCHED).instance
    assert instance.digest == voucher.digest
    return instance


def rows(database: Database) -> set[str]:
    with database.read() as tx:
        return {row.digest for row in tx.execute(text("SELECT digest FROM instance"))}


def test_a_withdrawn_instance_reopens_its_study(tmp_path: Path, database: Database) -> None:
    """A study that was completed with it is completed again without it."""
    spool = Spool(tmp_path / "spool")
    slots = Slots(spool.root, 2)
    stop_at(database, spool, slots, Arrival(0, 0, 0, Step.SETTLED))
    stop_at(database, spool, slots, Arrival(1, 0, 0, Step.ROW_AND_TORN_FILE))
    die(slots)
    with database.begin() as tx:
        study = studies.get(tx, "1.2.3")
        assert study is not None
        assert studies.complete(tx, "1.2.3", Digest.of(b"both"), study.last_received_at) == 1

    assert recover(database, spool, -60, described).withdrawn == ("1.2.3.1",)

    with database.read() as tx:
        study = studies.get(tx, "1.2.3")
    assert study is not None
    assert (study.state, study.instances) == (StudyState.RECEIVING, 1)


def test_a_slot_that_cannot_be_read_is_left_as_it_is(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have been acknowledged and the disk may answer again: neither row nor slot goes."""
    spool = Spool(tmp_path / "spool")
    slots = Slots(spool.root, 2)
    stop_at(database, spool, slots, Arrival(0, 0, 0, Step.ROW_AND_WHOLE_FILE))
    die(slots)
    with monkeypatch.context() as patch:
        patch.setattr("storage.recovery._PIECE", "no number of bytes")
        patch.setattr(Path, "open", unreadable)
        assert recover(database, spool, -60, described).left == 1

    assert recover(database, spool, -60, described).settled == 1


def test_an_instance_that_rests_on_another_file_is_not_withdrawn(
    database: Database,
) -> None:
    """Acknowledged before, or sent again meanwhile and named already: it stays."""
    arrival = Arrival(0, 0, 0, Step.ROW_AND_TORN_FILE)
    instance, uid = arrival.instance, arrival.instance.sop_instance_uid
    with database.begin() as tx:
        assert unsettled.withdraw(tx, "a/1", uid, lambda _: False) is Withdrawn.NOT_FOUND
        for slot in ("a/1", "a/2"):
            new = instances.record(tx, instance, None).new
            unsettled.add(tx, Unsettled(slot, uid, instance.digest, new))
        assert unsettled.withdraw(tx, "a/1", uid, lambda _: False) is Withdrawn.SLOT
        assert [row.new for row in unsettled.listing(tx, "a")] == [True]
        assert unsettled.withdraw(tx, "a/2", uid, lambda _: True) is Withdrawn.NOT_LOST
        assert instances.find(tx, uid) != []
        unsettled.settle(tx, ["a/2"])

        unsettled.add(tx, Unsettled("a/3", uid, instance.digest, new=False))
        assert unsettled.withdraw(tx, "a/3", uid, lambda _: False) is Withdrawn.SLOT
        assert instances.find(tx, uid) != []

        unsettled.add(tx, Unsettled("a/4", uid, instance.digest, new=True))
        assert unsettled.withdraw(tx, "a/4", uid, lambda _: False) is Withdrawn.INSTANCE
        assert instances.find(tx, uid) == []


def refused(_descriptor: int) -> int:
    return -1


def unreadable(*_arguments: object) -> None:
    raise OSError(5, "Input/output error")


@pytest.mark.parametrize("there_is_syncfs", [True, False])
def test_names_are_synchronised_with_and_without_syncfs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there_is_syncfs: bool
) -> None:
    """A system without it has every folder synchronised by itself."""
    synchronised: list[Path] = []
    monkeypatch.setattr("storage.filesystem.synchronise_folder", synchronised.append)
    if not there_is_syncfs:
        monkeypatch.setattr("storage.filesystem._syncfs", lambda: None)

    synchronise_names(lambda: {tmp_path}, tmp_path)

    assert synchronised == ([] if there_is_syncfs else [tmp_path])


def test_a_failed_synchronisation_of_names_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The return value of the C library is looked at."""
    monkeypatch.setattr("storage.filesystem._syncfs", lambda: refused)

    with pytest.raises(OSError, match="Errno"):
        synchronise_names(lambda: {tmp_path}, tmp_path)
