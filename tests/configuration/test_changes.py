"""Every change is a version: who, when, why, and the whole of what was in force."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from configuration.documents import SETTINGS, WHOLE, documents
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, update
from sqlalchemy.exc import DBAPIError

from gatekeeper.configuration import changes, choice, history, policy
from gatekeeper.configuration.changes import (
    ConfigurationMoved,
    ConfigurationRefused,
    changing,
    noticed,
    put,
)
from gatekeeper.configuration.document import digest_of
from gatekeeper.errors import ConfigurationError
from models.activation import ACTIVE, ProfileKey
from storage import active_bundles, channels, nodes, policies
from storage import configuration_versions as versions
from storage.engine import Database
from storage.records import ActiveBundle, ConfigurationVersion, Node
from storage.schema import configuration_version as table

PACS = Node("PACS", "10.1.9.9", 104, receives_results=True)
T1 = ProfileKey("MR", "BRAIN", "T1")


def add(database: Database, node: Node, **options: Any) -> None:
    with changing(database, "anna", f"add {node.ae_title}", SETTINGS, **options) as tx:
        nodes.save(tx, node)


def listed(database: Database) -> list[ConfigurationVersion]:
    """Return the versions, oldest first."""
    with database.read() as tx:
        return versions.listing(tx, 1000)[::-1]


def in_force(database: Database) -> Any:
    with database.read() as tx:
        return WHOLE.read(tx)


def test_a_change_is_a_version_with_who_when_and_why(database: Database) -> None:
    """After a first version of what was there before."""
    add(database, PACS)

    first, second = listed(database)
    assert (first.number, first.who, first.document) == (1, changes.OURSELVES, {})
    assert (second.number, second.who, second.why) == (2, "anna", "add PACS")
    assert second.at >= first.at > 0
    assert second.document == in_force(database)
    assert second.document["nodes"]["PACS"] == {
        "host": "10.1.9.9",
        "port": 104,
        "receives_results": True,
    }
    assert second.digest == digest_of(second.document)


def test_what_changes_nothing_is_no_version(database: Database) -> None:
    """Saving a node as it is leaves the versions as they are."""
    add(database, PACS)
    add(database, PACS)

    assert [one.number for one in listed(database)] == [1, 2]


def test_a_change_that_breaks_off_leaves_neither_rows_nor_versions(database: Database) -> None:
    """Both are one transaction."""
    add(database, PACS)
    with pytest.raises(ZeroDivisionError), changing(database, "anna", "", SETTINGS) as tx:
        nodes.remove(tx, "PACS")
        raise ZeroDivisionError

    assert [one.number for one in listed(database)] == [1, 2]
    assert "PACS" in in_force(database)["nodes"]


def test_a_change_that_brings_a_problem_is_refused(database: Database) -> None:
    """By name; a problem that was there already hinders no other change."""
    with database.begin() as tx:
        nodes.save(tx, replace(PACS, language="tlh"))
    with (
        pytest.raises(ConfigurationRefused, match=r"^models.MR/BRAIN/T1: bundle gone"),
        changing(database, "anna", "", SETTINGS) as tx,
    ):
        active_bundles.save(tx, ActiveBundle(str(T1), "gone"))
    add(database, Node("CT1", "10.1.2.3", 0, may_send=True))

    assert sorted(in_force(database)["nodes"]) == ["CT1", "PACS"]


def test_a_document_with_a_problem_is_refused_before_anything_is_written(
    database: Database,
) -> None:
    """All of its problems are named."""
    wanted = WHOLE.parse(
        {
            "nodes": {
                "PACS": {"host": "h", "port": 104, "may_send": True},
                "BAD": {"host": "", "port": 70000},
            },
            "models": {"MR/BRAIN/T1": {"bundle": "gone"}},
        }
    )
    with pytest.raises(ConfigurationRefused) as refused:
        put(database, wanted, "anna", "", SETTINGS)

    assert [text.split(":")[0] for text in refused.value.problems] == [
        "nodes.BAD",
        "models.MR/BRAIN/T1",
    ]
    assert in_force(database) == {}


def test_a_rule_that_names_what_the_document_lacks_is_refused(database: Database) -> None:
    """The rule and the place are named, before anything is written; so is a node's removal."""
    wanted = WHOLE.parse(
        {
            "nodes": {"PACS": {"host": "h", "port": 104, "receives_results": True}},
            "channels": {"mri": {"kind": "email", "address": "mri@hospital.example"}},
            "rules": {
                "motion": {"when": ["verdict is SUSPECT"], "then": [{"notify": "mri"}]},
                "trauma": {"then": [{"forward": "PACS"}]},
            },
        }
    )
    put(database, wanted, "anna", "", SETTINGS)
    before = in_force(database)
    without = {name: items for name, items in wanted.items() if name != "nodes"}

    with pytest.raises(ConfigurationRefused, match=r"^rules.trauma: then\[0\].forward: no node"):
        put(database, without, "anna", "", SETTINGS)
    with (
        pytest.raises(ConfigurationRefused, match=r"rules.motion: then\[0\].notify: no channel"),
        changing(database, "anna", "", SETTINGS) as tx,
    ):
        channels.remove(tx, "mri")
    assert in_force(database) == before == wanted


