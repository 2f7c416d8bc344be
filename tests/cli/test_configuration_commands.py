"""`gatekeeper config` and `policy`: what an administrator types to change, look and go back."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import structlog
from typer.testing import CliRunner

from gatekeeper import check
from gatekeeper.cli import app
from gatekeeper.cli.output import console, error_console
from storage import nodes
from storage.engine import Database
from storage.records import Node

runner = CliRunner()


@pytest.fixture
def site(tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    """Stand in an empty folder with a database of its own, configured by the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GATEKEEPER_DATABASE_URL", sqlite_url)
    for one in (console, error_console):
        monkeypatch.setattr(one, "_width", 250)
    yield tmp_path
    structlog.reset_defaults()


def run(*arguments: str, code: int = 0, typed: str = "") -> str:
    """Run a command and return what it printed, in one line."""
    answer = runner.invoke(app, arguments, input=typed)
    assert answer.exit_code == code, answer.output
    return " ".join(answer.output.split())


def refused(*arguments: str) -> str:
    """Run a command that ends in an error of ours, and return its sentence."""
    answer = runner.invoke(app, arguments)
    assert answer.exception is not None, answer.output
    return str(answer.exception)


def read(*arguments: str) -> Any:
    """Run a command with `--json` and return what it printed."""
    answer = runner.invoke(app, [*arguments, "--json"])
    assert answer.exit_code == 0, answer.output
    return json.loads(answer.stdout)


def two_nodes() -> None:
    run("node", "add", "CT1", "10.1.2.3", "--sends", "--by", "anna", "--why", "new scanner")
    run("node", "add", "PACS", "10.1.9.9:104", "--results")


def test_the_log_says_who_changed_what_when_and_why(site: Path) -> None:
    """The account and the command stand in where nobody said."""
    assert "Configuration version 2" in run("node", "add", "CT1", "10.1.2.3", "--sends")
    run("node", "remove", "CT1", "--by", "anna", "--why", "scrapped")

    last, first, _ = read("config", "log")
    assert (last["who"], last["why"]) == ("anna", "scrapped")
    assert (first["who"].count("@"), first["why"]) == (1, "node add CT1")
    assert "scrapped" in run("config", "log")
    assert len(read("config", "log", "--limit", "1")) == 1
    assert [one["why"] for one in read("config", "log")] == [
        "scrapped",
        "node add CT1",
        "as it was when versions began",
    ]


def test_the_diff_says_what_changed_by_node_and_key(site: Path) -> None:
    """In words and as JSON, between versions and against what is in force."""
    two_nodes()
    run("node", "add", "PACS", "10.1.9.9:11112", "--results")
    run("policy", "set", "models.false_hold_rate", "0.02")

    shown = run("config", "diff", "2")
    assert '+ nodes.PACS host "10.1.9.9", port 11112, receives_results true' in shown
    assert "+ policy.models false_hold_rate 0.02" in shown
    assert run("config", "diff", "3", "4") == "~ nodes.PACS port: 104 -> 11112"
    assert read("config", "diff", "4", "3") == [
        {"section": "nodes", "item": "PACS", "key": "port", "before": 11112, "after": 104}
    ]
    assert "There is no difference" in run("config", "diff", "5")
    assert "there is none; the newest is 5" in refused("config", "diff", "9")


def test_a_file_says_the_whole_and_puts_it_back(site: Path) -> None:
    """Exported, changed by hand, looked at, imported, and gone back on."""
    two_nodes()
    run("policy", "set", "models.false_hold_rate", "0.02")
    assert "Wrote version 4" in run("config", "export", "site.toml")
    assert "--force" in run("config", "export", "site.toml", code=1)
    text = Path("site.toml").read_text()
    assert "version 4" in text.splitlines()[0]
    assert read("config", "show")["digest"] in text
    stated = tomllib.loads(text)
    assert stated["nodes"]["PACS"] == {"host": "10.1.9.9", "port": 104, "receives_results": True}
    assert stated["policy"]["models"] == {"false_hold_rate": 0.02}
    assert "There is no difference" in run("config", "diff", "site.toml")
    assert "Nothing would change" in run("config", "import", "site.toml", "--yes")

    Path("site.toml").write_text(text.replace("port = 104", "port = 11112"))
    assert "port: 104 -> 11112" in run("config", "import", "site.toml", "--dry-run")
    assert "nothing was changed" in run("config", "import", "site.toml", code=1, typed="n\n")
    assert len(read("config", "log")) == 4
    assert "version 5" in run("config", "import", "site.toml", typed="y\n")
    assert read("config", "log")[0]["why"] == "import of site.toml"
    assert {one["port"] for one in read("node", "list")} == {0, 11112}

    assert "port: 11112 -> 104" in run("config", "restore", "4", "--dry-run")
    run("config", "restore", "4", "--yes", "--by", "anna", "--why", "wrong port")
    last = read("config", "log")[0]
    assert (last["number"], last["restored_from"], last["who"]) == (6, 4, "anna")
    run("config", "export", "again.toml")
    assert tomllib.loads(Path("again.toml").read_text()) == stated
    run("config", "export", "first.toml", "--version", "1")
    assert tomllib.loads(Path("first.toml").read_text())["nodes"] == {}


