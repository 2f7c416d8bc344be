"""The audit trail: append-only, chained, and telling what was done to it."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import exc, text

from storage import audit
from storage.engine import Database

STATEMENTS = [
    "UPDATE audit SET actor = 'somebody else'",
    "DELETE FROM audit",
    "DELETE FROM audit WHERE id = 2",
]


def write(database: Database, count: int = 3) -> list[str]:
    """Write lines and return their digests."""
    found: list[str] = []
    for number in range(count):
        with database.begin() as tx:
            detail = {"reason": f"größer {number}", "hours": 0.1 + 0.2, "nodes": ("A", "B")}
            line = audit.append(tx, "Dr Who", "release", "1.2.3", number, detail)
        found.append(line.digest)
    return found


def test_each_line_is_chained_to_the_one_before(database: Database) -> None:
    """And the whole verifies, by another connection too, to the last bit of a float."""
    assert audit.BEGINNING == "0" * 64
    digests = write(database)

    with database.read() as tx:
        lines = audit.listing(tx)
        found = audit.verify(tx)
    assert [line.digest for line in reversed(lines)] == digests
    assert [line.previous for line in reversed(lines)] == [audit.BEGINNING, *digests[:-1]]
    assert (found.lines, found.head, found.broken) == (3, digests[-1], None)


@pytest.mark.parametrize("statement", STATEMENTS)
def test_the_database_refuses_to_change_or_delete(database: Database, statement: str) -> None:
    """Whoever asks: the triggers are the database's own."""
    write(database)

    with pytest.raises(exc.DBAPIError, match="append-only"), database.begin() as tx:
        tx.execute(text(statement))

    with database.read() as tx:
        assert audit.verify(tx).lines == 3


def test_there_are_no_ways_around(database: Database) -> None:
    """REPLACE on SQLite and TRUNCATE on PostgreSQL, which are no DELETE, are refused too."""
    write(database)
    replace = (
        "INSERT OR REPLACE INTO audit SELECT id, at, 'x', action, study, job, detail, previous, "
        "'f' FROM audit WHERE id = 2"
    )
    statement = replace if database.dialect == "sqlite" else "TRUNCATE audit"

    with pytest.raises(exc.DBAPIError, match="append-only"), database.begin() as tx:
        tx.execute(text(statement))


@pytest.mark.parametrize(
    ("statement", "line", "problem"),
    [
        ("UPDATE audit SET actor = 'x' WHERE id = 2", 2, "its content was changed"),
        ("UPDATE audit SET at = at + 1 WHERE id = 2", 2, "its content was changed"),
        ("DELETE FROM audit WHERE id = 2", 3, "does not follow the line before"),
        ("DELETE FROM audit WHERE id = 1", 2, "does not follow the line before"),
    ],
)
def test_what_was_done_past_the_triggers_is_found(
    database: Database, statement: str, line: int, problem: str
) -> None:
    """By somebody who may drop them."""
    write(database)
    lift_triggers(database)
    with database.begin() as tx:
        tx.execute(text(statement))

    with database.read() as tx:
        found = audit.verify(tx)

    assert found.broken == line
    assert problem in found.problem


def test_newest_lines_that_were_cut_off_are_missed_by_a_digest_kept_elsewhere(
    database: Database,
) -> None:
    """The chain alone cannot know that it was longer."""
    *_, head = write(database)
    lift_triggers(database)
    with database.begin() as tx:
        tx.execute(text("DELETE FROM audit WHERE id = 3"))

    with database.read() as tx:
        assert audit.verify(tx).broken is None
        assert "were cut off" in audit.verify(tx, head).problem


def test_writers_at_once_make_one_chain(database: Database, database_url: str) -> None:
    """Each waits for the other's commit."""
    others = [Database.connect(database_url, lock_seconds=30) for _ in range(4)]
    start = threading.Barrier(4)

    def append(mine: Database) -> None:
        start.wait(20)
        write(mine, 5)

    threads = [threading.Thread(target=append, args=(mine,)) for mine in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for mine in others:
        mine.dispose()

    with database.read() as tx:
        found = audit.verify(tx)
    assert (found.lines, found.broken) == (20, None)


def test_a_line_is_there_only_with_what_it_is_about(database: Database) -> None:
    """A transaction that is undone leaves none."""
    with pytest.raises(RuntimeError), database.begin() as tx:
        audit.append(tx, "policy", "forward", "1.2.3")
        raise RuntimeError

    with database.read() as tx:
        assert audit.verify(tx) == audit.Verified(0, audit.BEGINNING)


def test_a_detail_that_is_not_json_is_refused(database: Database) -> None:
    """NaN has no canonical form."""
    with pytest.raises(ValueError, match="JSON"), database.begin() as tx:
        audit.append(tx, "policy", "forward", detail={"p": float("nan")})


def lift_triggers(database: Database) -> None:
    with database.begin() as tx:
        if database.dialect == "postgresql":
            tx.execute(text("ALTER TABLE audit DISABLE TRIGGER USER"))
            return
        for name in ("audit_no_update", "audit_no_delete", "audit_no_replace"):
            tx.execute(text(f"DROP TRIGGER {name}"))
