"""An intake with its spool and database, and how it looks when nothing is left to be done."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from sqlalchemy import text

from storage import instances, unsettled
from storage.engine import Database
from storage.entries import Bearer, Entered, Entry
from storage.instances import Recorded
from storage.intake import Intake, Limits
from storage.records import Instance
from storage.spool import Spool
from storage.voucher import Voucher

SCANNER = "SCANNER"

TAKE_IN = """
import os, sys
from pathlib import Path
from storage import failpoint
from storage.engine import Database
from storage.entries import Bearer
from storage.intake import Intake, Limits
from storage.records import Instance
from storage.spool import Spool

def trouble(error):
    print("trouble", type(error).__name__, flush=True)

def take_in(study, objects, settle_seconds, enter_seconds=0):
    database, spool = Database.connect(sys.argv[2], 30), Spool(Path(sys.argv[1]))
    limits = Limits(slots=2, settle_seconds=settle_seconds, enter_seconds=enter_seconds)
    intake = Intake(database, spool, limits, trouble)
    bearer = Bearer(None, "SCANNER", "127.0.0.1", False) if enter_seconds else None
    for number in range(objects):
        uid = f"{study}.{number}"
        with intake.writer() as writer:
            writer.write(f"content of {uid}".encode())
            content = writer.digest, writer.size
            made = Instance(uid, "1.3", "1.4", study, "1.6", "MR", *content, "SCANNER")
            entered = intake.keep(writer, made, bearer)
        if bearer is not None and entered is not None:
            bearer = Bearer(entered.association, "SCANNER", "127.0.0.1", True)
        failpoint.reached("test.answering")
        print("acknowledged", uid, flush=True)
    return intake
"""


def described(path: Path, voucher: Voucher) -> Instance:
    """Return what was said of the instance whose whole content is here, as `TAKE_IN` has it."""
    uid = path.read_text().removeprefix("content of ")
    study, size = uid.rpartition(".")[0], path.stat().st_size
    return Instance(uid, "1.3", "1.4", study, "1.6", "MR", voucher.digest, size, voucher.calling_ae)


def opened(database: Database) -> Bearer:
    """Return an association that has a row, and whose study needs no other link."""
    with database.begin() as tx:
        row = instances.open_association(tx, SCANNER, "127.0.0.1")
    return Bearer(row, SCANNER, "127.0.0.1", linked=True)


class Site:
    """An intake with its spool and database."""

    def __init__(self, folder: Path, database: Database, limits: Limits) -> None:
        self.database = database
        self.spool = Spool(folder)
        self.troubles: list[Exception] = []
        self.told: list[tuple[Entry, Entered]] = []
        self.intake = Intake(
            database,
            self.spool,
            limits,
            self.troubles.append,
            told=lambda entry, entered: self.told.append((entry, entered)),
        )

    def take_in(self, instance: Instance, content: bytes = b"content") -> Recorded:
        """Take in what nobody in particular brings, and return what was found."""
        entered = self.keep(instance, content, None)
        assert entered is not None
        return entered.recorded

    def keep(self, instance: Instance, content: bytes, bearer: Bearer | None) -> Entered | None:
        """Take in what an association brings."""
        with self.intake.writer() as writer:
            writer.write(content)
            whole = replace(instance, digest=writer.digest, size=writer.size)
            return self.intake.keep(writer, whole, bearer)

    def unsettled(self) -> int:
        with self.database.read() as tx:
            return unsettled.count(tx)

    def instances(self) -> int:
        with self.database.read() as tx:
            return instances.count(tx)


def sound(database: Database, spool: Spool) -> set[str]:
    """Check that rows and files agree, and return the SOP Instance UIDs that are kept."""
    with database.read() as tx:
        rows = tx.execute(text("SELECT sop_instance_uid, digest FROM instance")).all()
        assert unsettled.count(tx) == 0
    kept = {path.name for path in (spool.root / "objects").rglob("*") if path.is_file()}
    for name in kept:
        assert sha256(spool.path(name).read_bytes()).hexdigest() == name
    assert {row.digest for row in rows} <= kept
    assert list((spool.root / "incoming").iterdir()) == []
    assert list((spool.root / "slots").iterdir()) == []
    return {row.sop_instance_uid for row in rows}
