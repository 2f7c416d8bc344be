"""Files of prior studies go like others: once they are old, and nobody waits for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatekeeper import ledger
from gatekeeper.retention import retain
from gatekeeper.settings import RetentionSettings
from storage import instances, priors
from storage.engine import Database
from storage.records import Instance
from storage.schema import forward
from storage.spool import Spool

DAY = RetentionSettings(days=1e-9)
NEVER = RetentionSettings(days=1000)


@pytest.fixture
def spool(tmp_path: Path, database: Database) -> Spool:
    """Return a spool with one study and its one prior, received."""
    spool = Spool(tmp_path / "spool")
    with database.begin() as tx:
        for uid, study, prior in (("1.3.1", "1.3", False), ("1.2.1", "1.2", True)):
            kept = spool.store(uid.encode())
            row = Instance(
                uid, "1.9", "1.8", study, f"{study}.9", "MR", kept.digest, kept.size, "PACS",
                prior=prior,
            )  # fmt: skip
            instances.record(tx, row, None)
        priors.request(tx, "1.3", "PACS", "rule", 1, "")
        asked = priors.claim(tx, "test", 60)
        assert asked is not None
        assert priors.answered(tx, asked, ["1.2"])
    return spool


def receive(database: Database) -> None:
    with database.begin() as tx:
        claimed = priors.claim(tx, "test", 60)
        assert claimed is not None
        assert priors.received(tx, claimed)


def removed(database: Database) -> bool:
    with database.read() as tx:
        [one] = instances.find(tx, "1.2.1")
    return one.removed_at is not None


def test_a_prior_goes_when_it_is_old_and_not_being_fetched(
    database: Database, spool: Spool
) -> None:
    """Its row stays, and the books balance."""
    assert retain(database, spool, DAY) == 0
    receive(database)
    assert retain(database, spool, NEVER) == 0

    assert retain(database, spool, DAY) == 1

    assert removed(database)
    books = ledger.balance(database, spool)
    assert [entry for entry in books.differences if entry.account == "prior"] == []
    assert retain(database, spool, DAY) == 0


def test_a_prior_stays_while_its_study_is_to_be_forwarded(database: Database, spool: Spool) -> None:
    """What is downstream gets the priors first."""
    receive(database)
    with database.begin() as tx:
        row = {"study_instance_uid": "1.3", "content_digest": "c" * 64, "revision": 1}
        more = {"node": "AI", "gated": True, "state": "held", "created_at": 0.0, "verdict": ""}
        tx.execute(forward.insert().values(**row, **more, reason="", decided_by=""))
    assert retain(database, spool, DAY) == 0
    with database.begin() as tx:
        tx.execute(forward.update().values(state="sent"))

    assert retain(database, spool, DAY) == 1


def test_the_books_know_a_prior_that_nobody_asked_for(database: Database, spool: Spool) -> None:
    """And one that is received without an instance."""
    receive(database)
    with database.begin() as tx:
        kept = spool.store(b"stray")
        row = Instance(
            "1.5.1", "1.9", "1.8", "1.5", "1.5.9", "MR", kept.digest, kept.size, "PACS", prior=True
        )
        instances.record(tx, row, None)
        asked = priors.request(tx, "1.3", "PACS", "other rule", 1, "")
        claimed = priors.claim(tx, "test", 60)
        assert claimed is not None
        assert claimed.id == asked
        priors.answered(tx, claimed, ["1.6"])
    receive(database)

    found = {(one.account, one.cause) for one in ledger.balance(database, spool).differences}

    assert ("instance", "it is kept as part of a prior study that nobody asked for") in found
    assert ("prior", "it is received and no instance of it has a row") in found
