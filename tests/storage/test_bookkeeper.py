"""Rows written after the answer: files that vouch for themselves, and what becomes of them."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import text
from support.files import written_files
from support.intakes import Site, described, opened, sound
from support.waiting import until

from storage import failpoint, instances, recovery, voucher
from storage.engine import Database, DatabaseUnavailableError
from storage.entries import Bearer, Entry
from storage.gathering import BacklogError
from storage.instances import Recorded
from storage.intake import Limits
from storage.recorder import RefusedEntryError
from storage.records import Instance
from storage.recovery import recover
from storage.spool import FILE_MODE, Spool
from storage.voucher import Voucher

SECONDS = 30.0
NOBODY = 65534

Make = Callable[..., Instance]


@pytest.fixture
def site(tmp_path: Path, database: Database) -> Iterator[Site]:
    limits = Limits(slots=2, settle_seconds=0, enter_seconds=0.01)
    made = Site(tmp_path / "spool", database, limits)
    yield made
    made.intake.close()


@pytest.fixture
def patient(tmp_path: Path, database: Database) -> Iterator[Site]:
    """Give an intake that writes rows, and settles, when it is told to."""
    limits = Limits(slots=2, settle_seconds=60, enter_seconds=5, backlog=3, wait_seconds=0.2)
    made = Site(tmp_path / "spool", database, limits)
    yield made
    made.intake.close()


def content_of(instance: Instance) -> bytes:
    """Return what `described` recognises."""
    return f"content of {instance.sop_instance_uid}".encode()


def named(database: Database) -> set[str]:
    with database.read() as tx:
        rows = tx.execute(text("SELECT sop_instance_uid FROM instance")).scalars()
        return {str(row) for row in rows}


def test_an_answer_waits_for_the_file_alone_and_the_row_follows(
    patient: Site, an_instance: Make
) -> None:
    """The file has its name and says who brought it; its row comes with others, when asked for."""
    made, bearer = [an_instance(number) for number in range(2)], opened(patient.database)

    for one in made:
        assert patient.keep(one, content_of(one), bearer) is None

    assert patient.instances() == 0
    files = written_files(patient.spool.root / "objects")
    assert {voucher.read(path) for path in files} == {
        Voucher(path.name, made[0].source_ae) for path in files
    }
    assert {path.stat().st_mode & 0o777 for path in files} == {FILE_MODE}
    assert patient.intake.enter()
    assert named(patient.database) == {one.sop_instance_uid for one in made}
    assert [entered.recorded for _, entered in patient.told] == [Recorded(True, False)] * 2
    patient.intake.close()
    assert len(sound(patient.database, patient.spool)) == 2


def test_the_first_of_an_association_and_of_a_study_has_its_row_before_the_answer(
    patient: Site, an_instance: Make
) -> None:
    """Only what an association brings to a study that it is linked with can follow later."""
    made = an_instance()

    found = patient.keep(made, b"one", Bearer(None, "SCANNER", "127.0.0.1", linked=False))

    assert found is not None
    assert found.association is not None
    assert patient.instances() == 1
    again = Bearer(found.association, "SCANNER", "127.0.0.1", linked=False)
    assert patient.keep(an_instance(1), b"two", again) is not None


def test_without_attributes_in_the_file_system_the_row_is_before_the_answer(
    patient: Site, an_instance: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slower, and the same promise."""

    def unable(*_arguments: object) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(os, "setxattr", unable)

    assert patient.keep(an_instance(), b"content", opened(patient.database)) is not None
    assert patient.instances() == 1


def test_a_conflict_is_told_when_it_is_found(site: Site, an_instance: Make) -> None:
    """Both contents are kept; who answers later learns it with the row."""
    made, bearer = an_instance(), opened(site.database)
    site.keep(made, b"one", bearer)
    site.keep(made, b"two", bearer)

    assert site.intake.enter()

    assert [entered.recorded.conflict for _, entered in site.told] == [False, True]
    site.intake.close()
    assert len(sound(site.database, site.spool)) == 1
    assert site.instances() == 2


