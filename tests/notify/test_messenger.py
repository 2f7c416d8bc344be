"""The messenger: at least once, in turn, so many an hour, and no channel in another's way."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

from notify.conftest import KEY, Site
from sqlalchemy import update
from support.ears import webhook
from support.processes import is_up, role
from support.waiting import until

from gatekeeper import ledger, status
from gatekeeper.notify.events import DeliveryDead, JobDead
from gatekeeper.notify.messenger import Messenger
from storage import channels, notifications
from storage.engine import Database
from storage.records import NotificationState
from storage.schema import notification as table
from storage.spool import Spool

PATIENCE = 60
STUDY = "1.2.826.0.1.77.5"


def dead(number: int) -> JobDead:
    return JobDead(job=number, study=f"{STUDY}.{number}", reason="analysis failed")


@contextlib.contextmanager
def running(site: Site) -> Generator[None]:
    messenger = Messenger(site.database, site.settings, "test")
    messenger.start()
    try:
        yield
    finally:
        messenger.stop(PATIENCE)


def all_are(site: Site, state: NotificationState) -> None:
    until(
        lambda: all(one.state is state for one in site.outbox()), PATIENCE, f"all are {state.value}"
    )


def test_what_an_answer_of_500_left_is_told_again_under_its_delivery_id(site: Site) -> None:
    """The receiver can tell that it is the same."""
    with webhook(500) as hook, running(site):
        site.channel("hook", hook.url())
        site.announce(dead(1))
        all_are(site, NotificationState.SENT)

    assert [post.headers["Gatekeeper-Delivery"] for post in hook.posts] == [
        site.outbox()[0].delivery_id
    ] * 2


def test_what_is_never_taken_goes_dead_with_its_reason_for_all_to_see(
    site: Site, tmp_path: Path
) -> None:
    """After the maximum of attempts: in the status, in the ledger, and retried by hand."""
    with webhook(500, 503) as hook:
        site.channel("hook", hook.url())
        site.announce(dead(1))
        with running(site):
            all_are(site, NotificationState.DEAD)
        (found,) = site.outbox()
        assert (found.attempt, found.reason) == (2, "the webhook answered 503")

        spool = Spool(tmp_path / "spool")
        shown = dict(status.read(site.database, spool).lines())["notifications"]
        books = ledger.balance(site.database, spool)
        assert "[bold red]1 dead[/]" in shown
        assert books.balanced
        assert [(one.account, one.cause) for one in books.remarks] == [
            ("notification", "channel hook was not told: the webhook answered 503")
        ]

        with site.database.begin() as tx:
            assert notifications.retry(tx, found.id)
        with running(site):
            all_are(site, NotificationState.SENT)


def test_a_dead_channel_delays_no_other(site: Site) -> None:
    """While one hangs in an answer that does not end, the other is told everything."""
    with webhook(*["drip"] * 9) as hanging, webhook() as quick:
        site.channel("hanging", hanging.url())
        site.channel("quick", quick.url())
        for number in range(3):
            site.announce(dead(number), str(number))
        with running(site):
            until(lambda: len(quick.posts) == 3, PATIENCE, "the quick one is told")
            assert len(hanging.posts) <= 1
            hanging.ended.set()


def test_a_disabled_channel_waits_and_one_that_is_gone_does_not(site: Site) -> None:
    """Disabled is a pause; removed, what waits is set aside with that reason."""
    with webhook() as hook:
        for name in ("paused", "gone"):
            site.channel(name, hook.url())
        site.announce(dead(1))
        site.channel("paused", hook.url(), enabled=False)
        with site.database.begin() as tx:
            channels.remove(tx, "gone")
        assert site.announce(dead(2), "2") == 0
        with running(site):
            until(lambda: site.look(1).state is NotificationState.DEAD, PATIENCE, "one is dead")

    assert {one.channel: (one.state, one.reason) for one in site.outbox()} == {
        "gone": (NotificationState.DEAD, "channel gone is not known"),
        "paused": (NotificationState.QUEUED, ""),
    }
    assert hook.posts == []


def test_a_burst_ends_in_one_digest(site: Site) -> None:
    """Seven at three an hour are three messages, the last of which names five."""
    site.change(hourly=3, digest_lines=4)
    with webhook() as hook:
        site.channel("hook", hook.url())
        for number in range(6):
            site.announce(dead(number), str(number))
        site.announce(DeliveryDead(delivery=4, node="PACS", reason="no connection"), "4")
        with running(site):
            until(lambda: len(hook.posts) == 3, PATIENCE, "three messages")

    digest = json.loads(hook.posts[-1].body)
    assert digest["event"] == "digest"
    assert digest["counts"] == {"job-dead": 4, "delivery-dead": 1}
    assert [one["number"] for one in digest["notifications"]] == [3, 4, 5, 6]
    assert STUDY not in hook.posts[-1].body.decode()


def test_a_kill_between_the_answer_and_the_commit_sends_again_under_the_same_id(
    site: Site, tmp_path: Path, sqlite_url: str
) -> None:
    """At least once, and the receiver can tell: the role that was killed, and the one after it."""
    settings: dict[str, Any] = {
        "DATABASE_URL": sqlite_url,
        "SPOOL_DIRECTORY": tmp_path / "spool",
        "NOTIFY_WEBHOOK_KEY": KEY,
        "NOTIFY_PLAIN_HOSTS": "127.0.0.1",
        "NOTIFY_POLL_SECONDS": 0.1,
    }
    with webhook() as hook:
        site.channel("hook", hook.url())
        site.announce(dead(1))
        with role("send", tmp_path, "messenger.sent=kill", **settings) as first:
            assert first.died()
        assert site.look(1).state is NotificationState.CLAIMED
        _let_the_lease_end(site.database)
        with role("send", tmp_path, **settings) as second:
            is_up(second, "notification_sent")

    ids = [post.headers["Gatekeeper-Delivery"] for post in hook.posts]
    assert ids == [site.look(1).delivery_id] * 2
    assert site.look(1).state is NotificationState.SENT


def _let_the_lease_end(database: Database) -> None:
    with database.begin() as tx:
        tx.execute(update(table).values(lease_until=0.0))
        assert notifications.rescue(tx, 5, 0.0).requeued == 1
