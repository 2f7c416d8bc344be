"""Rules as rows: saved, moved, enabled, removed."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from storage import rules
from storage.engine import Database

DOCUMENT: dict[str, Any] = {"when": ["Modality is MR"], "then": [{"forward": "Größe"}]}


def names(tx: Connection) -> list[str]:
    return [row.name for row in rules.listing(tx)]


def test_a_rule_comes_back_as_it_was_saved(database: Database) -> None:
    """Name, document and whether it is asked survive; its time is the database's."""
    with database.begin() as tx:
        rules.save(tx, "a", DOCUMENT, enabled=False)

    with database.read() as tx:
        row = rules.get(tx, "a")
        assert row is not None
        assert (row.name, row.document, row.enabled) == ("a", DOCUMENT, False)
        assert row.updated_at > 0
        assert rules.get(tx, "b") is None


def test_a_new_rule_comes_last_and_a_saved_one_stays_where_it_is(database: Database) -> None:
    """Editing a rule does not change when it is asked."""
    with database.begin() as tx:
        for name in ("c", "a", "b"):
            rules.save(tx, name, DOCUMENT, enabled=True)
        rules.save(tx, "c", {"when": []}, enabled=True)

        assert names(tx) == ["c", "a", "b"]
        assert rules.listing(tx)[0].document == {"when": []}


def test_a_rule_is_moved_to_a_place_and_never_out_of_the_list(database: Database) -> None:
    """Places count from 1; one beyond the end is the end."""
    with database.begin() as tx:
        for name in "abcd":
            rules.save(tx, name, DOCUMENT, enabled=True)

        assert rules.move(tx, "c", 1)
        assert names(tx) == ["c", "a", "b", "d"]
        assert rules.move(tx, "c", 99)
        assert names(tx) == ["a", "b", "d", "c"]
        assert rules.remove(tx, "b")
        rules.save(tx, "e", DOCUMENT, enabled=True)
        assert rules.move(tx, "e", 2)
        assert names(tx) == ["a", "e", "d", "c"]
        assert not rules.move(tx, "b", 1)


def test_a_rule_is_disabled_and_removed_once(database: Database) -> None:
    """Changing what is not there says so."""
    with database.begin() as tx:
        rules.save(tx, "a", DOCUMENT, enabled=True)

        assert rules.enable(tx, "a", enabled=False)
        assert not rules.listing(tx)[0].enabled
        assert rules.remove(tx, "a")
        assert not rules.remove(tx, "a")
        assert not rules.enable(tx, "a", enabled=True)
