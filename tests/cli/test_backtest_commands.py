"""`gatekeeper backtest`, `rates` and `shadow`: tried before it decides, and put in force."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path

import pytest
import structlog
from support.command_line import read, run
from support.past import Archive

from gatekeeper import periodic
from gatekeeper.configuration import policy
from gatekeeper.settings import Settings
from storage import feedback, rules
from storage.engine import Database

RULE = """
name = "night"
when = ["verdict is CLEAR"]
then = [{ hold = "*" }]
"""


@pytest.fixture
def site(tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Generator[Archive]:
    """Stand in a folder with a database of four judged studies, configured by the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GATEKEEPER_DATABASE_URL", sqlite_url)
    monkeypatch.setenv("GATEKEEPER_SPOOL_DIRECTORY", str(tmp_path / "spool"))
    database = Database.connect(sqlite_url)
    archive = Archive(database, tmp_path)
    archive.judge_all((0.01, 0.03, 0.04, 0.5))
    yield archive
    database.dispose()
    structlog.reset_defaults()


def test_a_backtest_says_what_would_change_and_changes_nothing(site: Archive) -> None:
    """The table has counts, the list each study with both reasons, the page needs no other file."""
    said = run("backtest", "--false-hold-rate", "0.02", "--out", "page.html")
    assert "Candidate: models.false_hold_rate = 0.02" in said
    assert said.count("  then: Forwarded by policy as CLEAR.") == 2
    page = Path("page.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    assert "http" not in page.replace("http-equiv", "")
    with site.database.read() as tx:
        assert policy.in_force(tx, Settings()).models.false_hold_rate == 0.05

    found = read("backtest", "--policy", "models.false_hold_rate=0.02")
    assert found["total"]["newly_passed"] == 2
    assert found["total"]["mcnemar_p"] == 0.5
    assert len(found["changed"]) == 2
    assert found["total"]["before"][0] == 0.75


def test_a_backtest_of_rules_and_of_a_configuration_are_read_from_files(site: Archive) -> None:
    """The rules of a file hold what they say; a file says what its sections say."""
    Path("rules.toml").write_text(RULE)
    assert read("backtest", "--rules", "rules.toml")["total"]["newly_held"] == 1
    run("policy", "set", "models.false_hold_rate", "0.02", "--why", "To see.")
    run("config", "export", "now.toml")
    assert read("backtest", "--config", "now.toml")["changed"] == []
    Path("other.toml").write_text("format = 1\n[policy.models]\nfalse_hold_rate = 0.05\n")
    assert read("backtest", "--config", "other.toml")["total"]["newly_held"] == 2


def test_a_backtest_is_of_exactly_one_candidate(site: Archive) -> None:
    """None or two, or one that may not be set, end the command."""
    assert "say one of" in run("backtest", code=1)
    assert "say one of" in run("backtest", "--false-hold-rate", "0.1", "--model", "a", code=1)
    assert "is not a date" in run(
        "backtest", "--false-hold-rate", "0.1", "--since", "spring", code=1
    )


def test_rates_show_what_was_promised_beside_what_was_realised(site: Archive) -> None:
    """The interval is that of the Beta law for 99 calibration studies at 5 %."""
    (one,) = read("rates")["rates"]
    assert (one["size"], one["rate"], one["judged"], one["held"]) == (99, 0.05, 4, 3)
    assert one["interval"] == pytest.approx([0.0165, 0.1002], abs=0.0005)
    assert one["held_mark"] == "above"
    shown = " ".join(run("study", "show", "1.2.826.0.1.19.1").split())
    assert "99 calibration studies; where 5 % is stated, normal studies are held at 1.7" in shown
    said = run("rates", "--out", "rates.html")
    assert "Vovk 2012" in said
    assert Path("rates.html").read_text().count("data:image/png;base64,") == 1


def test_a_report_holds_verdicts_against_reviewers_words(site: Archive) -> None:
    """A folder with page and figures; one that exists stays, a wrong prevalence is named."""
    with site.database.begin() as tx:
        for job, agrees in ((1, True), (2, False), (4, True)):
            feedback.add(tx, job, "Ada", "SUSPECT", agrees=agrees, remark="")
    run("rates", "--report", "words", "--prevalence", "0.1")
    page = Path("words/report.html").read_text(encoding="utf-8")
    assert "Begg and Greenes" in page
    assert page.count("data:image/png;base64,") == 1
    every, *_ = json.loads(Path("words/statistics.json").read_text(encoding="utf-8"))
    assert every["table"] == {"tp": 1, "fp": 1, "fn": 0, "tn": 1}
    assert "exists" in run("rates", "--report", "words", code=1)
    assert "prevalence" in run("rates", "--report", "other", "--prevalence", "2", code=1)


def test_a_shadow_is_added_reported_activated_and_taken_back(site: Archive) -> None:
    """Activation is one version of the configuration, which a restore goes back from."""
    run("shadow", "add", "lower", "--false-hold-rate", "0.02", "--by", "Ada", "--why", "Fewer.")
    assert "already" in run("shadow", "add", "lower", "--false-hold-rate", "0.02", code=1)
    site.judge_all((0.03, 0.5))
    assert periodic.tick_shadow(periodic.Context(Settings(), site.database, site.spool)) == 2
    found = read("shadow", "report", "lower")
    assert (found["total"]["studies"], found["total"]["newly_passed"]) == (2, 1)
    assert "lower" in run("shadow", "list")

    run("shadow", "activate", "lower", "--by", "Ada", "--why", "It passes fewer.")
    with site.database.read() as tx:
        assert policy.in_force(tx, Settings()).models.false_hold_rate == 0.02
    (one,) = read("shadow", "list")
    assert (one["state"], one["ended_by"]) == ("activated", "Ada")
    newest = read("config", "log")[0]
    assert (newest["who"], newest["why"]) == ("Ada", "It passes fewer.")
    assert "does not run" in run("shadow", "activate", "lower", code=1)
    run("config", "restore", "1", "--yes")
    with site.database.read() as tx:
        assert policy.in_force(tx, Settings()).models.false_hold_rate == 0.05


def test_activated_rules_take_the_place_of_all_others(site: Archive) -> None:
    """What was tried is what is in force, in its order."""
    Path("rules.toml").write_text(RULE)
    run("rule", "add", "old", "--when", "verdict is SUSPECT", "--hold", "*")
    run("shadow", "add", "night", "--rules", "rules.toml")
    run("shadow", "activate", "night")
    with site.database.read() as tx:
        assert [row.name for row in rules.listing(tx)] == ["night"]
    run("shadow", "add", "other", "--policy", "gate.suspect=forward")
    run("shadow", "end", "other")
    assert "there is no shadow" in run("shadow", "end", "none", code=1)
