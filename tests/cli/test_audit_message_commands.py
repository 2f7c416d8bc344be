"""Audit messages on the command line: what waits, what was lost, and one sent by hand."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
import structlog
from support.authority import Authority
from support.command_line import read, run
from support.repositories import scripted

from storage import audit_messages
from storage.engine import Database


@pytest.fixture
def database(
    tmp_path: Path, sqlite_url: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> Generator[Database]:
    """Stand in a folder of a site whose audit repository is on this machine."""
    identity = authority.issue("gatekeeper.example")
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "DATABASE_URL": sqlite_url,
        "SPOOL_DIRECTORY": str(tmp_path / "spool"),
        "AUDIT_HOST": "127.0.0.1",
        "TLS_CA": str(authority.file),
        "TLS_CERTIFICATE": str(identity.certificate),
        "TLS_KEY": str(identity.key),
    }.items():
        monkeypatch.setenv(f"GATEKEEPER_{name}", value)
    connected = Database.connect(sqlite_url)
    yield connected
    connected.dispose()
    structlog.reset_defaults()


def test_what_waits_and_what_was_lost_is_shown_without_its_content(database: Database) -> None:
    """The XML may name patients, and is shown when asked for."""
    with database.begin() as tx:
        audit_messages.enqueue(tx, "query", "reader", "<secret/>", 1.78e9, 5, 100)
        audit_messages.drop(tx, "query", 7)

    shown = run("audit", "messages")
    assert "query" in shown
    assert "1 queued" in shown
    assert "7 of query not kept" in shown
    found = read("audit", "messages")
    assert found["counts"]["queued"] == 1
    assert found["lost"][0]["count"] == 7
    assert found["messages"][0]["content"] == ""
    assert read("audit", "messages", "--content")["messages"][0]["content"] == "<secret/>"
    assert read("audit", "messages", "--state", "dead")["messages"] == []
    status = run("status")
    assert "1 queued" in status
    assert "7 lost" in status


def test_dead_messages_are_queued_again(database: Database) -> None:
    """All of them."""
    with database.begin() as tx:
        audit_messages.enqueue(tx, "query", "reader", "<x/>", 1.78e9, 5, 100)
        (one,) = audit_messages.claim(tx, "test", 60, 1)
        audit_messages.fail(tx, one.id, one.attempt, "no", None)

    assert "1 audit messages are queued again" in run("audit", "retry")
    assert read("audit", "messages")["counts"]["queued"] == 1


def test_a_test_message_says_what_became_of_it(
    database: Database, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken, or the reason; nothing enters the outbox."""
    with scripted(authority.issue("127.0.0.1"), authority) as repository:
        monkeypatch.setenv("GATEKEEPER_AUDIT_PORT", str(repository.port))
        assert "ended the connection in order" in run("audit", "test")
        (message,) = repository.messages()
        assert "110101" in message
        repository.behaviour = "closing"
        run("audit", "test", code=1)
    monkeypatch.setenv("GATEKEEPER_AUDIT_HOST", "")
    assert "audit.host: not set" in run("audit", "test", code=1)
    assert read("audit", "messages")["messages"] == []


def test_reading_the_trail_is_told(database: Database) -> None:
    """Audit Log Used (PS3.15 A.5.3.2)."""
    run("audit", "list")

    with database.read() as tx:
        (one,) = audit_messages.listing(tx)
    assert one.event == "audit-log-used"


def test_who_may_call_is_told_when_it_changes(database: Database) -> None:
    """Security Roles Changed, in the transaction that changes them; never the token's text."""
    text = read("token", "add", "reader", "--read")["token"]
    run("token", "revoke", "reader")

    with database.read() as tx:
        found = audit_messages.listing(tx)
    assert [one.subject for one in found] == ["gatekeeper:access/reader"] * 2
    assert all("110136" in one.content and text not in one.content for one in found)


def test_check_names_what_audit_messages_miss(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fingerprint that is none, and TLS without a CA."""
    database.migrate()
    assert "audit test` tries it" in run("check", code=1).replace("\n", "")
    monkeypatch.setenv("GATEKEEPER_AUDIT_CERTIFICATE", "abc")
    assert "not a fingerprint" in run("check", code=1)
    monkeypatch.setenv("GATEKEEPER_AUDIT_CERTIFICATE", "")
    monkeypatch.setenv("GATEKEEPER_TLS_CA", "")
    assert "needed to verify the audit repository" in run("check", code=1)
