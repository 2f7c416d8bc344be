"""Tokens: entered once, found by digest, refused for ever once revoked."""

from __future__ import annotations

import dataclasses

from storage import tokens
from storage.engine import Database
from storage.records import ApiToken, Scope

ROUTER = ApiToken("router", "ab" * 32, (Scope.STOW,), node="ROUTER")
READER = ApiToken("reader", "cd" * 32, (Scope.READ, Scope.STOW))


def test_a_token_is_found_by_its_digest_as_it_was_entered(database: Database) -> None:
    """Name, scopes and node survive; nothing else of it is found."""
    with database.begin() as tx:
        assert tokens.add(tx, ROUTER)
        assert tokens.add(tx, READER, days=1)

    with database.read() as tx:
        found, reader = tokens.find(tx, ROUTER.digest), tokens.find(tx, READER.digest)
        assert tokens.find(tx, "ef" * 32) is None
        assert [one.name for one in tokens.listing(tx)] == ["reader", "router"]
    assert found is not None
    assert found.created_at > 0
    assert dataclasses.replace(found, created_at=0.0) == ROUTER
    assert reader is not None
    assert reader.expires_at is not None
    assert not reader.expired


def test_a_name_is_used_once(database: Database) -> None:
    """A revoked token's name stays taken, so that the record says who had it."""
    with database.begin() as tx:
        assert tokens.add(tx, ROUTER)
        assert tokens.revoke(tx, "router")
        assert not tokens.revoke(tx, "nobody")
        assert not tokens.add(tx, dataclasses.replace(ROUTER, digest="ef" * 32))

    with database.read() as tx:
        found = tokens.find(tx, ROUTER.digest)
    assert found is not None
    assert found.disabled


def test_a_token_expires_by_the_clock_of_the_database(database: Database) -> None:
    """After its days it is there and no longer valid."""
    with database.begin() as tx:
        tokens.add(tx, ROUTER, days=-0.001)

    with database.read() as tx:
        found = tokens.find(tx, ROUTER.digest)
    assert found is not None
    assert found.expired