def test_versions_can_be_neither_changed_nor_removed(database: Database) -> None:
    """The database itself refuses, whoever asks."""
    add(database, PACS)
    for statement in (
        update(table).values(who="somebody else"),
        delete(table).where(table.c.number == 1),
    ):
        with pytest.raises(DBAPIError, match="append-only"), database.begin() as tx:
            tx.execute(statement)
    if database.dialect == "postgresql":
        with pytest.raises(DBAPIError, match="append-only"), database.begin() as tx:
            tx.exec_driver_sql("TRUNCATE configuration_version")

    assert [one.who for one in listed(database)] == [changes.OURSELVES, "anna"]


def test_what_was_written_past_us_is_recorded_before_the_next_change(database: Database) -> None:
    """As a change by nobody known, so that the next one is not blamed for it."""
    add(database, PACS)
    with database.begin() as tx:
        nodes.save(tx, replace(PACS, port=11112))
    add(database, Node("CT1", "10.1.2.3", 0, may_send=True))

    assert [one.who for one in listed(database)] == [
        changes.OURSELVES,
        "anna",
        changes.UNKNOWN,
        "anna",
    ]
    outside, own = listed(database)[2:]
    assert outside.document["nodes"]["PACS"]["port"] == 11112
    assert "CT1" not in outside.document["nodes"]
    assert "CT1" in own.document["nodes"]


def test_what_was_written_past_us_is_noticed_once(database: Database) -> None:
    """Looking twice records it once."""
    add(database, PACS)
    with database.begin() as tx:
        policies.save(tx, "models.false_hold_rate", 0.1)

    assert (noticed(database, SETTINGS).number, noticed(database, SETTINGS).number) == (3, 3)
    assert [one.who for one in listed(database)][2:] == [changes.UNKNOWN]


