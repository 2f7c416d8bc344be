"""The listener killed at each step from the first byte to 0x0000: nothing acknowledged is lost.

It is one process here, so that the step at which it dies is the step of all of it; several are
killed in `listen.test_prefork` and by the campaign.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from listen.wire import SCANNER, associated, image_file, store
from pydicom.dataset import Dataset
from support.gate import free_port
from support.processes import RoleProcess, is_up, role

from gatekeeper.ledger import balance
from storage import instances, nodes
from storage.engine import Database
from storage.records import Node
from storage.spool import Spool

STEPS = (
    "spool.written",
    "spool.synchronised",
    "spool.named",
    "receive.committing",
    "committer.committed",
    "receive.committed",
    "receive.answering",
)
"""Failpoints, some on the way of the file and some on that of the row: both go on at once."""
BEHIND = ("bookkeeper.entering", "bookkeeper.entered")
"""Failpoints around the rows that are written after their answers."""


class Room:
    """A folder with a spool, a database that knows one scanner, and a port."""

    def __init__(self, folder: Path, url: str, database: Database) -> None:
        self.folder, self.url, self.database = folder, url, database
        self.spool = Spool(folder / "spool")
        self.port = free_port()
        with database.begin() as tx:
            nodes.save(tx, Node(SCANNER, "127.0.0.1", 0, may_send=True))

    @contextmanager
    def listener(self, points: str = "", **settings: object) -> Generator[RoleProcess]:
        """Run a listener until the block ends."""
        with role(
            "listen",
            self.folder,
            points,
            DATABASE_URL=self.url,
            SPOOL_DIRECTORY=self.folder / "spool",
            SPOOL_LOW_WATER_MIB=0,
            LISTEN_HOST="127.0.0.1",
            LISTEN_PORT=self.port,
            LISTEN_PROCESSES=1,
            **settings,
        ) as running:
            is_up(running, "listening")
            yield running

    def send(self, *paths: Path) -> list[int | None]:
        """Send files over one association and return each answer, None for no answer."""
        with associated(self.port) as association:
            return [_status(store(association, path)) for path in paths]

    def rows(self) -> int:
        with self.database.read() as tx:
            return instances.count(tx)

    def files(self, folder: str) -> list[Path]:
        return [path for path in (self.spool.root / folder).rglob("*") if path.is_file()]


def _status(answer: Dataset) -> int | None:
    return int(answer.Status) if "Status" in answer else None


@pytest.fixture
def room(tmp_path: Path, database_url: str, database: Database) -> Room:
    return Room(tmp_path, database_url, database)


@pytest.mark.usefixtures("raw_sending")
@pytest.mark.parametrize(
    ("step", "enter_seconds"),
    [
        *(pytest.param(f"{step}=kill@2", 0, id=f"row first-{step}") for step in STEPS),
        *(pytest.param(f"{step}=kill@2", 0.05, id=f"row after-{step}") for step in STEPS),
        *(pytest.param(f"{step}=kill@1", 0.05, id=f"row after-{step}") for step in BEHIND),
    ],
)
def test_a_listener_killed_at_any_step_has_lost_nothing_it_acknowledged(
    room: Room, step: str, enter_seconds: float
) -> None:
    """What was answered is there; what was not is sent again, as a success, into one row."""
    first, second = (image_file(room.folder / "files", f"1.2.3.{number}") for number in (1, 2))
    settings = {"SPOOL_SETTLE_SECONDS": 60, "SPOOL_ENTER_SECONDS": enter_seconds}
    with room.listener(step, **settings) as doomed:
        answers = room.send(first, second)
        assert doomed.died()
    acknowledged = answers.count(0x0000)
    assert answers == ([0x0000, None] if acknowledged == 1 else [0x0000, 0x0000])
    assert acknowledged == 1 or enter_seconds

    assert room.rows() in (1, 2)
    assert balance(room.database, room.spool, verify=True).balanced
    with room.listener():
        assert room.rows() >= acknowledged
        assert balance(room.database, room.spool, verify=True).balanced
        assert room.send(first, second) == [0x0000, 0x0000]

    books = balance(room.database, room.spool, verify=True)
    assert (books.balanced, room.rows(), len(room.files("objects"))) == (True, 2, 2)


@pytest.mark.usefixtures("raw_sending")
def test_a_disk_that_loses_data_ends_the_listener_and_another_takes_over(room: Room) -> None:
    """EIO once at the synchronisation: 0xA700, exit code 1, and the next process takes it."""
    first, second = (image_file(room.folder / "files", f"1.2.3.{number}") for number in (1, 2))
    with room.listener("spool.written=eio@2") as broken:
        assert room.send(first, second) == [0x0000, 0xA700]
        broken.process.join(60)
        assert broken.process.exitcode == 1
        assert broken.said("synchronisation_failed")
    with room.listener():
        assert room.send(second) == [0x0000]

    assert balance(room.database, room.spool, verify=True).balanced


@pytest.mark.usefixtures("raw_sending")
def test_a_full_disk_refuses_until_there_is_space(room: Room) -> None:
    """ENOSPC while it lasts: 0xA700 without a row or a file; then taken, by the same process."""
    path = image_file(room.folder / "files", "1.2.3.1")
    full = room.folder / "full"
    with room.listener(f"spool.written=enospc@{full}"):
        full.touch()
        assert room.send(path, path) == [0xA700, 0xA700]
        assert (room.rows(), room.files("objects"), room.files("incoming")) == (0, [], [])
        full.unlink()
        assert room.send(path) == [0x0000]

    assert room.rows() == 1
