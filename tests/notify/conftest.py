"""Fixtures of the notification tests: settings that lose no time, and a site to send from."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import pytest
from support.authority import Authority

from gatekeeper.notify import messenger
from gatekeeper.notify.announce import announce
from gatekeeper.notify.events import Happening
from gatekeeper.settings import NotifySettings, Settings
from storage import channels, notifications
from storage.engine import Database
from storage.records import Channel, ChannelKind, Notification

KEY = "a key that signs webhooks, for tests"


@dataclass
class Site:
    """A database with an outbox, and settings to send with."""

    database: Database
    settings: Settings

    def change(self, **changes: Any) -> None:
        notify = dataclasses.replace(self.settings.notify, **changes)
        self.settings = dataclasses.replace(self.settings, notify=notify)

    def channel(self, name: str, address: str, **more: Any) -> Channel:
        kind = ChannelKind.EMAIL if "@" in address else ChannelKind.WEBHOOK
        made = Channel(name, kind, address, **more)
        with self.database.begin() as tx:
            channels.save(tx, made)
        return made

    def announce(self, happening: Happening, key: str = "1") -> int:
        with self.database.begin() as tx:
            return announce(tx, happening, key)

    def attempt(self, name: str) -> Notification:
        """Make one attempt on a channel as the messenger does, and return what became of it."""
        limits = self.settings.notify
        with self.database.begin() as tx:
            known = channels.get(tx, name)
            claimed = notifications.claim(tx, name, "test", limits.lease_seconds, limits.hourly)
        assert claimed is not None, "nothing is due"
        messenger.attempt(self.database, self.settings, claimed, known)
        return self.look(claimed.id)

    def look(self, number: int) -> Notification:
        with self.database.read() as tx:
            found = notifications.get(tx, number)
        assert found is not None
        return found

    def outbox(self) -> list[Notification]:
        """Return all notifications, the oldest first."""
        with self.database.read() as tx:
            return notifications.listing(tx)[::-1]


@pytest.fixture
def notify(authority: Authority) -> NotifySettings:
    """Return settings that lose no time between attempts, and give a busy machine some."""
    return NotifySettings(
        from_address="gatekeeper@hospital.example",
        webhook_key=KEY,
        plain_hosts=("127.0.0.1",),
        ca=str(authority.file),
        smtp_host="127.0.0.1",
        attempt_seconds=30.0,
        poll_seconds=0.05,
        retry_seconds=0.0,
        maximum_attempts=2,
    )


@pytest.fixture
def site(sqlite_url: str, notify: NotifySettings) -> Any:
    """Give a site of its own to the test."""
    database = Database.connect(sqlite_url, lock_seconds=30)
    yield Site(database, dataclasses.replace(Settings(), notify=notify))
    database.dispose()