def test_a_database_in_trouble_holds_up_no_answer_until_too_much_waits(
    patient: Site, an_instance: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was acknowledged is entered once the database is back, and nothing waits for ever."""
    bearer = opened(patient.database)
    back: list[bool] = []
    enter = recovery.entries.enter

    def gone(tx: object, entry: Entry) -> object:
        if not back:
            raise DatabaseUnavailableError("gone")
        return enter(tx, entry)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr("storage.entries.enter", gone)
    for number in range(3):
        assert patient.keep(an_instance(number), b"%d" % number, bearer) is None
    assert not patient.intake.enter()
    with pytest.raises(BacklogError):
        patient.keep(an_instance(3), b"3", bearer)

    back.append(True)

    until(lambda: patient.instances() == 3, SECONDS, "all rows are written")
    slots = patient.spool.root / "slots"
    until(lambda: len(written_files(slots)) < 3, SECONDS, "there is room")
    assert {type(error) for error in patient.troubles} == {DatabaseUnavailableError}
    assert patient.keep(an_instance(3), b"3", bearer) is None


def test_one_that_cannot_be_entered_holds_up_no_other_and_is_not_lost(
    tmp_path: Path, site: Site, an_instance: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again and told, stays in its slot, and recovery enters it."""
    bearer = opened(site.database)
    enter = recovery.entries.enter
    made = [an_instance(number) for number in range(3)]

    def picky(tx: object, entry: Entry) -> object:
        if entry.instance.sop_instance_uid == made[1].sop_instance_uid:
            raise RefusedEntryError("not this one")
        return enter(tx, entry)  # pyright: ignore[reportArgumentType]

    with monkeypatch.context() as patch:
        patch.setattr("storage.entries.enter", picky)
        for one in made:
            site.keep(one, content_of(one), bearer)
        until(lambda: len(site.troubles) > 1, SECONDS, "it was tried again")
        others = {made[0].sop_instance_uid, made[2].sop_instance_uid}
        assert named(site.database) == others
        site.intake.close()
        assert named(site.database) == others

    # The lock goes with the process; in a copy nobody holds it.
    left = Spool(shutil.copytree(site.spool.root, tmp_path / "copy"))
    found = recover(site.database, left, -60, described)

    assert (found.entered, found.left) == (1, 0)
    assert sound(site.database, left) == {one.sop_instance_uid for one in made}


def test_one_that_cannot_even_be_handed_in_holds_up_no_other(
    site: Site, an_instance: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A defect of ours with one entry is told, and the others of its batch are entered."""
    bearer = opened(site.database)
    made = [an_instance(number) for number in range(3)]
    enter = site.intake._enter  # pyright: ignore[reportPrivateUsage]

    def picky(batch: Sequence[Entry]) -> object:
        if any(one.instance.sop_instance_uid == made[1].sop_instance_uid for one in batch):
            raise ValueError("an entry with a NUL in a text")
        return enter(batch)

    monkeypatch.setattr(site.intake, "_enter", picky)
    for one in made:
        site.keep(one, content_of(one), bearer)

    until(lambda: len(site.troubles) > 1, SECONDS, "it was tried again")
    assert named(site.database) == {made[0].sop_instance_uid, made[2].sop_instance_uid}
    assert {type(error) for error in site.troubles} == {ValueError}


def test_a_file_that_fails_is_neither_acknowledged_nor_entered(
    site: Site, an_instance: Make
) -> None:
    """It is gone, voucher and all, and a resend succeeds."""
    made, bearer = an_instance(), opened(site.database)
    with failpoint.armed("spool.written=eio"), pytest.raises(OSError, match="Errno 5"):
        site.keep(made, b"content", bearer)

    assert site.intake.enter()
    assert site.instances() == 0
    assert site.keep(made, b"content", bearer) is None
    site.intake.close()
    assert sound(site.database, site.spool) == {made.sop_instance_uid}


def test_what_retention_removed_is_kept_again_when_it_comes_again(
    site: Site, an_instance: Make
) -> None:
    """Also when the file was acknowledged before its row was looked at."""
    made, bearer = an_instance(), opened(site.database)
    site.keep(made, b"content", bearer)
    assert site.intake.enter()
    with site.database.begin() as tx:
        tx.execute(text("UPDATE instance SET removed_at = received_at"))

    site.keep(made, b"content", bearer)
    assert site.intake.enter()

    with site.database.read() as tx:
        [row] = instances.find(tx, made.sop_instance_uid)
    assert row.removed_at is None
    site.intake.close()
    assert sound(site.database, site.spool) == {made.sop_instance_uid}


def test_recovery_keeps_again_what_retention_removed(
    tmp_path: Path, patient: Site, an_instance: Make
) -> None:
    """Sent again, acknowledged, and then the listener died before it looked at the row."""
    made = an_instance()
    patient.take_in(made, content_of(made))
    with patient.database.begin() as tx:
        tx.execute(text("UPDATE instance SET removed_at = received_at"))
    assert patient.keep(made, content_of(made), opened(patient.database)) is None

    left = Spool(shutil.copytree(patient.spool.root, tmp_path / "copy"))
    assert recover(patient.database, left, -60, described).entered == 1

    with patient.database.read() as tx:
        [row] = instances.find(tx, made.sop_instance_uid)
    assert row.removed_at is None
    assert sound(patient.database, left) == {made.sop_instance_uid}


def test_a_slot_that_cannot_be_understood_is_left_as_it_is(
    tmp_path: Path, patient: Site, an_instance: Make
) -> None:
    """It may have been acknowledged: told again and again, never removed, whatever its age."""
    made = an_instance()
    patient.keep(made, content_of(made), opened(patient.database))
    left = Spool(shutil.copytree(patient.spool.root, tmp_path / "copy"))

    def fail(_path: Path, _voucher: Voucher) -> Instance:
        raise ValueError("not understood")

    for _ in range(2):
        found = recover(patient.database, left, -60, fail)
        assert (found.entered, found.left, found.swept) == (0, 1, 0)
    assert recover(patient.database, left, -60, described).entered == 1


def test_a_slot_that_is_not_what_it_says_was_never_acknowledged(
    tmp_path: Path, patient: Site, an_instance: Make
) -> None:
    """A power cut may keep the voucher of a file whose bytes it took: nothing is entered."""
    made = an_instance()
    patient.keep(made, content_of(made), opened(patient.database))
    [slot] = written_files(patient.spool.root / "slots")
    dead = Spool(tmp_path / "dead")
    folder = dead.root / "slots" / "owner"
    folder.mkdir(parents=True)
    (folder / "lock").touch()
    torn = folder / slot.name
    torn.write_bytes(slot.read_bytes()[:-1])
    os.setxattr(torn, "user.gatekeeper", os.getxattr(slot, "user.gatekeeper"))
    torn.chmod(FILE_MODE)

    assert recover(patient.database, dead, 3600, described).entered == 0

    assert voucher.read(torn) is None
    assert patient.instances() == 0
    assert recover(patient.database, dead, -60, described).swept == 1
    assert not folder.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="everything here runs without being root")
def test_a_file_vouches_for_itself_without_being_root() -> None:
    """Only who may write to a file may set its attributes; its mode says so until it is whole."""
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, NOBODY, NOBODY)
        os.seteuid(NOBODY)
        try:
            with Spool(Path(folder) / "spool").writer() as writer:
                writer.write(b"content")
                assert writer.vouch("SCANNER")
                stored = writer.commit()
        finally:
            os.seteuid(0)
        assert voucher.read(stored.path) == Voucher(stored.digest, "SCANNER")


@pytest.mark.parametrize("value", [b"", b"\x01short", b"\x02" + bytes(40), b"\x01" + bytes(31)])
def test_what_is_no_voucher_of_ours_is_none(tmp_path: Path, value: bytes) -> None:
    """Another version's, or somebody else's, says nothing."""
    path = tmp_path / "file"
    path.touch()
    assert voucher.read(path) is None
    os.setxattr(path, "user.gatekeeper", value)
    assert voucher.read(path) is None


def test_a_voucher_that_is_too_long_is_not_put_on(tmp_path: Path) -> None:
    """An AE title has 16 characters (PS3.5 table 6.2-1); more would cost a block of the disk."""
    path = tmp_path / "file"
    with path.open("wb") as file:
        assert voucher.put(file.fileno(), Voucher("ab" * 32, "A" * 16))
        assert voucher.read(path) == Voucher("ab" * 32, "A" * 16)
        assert not voucher.put(file.fileno(), Voucher("ab" * 32, "A" * 40))
