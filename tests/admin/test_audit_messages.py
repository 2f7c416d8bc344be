"""What people do on the pages is told to the site's audit repository."""

from __future__ import annotations

from pathlib import Path

from support.pages import PASSWORD, running_pages
from support.web import settings_for

from gatekeeper.settings import AuditSettings
from storage import audit_messages
from storage.engine import Database


def test_signing_in_failing_to_and_reading_the_trail_are_told(
    tmp_path: Path, database: Database
) -> None:
    """Each with who and how it ended; a wrong password is not among what is told."""

    settings = settings_for(tmp_path / "spool", audit=AuditSettings(host="127.0.0.1"))
    with running_pages(settings, database) as pages:
        pages.post("/sign-in", {"name": "viewer", "password": "swordfish-wrong"}, "")
        pages.post("/sign-in", {"name": "viewer", "password": PASSWORD}, "")
        pages.post("/sign-out", name="viewer")
        pages.get("/audit", "admin")
    with database.read() as tx:
        told = "".join(one.content for one in audit_messages.listing(tx))
    assert told.count("110122") >= 2
    assert told.count("110123") == 1
    assert told.count("110101") >= 1
    assert 'EventOutcomeIndicator="4"' in told
    assert "swordfish" not in told


def test_no_repository_no_messages(tmp_path: Path, database: Database) -> None:
    """Without `audit.host` nothing is written down for anybody."""

    settings = settings_for(tmp_path / "spool")
    with running_pages(settings, database) as pages:
        pages.get("/", "viewer")
    with database.read() as tx:
        assert audit_messages.listing(tx) == []
