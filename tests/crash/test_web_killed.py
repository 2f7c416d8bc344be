"""The web role killed at each step from the first byte to 200: nothing acknowledged is lost."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from support.gate import free_port
from support.processes import RoleProcess, is_up, role
from support.web import JSON, KIND, make_tokens, multipart, outcome, part10

from gatekeeper.ledger import balance
from storage import instances
from storage.engine import Database
from storage.spool import Spool

STEPS = ("spool.synchronised", "receive.committing", "receive.committed", "receive.answering")
BODY = multipart([part10("1.2.3.1"), part10("1.2.3.2")])


class Room:
    """A folder with a spool, a database with tokens, and a port."""

    def __init__(self, folder: Path, url: str, database: Database) -> None:
        self.folder, self.url, self.database = folder, url, database
        self.spool = Spool(folder / "spool")
        self.port = free_port()
        self.token, _ = make_tokens(database)

    @contextmanager
    def web(self, points: str = "") -> Generator[RoleProcess]:
        """Run a web role until the block ends."""
        with role(
            "web",
            self.folder,
            points,
            DATABASE_URL=self.url,
            SPOOL_DIRECTORY=self.folder / "spool",
            SPOOL_LOW_WATER_MIB=0,
            SPOOL_SETTLE_SECONDS=60,
            WEB_PORT=self.port,
        ) as running:
            is_up(running, "web_serving")
            yield running

    def send(self) -> httpx.Response | None:
        """Send both objects; None for no answer."""
        headers = {"Content-Type": KIND, "Accept": JSON, "Authorization": f"Bearer {self.token}"}
        url = f"http://127.0.0.1:{self.port}/dicom-web/studies"
        try:
            return httpx.post(url, content=BODY, headers=headers, timeout=60)
        except httpx.TransportError:
            return None

    def rows(self) -> int:
        with self.database.read() as tx:
            return instances.count(tx)


@pytest.fixture
def room(tmp_path: Path, database_url: str, database: Database) -> Room:
    return Room(tmp_path, database_url, database)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_web_role_killed_at_any_step_has_lost_nothing_it_acknowledged(
    room: Room, step: str
) -> None:
    """No answer without everything durable; what is sent again is a success, into one row."""
    with room.web(f"{step}=kill@2") as doomed:
        assert room.send() is None
        assert doomed.died()

    assert room.rows() in (1, 2)
    with room.web():
        assert balance(room.database, room.spool, verify=True).balanced
        answer = room.send()
        assert answer is not None
        assert outcome(answer)[:2] == (200, ["1.2.3.1", "1.2.3.2"])

    assert balance(room.database, room.spool, verify=True).balanced
    assert room.rows() == 2


def test_a_disk_that_loses_data_ends_the_web_role(room: Room) -> None:
    """EIO once at the synchronisation: that part is refused, exit code 1, and the next takes it."""
    with room.web("spool.written=eio@2") as broken:
        answer = room.send()
        assert answer is not None
        assert outcome(answer)[:3] == (202, ["1.2.3.1"], {"1.2.3.2": 0xA700})
        broken.process.join(60)
        assert broken.process.exitcode == 1
        assert broken.said("synchronisation_failed")
    with room.web():
        answer = room.send()
        assert answer is not None
        assert answer.status_code == 200
    assert balance(room.database, room.spool, verify=True).balanced
