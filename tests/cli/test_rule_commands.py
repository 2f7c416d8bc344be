"""`gatekeeper rule`: what an administrator types, and what comes back."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import structlog
from support.objects import write_slices
from typer.testing import CliRunner

from gatekeeper.cli import app
from storage import nodes, rules
from storage.engine import Database
from storage.records import Node, Role

runner = CliRunner()


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """Give one kind of database: both are what `tests/storage/test_rules.py` is about."""
    return sqlite_url


@pytest.fixture
def site(
    tmp_path: Path, database_url: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> Generator[Path]:
    """Stand in an empty folder with a database of its own, in which AI and PACS are nodes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GATEKEEPER_DATABASE_URL", database_url)
    monkeypatch.setenv("GATEKEEPER_SPOOL_LOW_WATER_MIB", "1")
    with database.begin() as tx:
        nodes.save(tx, Node("AI", "127.0.0.1", 104, roles=(Role.DOWNSTREAM,)))
        nodes.save(tx, Node("PACS", "127.0.0.1", 104, roles=(Role.ARCHIVE,)))
    yield tmp_path
    structlog.reset_defaults()


def run(*arguments: str, code: int = 0) -> str:
    answer = runner.invoke(app, ["rule", *arguments])
    assert answer.exit_code == code, answer.output or answer.exception
    return answer.output or str(answer.exception)