def test_an_import_leaves_what_it_does_not_name(site: Path) -> None:
    """A section that is named and empty is emptied."""
    two_nodes()
    run("policy", "set", "models.false_hold_rate", "0.02")
    Path("policy.toml").write_text("[policy.models]\nfalse_hold_rate = 0.1\n")
    run("config", "import", "policy.toml", "--yes")
    assert len(read("node", "list")) == 2

    Path("policy.toml").write_text("[policy]\n")
    run("config", "import", "policy.toml", "--yes")
    [shown] = [one for one in read("policy", "show") if one["key"] == "models.false_hold_rate"]
    assert (shown["value"], shown["set_by"]) == (0.05, "settings")


def test_an_import_for_another_version_is_refused(site: Path) -> None:
    """Nothing is changed, and the way to look at the difference is named."""
    two_nodes()
    run("config", "export", "site.toml")
    run("node", "remove", "CT1")
    said = refused("config", "import", "site.toml", "--expect", "3", "--yes")
    assert "at version 4, not 3: look at `gatekeeper config diff 3 4`" in said
    assert len(read("node", "list")) == 1


def test_a_file_with_an_error_changes_nothing(site: Path) -> None:
    """The item and the key are named."""
    two_nodes()
    bad = Path("bad.toml")
    bad.write_text('[nodes.CT9]\nhost = "h"\nport = 70000\n')
    assert "nodes.CT9: port 70000" in refused("config", "import", "bad.toml", "--yes")
    bad.write_text('[nodes.CT9]\nhost = "h"\nprot = 1\n')
    assert "nodes.CT9.prot: no such key" in refused("config", "import", "bad.toml", "--yes")
    bad.write_text("[nodes")
    assert "not TOML" in refused("config", "import", "bad.toml", "--yes")
    assert "cannot be read" in refused("config", "import", "none.toml", "--yes")
    assert len(read("node", "list")) == 2


def test_policy_is_set_by_the_rules_of_the_settings(site: Path) -> None:
    """And left to them again."""
    assert "must be at most 0.5" in refused("policy", "set", "models.false_hold_rate", "0.9")
    assert "must be a number" in refused("policy", "set", "models.false_hold_rate", "often")
    assert "not set in the database" in refused("policy", "set", "listen.port", "104")
    run("policy", "set", "models.false_hold_rate", "0.02")
    assert "0.02" in run("policy", "show")
    run("policy", "set", "false_hold_rate.MR/BRAIN/T1", "0.1")
    assert "in capitals" in refused("policy", "set", "false_hold_rate.mr/brain/t1", "0.1")
    assert "not a profile" in refused("policy", "set", "false_hold_rate.brain", "0.1")
    rates = {one["key"]: one["value"] for one in read("policy", "show")}
    assert rates["false_hold_rate.MR/BRAIN/T1"] == 0.1
    run("policy", "unset", "models.false_hold_rate")
    assert "is not set" in run("policy", "unset", "models.false_hold_rate", code=1)
    [shown] = [one for one in read("policy", "show") if one["key"] == "models.false_hold_rate"]
    assert shown["set_by"] == "settings"


def test_the_check_notices_a_change_past_the_commands(site: Path, sqlite_url: str) -> None:
    """It records it, and says once more that nobody knows who made it."""
    two_nodes()
    [before] = [one for one in check.run(None) if one.key == "configuration"]
    assert before.ok
    database = Database.connect(sqlite_url)
    with database.begin() as tx:
        nodes.save(tx, Node("STRANGE", "127.0.0.1", 104))
    database.dispose()

    [found] = [one for one in check.run(None) if one.key == "configuration"]
    assert not found.ok
    assert "version 4, by unknown" in found.text
    assert "config diff 3 4" in found.text
    assert "+ nodes.STRANGE" in run("config", "diff", "3", "4")

    run("config", "accept", "--why", "a test of the network", "--by", "anna")
    [found] = [one for one in check.run(None) if one.key == "configuration"]
    assert found.ok
    assert "version 5, by anna" in found.text
    assert "nothing to accept" in run("config", "accept", "--why", "again", code=1)


def test_the_check_names_a_choice_that_is_no_longer_used(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken over at the first version, it only misleads who reads it."""
    (site / "bundles").mkdir()
    content = {"format": 1, "active": {"MR/BRAIN/T1": "mr-brain-t1-atlas"}, "history": []}
    (site / "bundles" / "active.json").write_text(json.dumps(content))
    monkeypatch.setenv("GATEKEEPER_MODELS_DIRECTORY", str(site / "bundles"))

    told = [one for one in check.run(None) if "active.json" in one.text]
    assert ["taken over" in one.text for one in told] == [True, False]
    assert "no longer used" in told[1].text
    assert "mr-brain-t1-atlas" in run("config", "show")
