"""`gatekeeper node`: roles, single changes, and everything about one node."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import structlog
from typer.testing import CliRunner

from gatekeeper.cli import app
from storage import deliveries, instances
from storage.engine import Database
from storage.records import Instance, Result

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

runner = CliRunner()


@pytest.fixture
def site(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    """Stand in an empty folder with a database of its own, configured by the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GATEKEEPER_DATABASE_URL", database_url)
    yield tmp_path
    structlog.reset_defaults()


def run(*arguments: str, code: int = 0) -> str:
    answer = runner.invoke(app, ["node", *arguments])
    assert answer.exit_code == code, answer.output
    return answer.output or str(answer.exception)


def listed() -> dict[str, Any]:
    return {node["ae_title"]: node for node in json.loads(run("list", "--json"))}


def test_a_node_is_added_by_its_role(site: Path) -> None:
    """Scanner, archive and downstream, each with what it implies and what is said beside it."""
    run("add", "MR1", "10.1.2.3", "--role", "scanner", "--sop-class", "mr")
    run("add", "PACS", "10.1.9.9:104", "--role", "archive", "--studies", "--retrieve", "move")
    run("add", "AI", "10.1.9.8:104", "--role", "downstream")
    run("add", "AI2", "10.1.9.7:104", "--role", "downstream", "--no-studies")

    nodes = listed()
    assert nodes["MR1"]["may_send"]
    assert nodes["MR1"]["sop_classes"] == ["MR"]
    assert nodes["PACS"]["receives_results"]
    assert nodes["PACS"]["receives_studies"]
    assert nodes["PACS"]["retrieve"] == "move"
    assert nodes["AI"]["receives_studies"]
    assert not nodes["AI2"]["receives_studies"]
    assert "gated" in run("list")
    assert "at once" in run("list")


def test_a_node_is_no_archive_and_downstream_at_once(site: Path) -> None:
    """What never waits and what always does are two nodes."""
    said = run("add", "X", "h:1", "--role", "archive", "--role", "downstream", code=1)
    assert "not both" in said
    assert listed() == {}


def test_an_edit_changes_what_is_given_and_nothing_else(site: Path) -> None:
    """And says what changed; an empty text forgets, and a change that could not work is refused."""
    run("add", "MR1", "10.1.2.3", "--sends", "--quiet", "90", "--network", "10.1.2.0/24")
    before = listed()["MR1"]

    said = run("edit", "MR1", "--address", "10.1.2.4:104", "--sop-class", "MR", "--quiet", "-1")

    assert "host: 10.1.2.3 -> 10.1.2.4" in said
    changed = {"host": "10.1.2.4", "port": 104, "sop_classes": ["MR"], "quiet_seconds": None}
    assert listed()["MR1"] == before | changed
    run("edit", "MR1", "--network", "", "--sop-class", "all")
    assert listed()["MR1"] == before | changed | {"networks": [], "sop_classes": []}
    assert "say what the node does" in run("edit", "MR1", "--no-sends", code=1)
    assert "as it was" in run("edit", "MR1", "--sends")
    assert "say what is to change" in run("edit", "MR1", code=1)
    assert "not known" in run("edit", "MR2", "--sends", code=1)
    assert "no SOP class" in run("edit", "MR1", "--sop-class", "MRI", code=1)


def test_a_node_is_disabled_and_enabled(site: Path) -> None:
    """Nothing else of it changes."""
    run("add", "PACS", "10.1.9.9:104", "--role", "archive")
    before = listed()["PACS"]
    run("disable", "PACS")
    assert listed()["PACS"] == before | {"enabled": False}
    assert "disabled" in run("show", "PACS")
    run("enable", "PACS")
    assert listed()["PACS"] == before
    assert "not known" in run("disable", "OTHER", code=1)


def test_a_node_is_shown_in_words_with_its_latest_news(site: Path, database: Database) -> None:
    """Who calls whom, what came, what went, what waits and why."""
    run("add", "MR1", "127.0.0.1", "--role", "scanner", "--sop-class", "MR")
    run("add", "PACS", "127.0.0.1:1", "--role", "archive", "--description", "the archive")
    result = Result("1.2.3", "1.2", "1.2.4", "1.2.1", "heatmap", "a" * 64, 10)
    with database.begin() as tx:
        deliveries.create(tx, "PACS", [result])
        made = deliveries.claim(tx, "test", 60)
        assert made is not None
        deliveries.fail(tx, made.id, made.attempt, "out of order", 60)
        row = Instance("1.2.9", "1.2", "1.2.1", "1.2.8", "1.2.7", "MR", "b" * 64, 10, "MR1")
        instances.record(tx, row, None)

    scanner, archive = run("show", "MR1"), run("show", "PACS")

    assert "sends us studies" in scanner
    assert "others are rejected" in scanner
    assert "nothing yet" not in scanner
    assert "never: it has no port" in scanner
    assert "1 waiting" in archive
    assert "out of order" in archive
    assert "plain text" in archive
    assert "never; `gatekeeper node echo PACS`" in archive
    assert json.loads(run("show", "PACS", "--json"))["last_trouble"]["reason"] == "out of order"


def test_a_failed_echo_is_remembered(site: Path) -> None:
    """So that the next person who looks sees that it was tried, and what came of it."""
    run("add", "PACS", "127.0.0.1:1", "--role", "archive")

    assert runner.invoke(app, ["node", "echo", "PACS"]).exit_code != 0

    assert "failed, no connection to 127.0.0.1:1" in run("show", "PACS")
