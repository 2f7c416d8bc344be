"""The outbox: one notification an event and channel, sent in turn and at least once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import update

from storage import channels, notifications
from storage.engine import Database, now
from storage.notifications import DIGEST
from storage.records import Channel, ChannelKind, Details, Notification, NotificationState
from storage.schema import notification as table

HOURLY = 20
DESK = Channel("desk", ChannelKind.EMAIL, "desk@hospital.example")
HOOK = Channel(
    "hook", ChannelKind.WEBHOOK, "https://hook.example/", ("job-dead",), Details.UIDS, enabled=False
)


def queue(database: Database, *keys: str, channel: str = "desk") -> list[int | None]:
    with database.begin() as tx:
        return [
            notifications.enqueue(tx, channel, "job-dead", "7", {"job": 7, "reason": key}, key)
            for key in keys
        ]


def claim(
    database: Database, hourly: int = HOURLY, channel: str = "desk", lease: float = 60.0
) -> Notification | None:
    with database.begin() as tx:
        return notifications.claim(tx, channel, "sender", lease, hourly)


def send(database: Database, hourly: int = HOURLY) -> Notification:
    """Claim the next one and send it."""
    claimed = claim(database, hourly)
    assert claimed is not None
    with database.begin() as tx:
        assert notifications.sent(tx, claimed.id, claimed.attempt)
    return claimed


def find(database: Database, number: int) -> Notification:
    with database.read() as tx:
        found = notifications.get(tx, number)
    assert found is not None
    return found


def test_a_channel_comes_back_as_it_was_saved(database: Database) -> None:
    """Every field, in the order of the names; a second save replaces, a removal removes."""
    with database.begin() as tx:
        channels.save(tx, HOOK)
        channels.save(tx, DESK)
    with database.begin() as tx:
        assert channels.listing(tx) == [DESK, HOOK]
        assert channels.get(tx, "hook") == HOOK
        assert channels.get(tx, "nobody") is None
        channels.save(tx, Channel("desk", ChannelKind.EMAIL, "other@hospital.example"))
        assert channels.remove(tx, "hook")
        assert not channels.remove(tx, "hook")
        assert [one.address for one in channels.listing(tx)] == ["other@hospital.example"]


def test_a_channel_is_told_what_it_wants_while_it_is_enabled(database: Database) -> None:
    """Without a list it wants all events; disabled it wants none."""
    wants = Channel("some", ChannelKind.EMAIL, "some@hospital.example", ("job-dead",))
    with database.begin() as tx:
        for channel in (DESK, HOOK, wants):
            channels.save(tx, channel)
    with database.read() as tx:
        assert channels.wanting(tx, "job-dead") == [DESK, wants]
        assert channels.wanting(tx, "study-held") == [DESK]


def test_an_event_that_is_noticed_twice_is_one_notification(database: Database) -> None:
    """The key decides, a channel at a time, whatever became of the first."""
    (first,) = queue(database, "a")
    assert first is not None
    send(database)

    assert queue(database, "a") == [None]
    assert queue(database, "a", channel="hook") != [None]
    assert find(database, first).facts == {"job": 7, "reason": "a"}


def test_an_event_that_is_undone_leaves_no_notification(database: Database) -> None:
    """Event and notification are one commit."""
    with pytest.raises(ZeroDivisionError), database.begin() as tx:
        notifications.enqueue(tx, "desk", "job-dead", "7", {}, "a")
        raise ZeroDivisionError

    with database.read() as tx:
        assert notifications.due_channels(tx) == []


def test_a_channel_sends_one_at_a_time_the_oldest_first(database: Database) -> None:
    """While one is under way the channel has no other; another channel has its own."""
    first, second = queue(database, "a", "b")
    queue(database, "a", channel="hook")
    with database.read() as tx:
        assert notifications.due_channels(tx) == ["desk", "hook"]

    held = claim(database)
    assert held is not None
    assert held.id == first
    assert claim(database) is None
    assert claim(database, channel="hook") is not None
    with database.begin() as tx:
        assert notifications.sent(tx, held.id, held.attempt)

    assert send(database).id == second
    with database.read() as tx:
        assert notifications.counts(tx)[NotificationState.SENT] == 2


def test_of_senders_that_claim_at_once_one_has_the_channel(database: Database) -> None:
    """In threads here, in processes there: the rate of a channel is kept by one."""
    queue(database, *"abcd")

    with ThreadPoolExecutor(4) as pool:
        claimed = list(pool.map(lambda _: _claim_saved(database), range(4)))

    assert sum(one is not None for one in claimed) == 1


def _claim_saved(database: Database) -> Notification | None:
    with database.begin() as tx:
        channels.save(tx, DESK)
    return claim(database)


def test_a_stale_attempt_writes_nothing(database: Database) -> None:
    """What was rescued belongs to its next attempt alone, under the same delivery id."""
    (number,) = queue(database, "a")
    assert number is not None
    stale = claim(database, lease=-1.0)
    assert stale is not None
    with database.begin() as tx:
        assert notifications.rescue(tx, 5, 0.0).requeued == 1

    again = claim(database)

    assert again is not None
    assert (again.id, again.delivery_id) == (stale.id, stale.delivery_id)
    with database.begin() as tx:
        assert not notifications.sent(tx, stale.id, stale.attempt)
        assert not notifications.fail(tx, stale.id, stale.attempt, "late", 0.0)
        assert notifications.sent(tx, again.id, again.attempt)
    assert find(database, number).state is NotificationState.SENT


def test_a_failed_one_waits_and_a_dead_one_can_be_retried(database: Database) -> None:
    """A delay holds it back; set aside, it keeps its reason until a person retries it."""
    (number,) = queue(database, "a")
    assert number is not None
    claimed = claim(database)
    assert claimed is not None
    with database.begin() as tx:
        assert notifications.fail(tx, number, claimed.attempt, "no connection", 600.0)
    assert claim(database) is None
    with database.begin() as tx:
        tx.execute(update(table).values(not_before=now()))
    claimed = claim(database)
    assert claimed is not None
    with database.begin() as tx:
        assert not notifications.retry(tx, number)
        assert notifications.fail(tx, number, claimed.attempt, "no connection", None)
    dead = find(database, number)
    assert (dead.state, dead.reason) == (NotificationState.DEAD, "no connection")

    with database.begin() as tx:
        assert notifications.retry(tx, number)
    assert send(database).attempts_before == 2


def test_the_last_message_of_an_hour_is_a_digest_of_all_that_waits(database: Database) -> None:
    """Five at three an hour: two alone, three together, then nothing until the hour is over."""
    numbers = queue(database, *"abcde")

    assert [send(database, 3).id for _ in range(2)] == numbers[:2]
    digest = send(database, 3)

    assert (digest.event, digest.subject) == (DIGEST, "desk")
    with database.read() as tx:
        members = notifications.gathered(tx, digest.id)
        assert notifications.room(tx, "desk", 3) == 0
    assert [one.id for one in members] == numbers[2:]
    assert {one.state for one in members} == {NotificationState.GATHERED}
    queue(database, "f")
    assert claim(database, 3) is None
    with database.begin() as tx:
        tx.execute(update(table).values(finished_at=table.c.finished_at - 3600.0))
    assert send(database, 3).event == "job-dead"


def test_a_single_one_that_waits_takes_the_last_place_as_it_is(database: Database) -> None:
    """A digest of one would say less."""
    (number,) = queue(database, "a")

    assert send(database, 1).id == number


def test_a_digest_that_failed_is_sent_again_as_it_was(database: Database) -> None:
    """The same delivery id and the same members, whatever came since."""
    queue(database, *"ab")
    digest = claim(database, 1)
    assert digest is not None
    with database.begin() as tx:
        notifications.fail(tx, digest.id, digest.attempt, "no connection", 0.0)
    queue(database, "c")

    again = claim(database, 1)

    assert again is not None
    assert (again.id, again.delivery_id) == (digest.id, digest.delivery_id)
    with database.read() as tx:
        assert len(notifications.gathered(tx, digest.id)) == 2


def test_what_ended_long_ago_is_forgotten_and_nothing_else(database: Database) -> None:
    """A digest goes after what it tells of; what waits stays however old it is."""
    queue(database, *"abc")
    send(database, 2)
    send(database, 2)
    (waiting,) = queue(database, "d")
    with database.begin() as tx:
        assert notifications.forget(tx, 1.0) == 0
        tx.execute(update(table).values(finished_at=table.c.finished_at - 2 * 86400.0))
        assert notifications.forget(tx, 1.0) == 4
        assert [one.id for one in notifications.listing(tx)] == [waiting]


def test_listing_is_by_state_and_channel(database: Database) -> None:
    """The newest first, and no more than asked for."""
    first, second = queue(database, "a", "b")
    queue(database, "a", channel="hook")
    send(database)

    with database.read() as tx:
        sent = notifications.listing(tx, NotificationState.SENT)
        mine = notifications.listing(tx, channel="desk")
        assert [one.id for one in sent] == [first]
        assert [one.id for one in mine] == [second, first]
        assert len(notifications.listing(tx, limit=1)) == 1
