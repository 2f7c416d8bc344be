"""When we cannot take more: 503, when to come again, and everything afterwards."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from listen.wire import sqlite_only
from support.waiting import until
from support.web import multipart, outcome, part10, running_web, settings_for

from gatekeeper.ledger import balance
from storage import failpoint, jobs
from storage.engine import Database
from storage.spool import Digest

pytestmark = sqlite_only
BODY = multipart([part10("1.2.3.1"), part10("1.2.3.2")])


def test_a_disk_under_its_mark_takes_nothing(tmp_path: Path, database: Database) -> None:
    """503 before the body is read, with when to come again."""
    settings = settings_for(tmp_path / "spool", {"retry_after_seconds": 7})
    full = dataclasses.replace(settings.spool, low_water_mib=1 << 40)
    with running_web(dataclasses.replace(settings, spool=full), database) as web:
        answer = web.stow(BODY)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "7")
        assert web.get("/studies").status_code == 200
        assert web.kept("1.2.3.1") == []


def test_a_queue_over_its_mark_takes_nothing(tmp_path: Path, database: Database) -> None:
    """As with associations: what is sent waits with its sender."""
    settings = settings_for(tmp_path / "spool")
    listen = dataclasses.replace(settings.listen, queue_high=1)
    with running_web(dataclasses.replace(settings, listen=listen), database) as web:
        assert web.stow(BODY).status_code == 200
        with database.begin() as tx:
            jobs.enqueue(tx, "1.2.3", Digest.of(b"content"), Digest.of(b"models"), 1)
        # The measure is taken once a second.
        until(lambda: web.stow(BODY).status_code == 503, 60, "the queue is seen to be long")
        assert web.stow(BODY).json() == {"error": "too many jobs wait"}


def test_a_disk_that_fills_up_under_way_is_answered_for_each(
    tmp_path: Path, database: Database
) -> None:
    """One stored and one not is 202 with 0xA700; none stored is 503; then both, by the same."""
    with running_web(settings_for(tmp_path / "spool"), database) as web:
        with failpoint.armed("spool.written=enospc@2"):
            assert outcome(web.stow(BODY)) == (202, ["1.2.3.1"], {"1.2.3.2": 0xA700}, [])
        with failpoint.armed(f"spool.written=enospc@{tmp_path}"):
            answer = web.stow(multipart([part10("1.2.3.3")]))
            assert outcome(answer) == (503, [], {"1.2.3.3": 0xA700}, [])
            assert "Retry-After" in answer.headers
        assert outcome(web.stow(BODY))[:2] == (200, ["1.2.3.1", "1.2.3.2"])
        assert balance(database, web.spool, verify=True).balanced


def test_without_its_database_nobody_is_let_in(tmp_path: Path, database: Database) -> None:
    """503 in bounded time, not an open door."""
    from sqlalchemy import text

    with running_web(settings_for(tmp_path / "spool"), database) as web:
        with database.begin() as tx:
            tx.execute(text("ALTER TABLE api_token RENAME TO away"))
        assert web.stow(BODY).status_code == 503
        assert web.get("/studies").status_code == 503