def test_administrators_at_once_lose_no_change(database: Database) -> None:
    """Served one after the other: each version has what the ones before it did."""
    noticed(database, SETTINGS)
    at_once = threading.Barrier(4)

    def change(number: int) -> None:
        at_once.wait(30)
        add(database, Node(f"CT{number}", "10.1.2.3", 0, may_send=True))

    threads = [threading.Thread(target=change, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    found = listed(database)
    assert [one.number for one in found] == [1, 2, 3, 4, 5]
    assert [len(one.document.get("nodes", {})) for one in found] == [0, 1, 2, 3, 4]
    assert {one.who for one in found[1:]} == {"anna"}


def test_a_change_made_for_another_version_is_refused(database: Database) -> None:
    """What an administrator looked at is not what is in force any more."""
    add(database, PACS)
    add(database, replace(PACS, port=11112), expect=2)
    with pytest.raises(ConfigurationMoved, match="at version 3, not 2"):
        add(database, replace(PACS, port=4242), expect=2)

    assert in_force(database)["nodes"]["PACS"]["port"] == 11112


def test_a_change_past_us_counts_as_a_move(database: Database) -> None:
    """An import does not silently undo what somebody wrote to the database."""
    add(database, PACS)
    with database.begin() as tx:
        nodes.remove(tx, "PACS")
    with pytest.raises(ConfigurationMoved, match="at version 3, not 2"):
        add(database, Node("CT1", "10.1.2.3", 0, may_send=True), expect=2)


@settings(
    max_examples=10,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(wanted=st.lists(documents(), min_size=1, max_size=2), place=st.integers(0, 2))
def test_returning_to_a_version_gives_its_document(
    sqlite_url: str, wanted: list[Any], place: int
) -> None:
    """Whatever came in between; the return is itself a version."""
    fresh = Path(sqlite_url.removeprefix("sqlite:///"))
    with tempfile.TemporaryDirectory(dir=fresh.parent) as folder:
        database = Database.connect(f"sqlite:///{shutil.copy(fresh, folder)}")
        try:
            _return_to(database, wanted, place)
        finally:
            database.dispose()


def _return_to(database: Database, wanted: list[Any], place: int) -> None:
    for document in wanted:
        put(database, document, "anna", "", SETTINGS)
        assert in_force(database) == document
    before = listed(database)
    chosen = before[place % len(before)]
    put(database, chosen.document, "anna", "", SETTINGS, restored_from=chosen.number)

    assert in_force(database) == chosen.document
    after = listed(database)
    assert after[: len(before)] == before
    assert after[-1].digest == chosen.digest
    if len(after) > len(before):
        assert after[-1].restored_from == chosen.number


def test_going_back_twice_undoes_two_changes(database: Database) -> None:
    """Changes of other sections in between do not count, nor does what was undone."""

    def choose(name: str) -> None:
        with changing(database, "anna", f"choose {name}", SETTINGS) as tx:
            active_bundles.save(tx, ActiveBundle(str(T1), name))

    def go_back() -> str | None:
        now = noticed(database, SETTINGS)
        with database.read() as tx:
            before = history.previous(tx, "models")
        assert before is not None
        wanted = history.with_section(now.document, "models", before.document)
        put(database, wanted, "anna", "", SETTINGS, restored_from=before.number)
        return in_force(database).get("models", {}).get(str(T1), {}).get("bundle")

    choose("mr-brain-t1-atlas")
    add(database, PACS)
    choose("mr-brain-t1-intensity")
    add(database, replace(PACS, port=11112))

    assert go_back() == "mr-brain-t1-atlas"
    add(database, replace(PACS, port=4242))
    assert go_back() is None
    with database.read() as tx:
        assert history.previous(tx, "models") is None
    choose("mr-brain-t1")
    assert go_back() is None
    assert in_force(database)["nodes"]["PACS"]["port"] == 4242


@pytest.fixture
def with_file(tmp_path: Path) -> Callable[[str], Any]:
    """Return a maker of settings whose folder of bundles has a choice of an earlier version."""

    def make(content: str) -> Any:
        folder = tmp_path / "bundles"
        folder.mkdir()
        (folder / ACTIVE).write_text(content)
        return replace(SETTINGS, models=replace(SETTINGS.models, directory=str(folder)))

    return make


def test_the_choice_of_an_earlier_version_is_taken_over_once(
    database: Database, with_file: Callable[[str], Any]
) -> None:
    """It answers before and after; a later change of the file does nothing."""
    content = {"format": 1, "active": {str(T1): "mr-brain-t1-atlas"}, "history": []}
    site = with_file(json.dumps(content))

    def chosen() -> Any:
        with database.read() as tx:
            return choice.chosen(tx, site)

    assert chosen() == {T1: "mr-brain-t1-atlas"}
    first = noticed(database, site)
    assert "1 active bundles taken over" in first.why
    assert chosen() == {T1: "mr-brain-t1-atlas"}
    with changing(database, "anna", "the default again", site) as tx:
        active_bundles.remove(tx, str(T1))
    assert chosen() == {}
    assert choice.file_of(site) is not None


def test_a_choice_that_cannot_be_taken_over_leaves_nobody_to_answer(
    database: Database, with_file: Callable[[str], Any]
) -> None:
    """And nothing is changed until somebody repairs or removes the file."""
    site = with_file("{")

    with database.read() as tx:
        assert choice.chosen(tx, site) is None
    with (
        pytest.raises(ConfigurationError, match="cannot be read: repair it"),
        changing(database, "anna", "", site) as tx,
    ):
        nodes.save(tx, PACS)
    assert listed(database) == []


def test_policy_is_the_database_over_the_settings(database: Database) -> None:
    """A value that cannot be used leaves the settings' own in force and is named."""
    with changing(database, "anna", "", SETTINGS) as tx:
        policies.save(tx, "models.false_hold_rate", 0.02)
    with database.read() as tx:
        found = policy.in_force(tx, SETTINGS)
    assert found == replace(SETTINGS, models=replace(SETTINGS.models, false_hold_rate=0.02))

    with database.begin() as tx:
        policies.save(tx, "models.false_hold_rate", 3)
        policies.save(tx, "listen.port", 3)
    with database.read() as tx:
        assert policy.in_force(tx, SETTINGS) == SETTINGS
        problems = WHOLE.problems(WHOLE.read(tx))
    assert [text.split(":")[0] for text in problems] == [
        "policy.listen.port",
        "policy.models.false_hold_rate",
    ]
