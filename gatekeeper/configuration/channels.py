"""The section `channels`: who is told what happens. Passwords and keys stay in the settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from gatekeeper.configuration.document import Document, Items
from gatekeeper.configuration.fields import item_of, record_of
from gatekeeper.errors import ConfigurationError
from gatekeeper.notify.address import channel_name, mail_address, webhook_target
from gatekeeper.notify.events import Event
from storage import channels
from storage.records import Channel, ChannelKind
from storage.schema import channel as table

NAME = "channels"


@dataclass(frozen=True, slots=True)
class ChannelsSection:
    """Channels by name.

    Attributes:
        plain_hosts: hosts that may be called by http; see `notify.plain_hosts`.
    """

    plain_hosts: tuple[str, ...]
    name: str = NAME
    title: str = "Who is told what happens, by e-mail or webhook."
    tables: tuple[Any, ...] = (table,)

    def read(self, tx: Connection) -> Items:
        """Return the channels in force; see `Section.read`."""
        return {one.name: item_of(one, without="name") for one in channels.listing(tx)}

    def parse(self, items: Mapping[str, Any]) -> Items:
        """Return checked channels; see `Section.parse`."""
        return {name: item_of(_channel(name, item), without="name") for name, item in items.items()}

    def problems(self, document: Document) -> list[str]:
        """Return what is wrong with the channels; see `Section.problems`."""
        found: list[str] = []
        for name, item in document.get(NAME, {}).items():
            try:
                self._check(_channel(name, item))
            except ConfigurationError as error:
                found.append(f"{NAME}.{name}: {error}")
        return found

    def _check(self, channel: Channel) -> None:
        channel_name(channel.name)
        if channel.kind is ChannelKind.EMAIL:
            mail_address(channel.address, "address")
        else:
            webhook_target(channel.address, self.plain_hosts)
        known = [str(event) for event in Event]
        for event in channel.events:
            if event not in known:
                raise ConfigurationError("events", f"no event {event!r}; one of {', '.join(known)}")

    def write(self, tx: Connection, items: Items) -> None:
        """Have these channels in force; see `Section.write`."""
        before = {one.name: one for one in channels.listing(tx)}
        for name in before.keys() - items.keys():
            channels.remove(tx, name)
        for name, item in items.items():
            channel = _channel(name, item)
            if before.get(name) != channel:
                channels.save(tx, channel)


def _channel(name: str, item: Mapping[str, Any]) -> Channel:
    return record_of(Channel, f"{NAME}.{name}", item, name=name)
