"""Channels: where an administrator wants to be told what happens here."""

from __future__ import annotations

from sqlalchemy import Connection, RowMapping, delete, select

from storage.engine import facts, insert
from storage.records import Channel, ChannelKind, Details
from storage.schema import channel as table


def save(tx: Connection, channel: Channel) -> None:
    """Enter a channel, or replace the one of the same name."""
    values = {
        "kind": ChannelKind(channel.kind).value,
        "address": channel.address,
        "events": [str(event) for event in channel.events],
        "details": Details(channel.details).value,
        "enabled": channel.enabled,
    }
    tx.execute(
        insert(tx, table)
        .values(name=channel.name, **values)
        .on_conflict_do_update(index_elements=[table.c.name], set_=values)
    )


def get(tx: Connection, name: str) -> Channel | None:
    """Return the channel of this name, or None."""
    row = tx.execute(select(table).where(table.c.name == name)).mappings().one_or_none()
    return None if row is None else _channel(row)


def remove(tx: Connection, name: str) -> bool:
    """Remove a channel; False when there is none. What waits for it is then set aside as dead."""
    return tx.execute(delete(table).where(table.c.name == name)).rowcount == 1


def listing(tx: Connection) -> list[Channel]:
    """Return all channels in the order of their names."""
    return [_channel(row) for row in tx.execute(select(table).order_by(table.c.name)).mappings()]


def wanting(tx: Connection, event: str) -> list[Channel]:
    """Return the enabled channels that want to be told of `event`."""
    return [
        one for one in listing(tx) if one.enabled and (not one.events or str(event) in one.events)
    ]


def lock(tx: Connection, name: str) -> None:
    """Have what is done to this channel in other transactions wait for the end of this one."""
    tx.execute(select(table.c.name).where(table.c.name == name).with_for_update())


def _channel(row: RowMapping) -> Channel:
    return Channel(
        **facts(
            row,
            kind=ChannelKind(row["kind"]),
            events=tuple(row["events"]),
            details=Details(row["details"]),
        )
    )
