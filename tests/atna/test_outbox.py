"""The outbox: durable, bounded, each event once, and everything that was lost is counted."""

from __future__ import annotations

import random
from typing import Any

import pytest
from atna.conftest import Site

from gatekeeper.atna import outbox, upkeep
from gatekeeper.atna.derived import derive
from gatekeeper.atna.events import UserAuthentication
from storage import audit_messages
from storage.records import AuditMessageState

AT = 1_780_000_000.0


def login(user: str) -> UserAuthentication:
    return UserAuthentication(user, "10.0.0.9", AT)


def counts(site: Site) -> dict[AuditMessageState, int]:
    with site.database.read() as tx:
        return audit_messages.counts(tx)


def drops(site: Site) -> dict[str, int]:
    with site.database.read() as tx:
        return {one.event: one.count for one in audit_messages.drops(tx)}


def test_an_event_noticed_twice_is_one_message(site: Site) -> None:
    """The key of an event, not how often it is recorded, makes the message."""
    assert site.record(login("ada"), "login:1") is not None
    assert site.record(login("ada"), "login:1") is None
    assert site.record(login("ada")) is not None

    assert site.events() == [("user-authentication", "ada")] * 2


def test_nothing_is_recorded_while_audit_messages_are_off(site: Site) -> None:
    """Without a host the outbox stays empty."""
    site.change(host="")

    assert site.record(login("ada")) is None
    assert derive(site.database, site.settings) == 0

    assert site.outbox() == []


def test_a_message_is_undone_with_the_transaction_of_its_event(site: Site) -> None:
    """What did not happen is not told."""
    with pytest.raises(ZeroDivisionError), site.database.begin() as tx:
        outbox.record(tx, site.settings, login("ada"))
        raise ZeroDivisionError

    assert site.outbox() == []


def test_a_full_outbox_counts_what_it_does_not_keep_and_tells_of_it_once_there_is_room(
    site: Site,
) -> None:
    """Nothing is lost silently: the count is on record, and itself becomes a message."""
    site.change(backlog=3)
    for number in range(5):
        site.record(login(f"user {number}"))

    assert site.events() == [("user-authentication", f"user {number}") for number in range(3)]
    assert drops(site) == {"user-authentication": 2}
    assert derive(site.database, site.settings) == 0

    with site.database.begin() as tx:
        for one in audit_messages.claim(tx, "test", 60, 10):
            audit_messages.sent(tx, one.id, one.attempt)
    assert derive(site.database, site.settings) == 1
    assert derive(site.database, site.settings) == 0
    assert site.events()[-1] == ("security-alert", "gatekeeper:audit/messages")
    assert drops(site) == {"user-authentication": 2}


def test_a_claim_whose_sender_was_lost_is_taken_back_and_what_is_old_forgotten(
    site: Site,
) -> None:
    """A message survives its sender, and an ended one does not stay for ever."""
    site.record(login("ada"))
    with site.database.begin() as tx:
        (claimed,) = audit_messages.claim(tx, "lost", -1.0, 10)
    upkeep.tend(site.database, site.settings.audit, random.Random(1))
    assert counts(site)[AuditMessageState.QUEUED] == 1

    with site.database.begin() as tx:
        assert not audit_messages.sent(tx, claimed.id, claimed.attempt)
        (again,) = audit_messages.claim(tx, "test", 60, 10)
        assert audit_messages.sent(tx, again.id, again.attempt)
    site.change(keep_days=-1.0)
    upkeep.tend(site.database, site.settings.audit, random.Random(1))
    assert site.outbox() == []


def test_dead_messages_are_queued_again_by_hand(site: Site) -> None:
    """With all their attempts before them."""
    site.record(login("ada"))
    with site.database.begin() as tx:
        (claimed,) = audit_messages.claim(tx, "test", 60, 10)
        audit_messages.fail(tx, claimed.id, claimed.attempt, "no", None)
        assert audit_messages.retry(tx) == 1

    (one,) = site.outbox()
    assert (one.state, one.attempts_before) == (AuditMessageState.QUEUED, 1)


def test_the_log_has_no_content(site: Site, capsys: Any) -> None:
    """Who logs in, or a patient, is for the repository alone."""
    site.record(login("ada lovelace"))

    assert "lovelace" not in "".join(capsys.readouterr())
