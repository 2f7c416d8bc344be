"""What nodes asked us to commit to: one row a transaction, decided once, reported at least once."""

from __future__ import annotations

import pytest

from storage import commitments
from storage.commitments import TransactionInUseError
from storage.engine import Database
from storage.records import Commitment, CommitmentItem, CommitmentState

ITEMS = [CommitmentItem("1.2.840", f"1.2.3.{number}") for number in range(3)]


def ask(database: Database, items: list[CommitmentItem] = ITEMS) -> Commitment | None:
    with database.begin() as tx:
        return commitments.request(tx, "CT1", "1.9", items, "listener", 60.0)


def asked(database: Database) -> Commitment:
    found = ask(database)
    assert found is not None
    return found


def test_a_request_is_held_by_who_kept_it_and_decided_under_its_attempt(
    database: Database,
) -> None:
    """Nobody else claims it meanwhile, and a stale attempt decides nothing."""
    made = asked(database)

    with database.begin() as tx:
        assert not commitments.due(tx)
        assert commitments.claim(tx, "sender", 60.0) is None
        assert commitments.decide(tx, made.id, made.attempt, [None, 0x0112, None])
        assert not commitments.decide(tx, made.id, made.attempt + 1, [0x0110] * 3)
        found = [one.failure for one in commitments.items_of(tx, made.id)]
        assert found == [None, 0x0112, None]
        assert commitments.reported(tx, made.id, made.attempt)
        assert not commitments.reported(tx, made.id, made.attempt)
        assert commitments.counts(tx)[CommitmentState.REPORTED] == 1


def test_a_transaction_that_is_repeated_is_one_request(database: Database) -> None:
    """Under way it changes nothing; reported or dead it is decided and reported once more."""
    made = asked(database)
    assert ask(database) is None
    with database.begin() as tx:
        commitments.decide(tx, made.id, made.attempt, [0x0112] * 3)
        commitments.reported(tx, made.id, made.attempt)

    again = asked(database)

    assert (again.id, again.attempt, again.decided_at) == (made.id, made.attempt + 1, None)
    with database.begin() as tx:
        assert commitments.decide(tx, again.id, again.attempt, [None] * 3)
        assert [one.failure for one in commitments.items_of(tx, made.id)] == [None] * 3


def test_a_transaction_used_for_other_instances_is_refused(database: Database) -> None:
    """A Transaction UID names one request."""
    asked(database)

    with pytest.raises(TransactionInUseError):
        ask(database, ITEMS[:2])


def test_a_report_whose_holder_died_is_owed_again(database: Database) -> None:
    """After the lease it is rescued and claimed, with the next attempt's number."""
    with database.begin() as tx:
        made = commitments.request(tx, "CT1", "1.9", ITEMS, "listener", -1.0)
        assert made is not None
        assert commitments.rescue(tx, 3, 0.0).requeued == 1
        assert commitments.due(tx)
        assert commitments.claim(tx, "sender", 60.0, ["CT1"]) is None
        claimed = commitments.claim(tx, "sender", 60.0)

    assert claimed is not None
    assert (claimed.id, claimed.attempt) == (made.id, 2)