def read(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json"))


def test_a_rule_is_added_listed_shown_moved_and_removed(site: Path) -> None:
    """Simple rules by options; what `show` prints is taken by `edit`."""
    mr = ("--when", "Modality is MR", "--when", "series.images > 20")
    run("add", "mr", *mr, "--forward", "AI", "--priority", "urgent")
    run("add", "any", "--any", *mr, "--skip", "--stop", "--position", "1")
    run("add", "old", "--priors", "PACS", "--count", "3", "--disabled")

    assert [row["name"] for row in read("list")] == ["any", "mr", "old"]
    assert "Modality is MR or series.images > 20" in run("list")
    assert read("show", "mr") == {
        "name": "mr",
        "when": ["Modality is MR", "series.images > 20"],
        "then": [{"forward": "AI"}, {"priority": "urgent"}],
    }
    (site / "any.toml").write_text(run("show", "any").replace("MR", "CT"), encoding="utf-8")
    run("edit", "any", "any.toml")
    assert read("show", "any")["when"] == [{"any": ["Modality is CT", "series.images > 20"]}]
    run("move", "mr", "1")
    run("enable", "old")
    run("disable", "mr")
    assert [(row["name"], row["enabled"]) for row in read("list")] == [
        ("mr", False),
        ("any", True),
        ("old", True),
    ]
    run("remove", "any")
    assert [row["name"] for row in read("list")] == ["mr", "old"]


def test_rules_with_groups_come_from_a_file_all_or_none(site: Path) -> None:
    """One that is refused keeps the others out."""
    good = '[[rule]]\nname = "good"\nwhen = [{ none = ["Modality is SR"] }]\n'
    bad = '[[rule]]\nname = "bad"\nthen = [{ forward = "AX" }]\n'
    (site / "rules.toml").write_text(good + 'then = [{ hold = "*" }]\n' + bad, encoding="utf-8")

    assert "no node 'AX'" in run("add", "--file", "rules.toml", code=1)
    assert read("list") == []
    (site / "rules.toml").write_text(good + 'then = [{ hold = "*" }]\n', encoding="utf-8")
    run("add", "--file", "rules.toml")
    assert [row["name"] for row in read("list")] == ["good"]


def test_a_rule_that_could_not_work_is_refused(site: Path) -> None:
    """With the reason; nothing is saved."""
    run("add", "there", "--skip")

    for arguments, told in (
        (("x", "--when", "Modalty is MR", "--forward", "AI"), "meant: Modality"),
        (("x", "--when", "Modality is MR"), "needs an action"),
        (("x", "--forward", "AX"), "no node 'AX'; there are AI, PACS"),
        (("x", "--hold", "AI", "--hours", "-1"), "over 0"),
        (("x", "--notify", "nobody"), "no channel 'nobody'"),
        (("there", "--skip"), "there is a rule 'there'"),
        (("x", "--skip", "--file", "there.toml"), "not both"),
    ):
        assert told in " ".join(run("add", *arguments, code=1).split())
    assert [row["name"] for row in read("list")] == ["there"]


def test_a_rule_that_is_not_there_is_named(site: Path) -> None:
    """By every command that takes a name."""
    for command, *more in (("show",), ("enable",), ("disable",), ("remove",), ("move", "1")):
        assert "rule 'nobody' is not known" in run(command, "nobody", *more, code=1)


def test_a_node_that_rules_name_stays_unless_they_are_disabled(
    site: Path, database: Database
) -> None:
    """Removing it would leave rules that cannot do what they say."""
    run("add", "to AI", "--forward", "AI")
    run("add", "hold", "--hold", "AI")
    run("add", "other", "--forward", "PACS")

    refused = runner.invoke(app, ["node", "remove", "AI"])
    assert refused.exit_code == 1
    assert "rules name node AI: to AI, hold" in str(refused.exception)
    removed = runner.invoke(app, ["node", "remove", "AI", "--force"])

    assert removed.exit_code == 0, removed.output
    assert {row["name"]: row["enabled"] for row in read("list")} == {
        "to AI": False,
        "hold": False,
        "other": True,
    }
    assert "no node 'AI'" in run("enable", "hold", code=1)
    with database.read() as tx:
        assert nodes.get(tx, "AI") is None


def test_check_names_rules_that_cannot_be_asked(site: Path, database: Database) -> None:
    """One that no longer parses, and one whose node has gone."""
    with database.begin() as tx:
        rules.save(tx, "torn", {"when": ["Gone is 1"], "then": [{"skip": True}]}, enabled=True)
        rules.save(tx, "lost", {"then": [{"forward": "AX"}]}, enabled=True)
        rules.save(tx, "off", {"then": [{"forward": "AX"}]}, enabled=False)
        rules.save(tx, "fine", {"then": [{"forward": "AI"}]}, enabled=True)

    answers = json.loads(runner.invoke(app, ["check", "--json"]).stdout)

    found = {one["key"]: one for one in answers if one["key"].startswith("rule.")}
    assert {key: one["ok"] for key, one in found.items()} == {
        "rule.torn": False,
        "rule.lost": False,
        "rule.fine": True,
    }
    assert "planned without it" in found["rule.torn"]["text"]
    assert "no node 'AX'" in found["rule.lost"]["text"]
    assert "not readable" in run("list")


def test_a_folder_is_tried_and_the_reasons_are_shown(site: Path) -> None:
    """Which rules apply, why, to which series, and what would happen; nothing is done."""
    write_slices(site / "study", 4)
    (site / "study" / "notes.txt").write_text("no DICOM file", encoding="utf-8")
    run("add", "mr", "--when", "Modality is MR", "--when", "source is CT1", "--forward", "AI")
    run("add", "ct", "--when", "Modality is CT", "--skip")
    run("add", "suspect", "--when", "verdict is SUSPECT", "--when", "p_value < 0.05", "--hold", "*")

    told = run("test", "study", "--source", "CT1")
    assert "Modality is MR: it is MR" in told
    assert "Modality is CT: it is MR" in told
    assert "forwarded to AI (rule mr)" in told
    assert "Asked once there is a verdict (--verdict, --p): suspect" in told
    assert "1 files are not DICOM" in told

    [answer] = read("test", "study", "--verdict", "suspect", "--p", "0.01", "--source", "CT1")
    matched = {match["rule"]: match["matched"] for match in answer["on_receipt"]["matches"]}
    assert matched == {"mr": True, "ct": False}
    assert answer["once_judged"]["holds"] == [{"node": "", "rule": "suspect", "hours": None}]
    assert "held from every gated node" in run(
        "test", "study", "--verdict", "SUSPECT", "--p", "0.01"
    )
    assert "no verdict 'BAD'" in run("test", "study", "--verdict", "BAD", code=1)


def test_rules_of_a_file_are_tried_before_they_are_saved(site: Path) -> None:
    """At a time of one's choice."""
    write_slices(site / "study", 3)
    (site / "night.toml").write_text(
        'when = ["time between 22:00 and 06:00", "weekday is sunday"]\n'
        'then = [{ priority = "urgent" }]\n',
        encoding="utf-8",
    )

    night = run("test", "study", "--rules", "night.toml", "--at", "2026-07-05T23:30:00")
    day = run("test", "study", "--rules", "night.toml", "--at", "2026-07-05T12:00:00")

    assert "analysed with priority 100" in night
    assert "time between 22:00 and 06:00: it is 12:00:00" in day
    assert read("list") == []
