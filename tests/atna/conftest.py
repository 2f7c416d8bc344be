"""What the tests of audit messages share: the standard's schema, and a site that is audited."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from support.authority import Authority

from gatekeeper.atna import outbox
from gatekeeper.atna.events import Event
from gatekeeper.settings import AuditSettings, Settings
from storage import audit_messages
from storage.engine import Database
from storage.records import AuditMessage

# No types come with it.
etree: Any = importlib.import_module("lxml.etree")

SCHEMA = Path(__file__).with_name("audit-message.rng")


@dataclass
class Site:
    """A database with an outbox, and settings that lead nowhere until a test says where."""

    database: Database
    settings: Settings

    def change(self, **changes: Any) -> None:
        audit = dataclasses.replace(self.settings.audit, **changes)
        self.settings = dataclasses.replace(self.settings, audit=audit)

    def record(self, event: Event, key: str | None = None) -> int | None:
        with self.database.begin() as tx:
            return outbox.record(tx, self.settings, event, key)

    def outbox(self) -> list[AuditMessage]:
        """Return all messages, the oldest first."""
        with self.database.read() as tx:
            return audit_messages.listing(tx, limit=1000)[::-1]

    def events(self) -> list[tuple[str, str]]:
        """Return event and subject of all messages, the oldest first."""
        return [(one.event, one.subject) for one in self.outbox()]


@pytest.fixture(scope="session")
def valid() -> Callable[[str], ET.Element]:
    """Return a function that checks XML against PS3.15 A.5.1 and returns its root."""
    schema = etree.RelaxNG(etree.parse(str(SCHEMA)))

    def check(text: str) -> ET.Element:
        schema.assertValid(etree.fromstring(text.encode("utf-8")))
        return ET.fromstring(text)  # noqa: S314 - our own

    return check


@pytest.fixture
def audited(authority: Authority) -> Settings:
    """Return settings with audit messages on, which give a busy machine time."""
    identity = authority.issue("gatekeeper.example")
    audit = AuditSettings(
        host="127.0.0.1",
        port=9,
        repeat_seconds=3600.0,
        attempt_seconds=60.0,
        poll_seconds=0.05,
        retry_seconds=0.0,
        maximum_attempts=3,
    )
    return dataclasses.replace(Settings(), audit=audit, tls=authority.settings(identity))


@pytest.fixture
def site(database: Database, audited: Settings) -> Site:
    """Return a site on SQLite, and one on PostgreSQL."""
    return Site(database, audited)


@pytest.fixture
def small(sqlite_url: str, audited: Settings) -> Iterator[Site]:
    """Give a site on SQLite, for what does not depend on the database."""
    database = Database.connect(sqlite_url, lock_seconds=30)
    yield Site(database, audited)
    database.dispose()
