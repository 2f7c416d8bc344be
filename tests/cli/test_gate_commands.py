"""The gate on the command line: what is held, one decision, feedback, and the trail."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
import structlog
from sqlalchemy import text
from support.command_line import read, run, runner
from support.passage import Passage

from gatekeeper.cli import app
from gatekeeper.errors import GateRefused
from storage.engine import Database

STUDY = "1.2.3"


@pytest.fixture
def passage(tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Generator[Passage]:
    """Stand in a folder of a site of which one study is held."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GATEKEEPER_DATABASE_URL", sqlite_url)
    monkeypatch.setenv("GATEKEEPER_SPOOL_DIRECTORY", str(tmp_path / "spool"))
    database = Database.connect(sqlite_url)
    made = Passage(tmp_path, database)
    made.walk(STUDY, "SUSPECT")
    yield made
    database.dispose()
    structlog.reset_defaults()


def refused(*arguments: str) -> str:
    answer = runner.invoke(app, arguments)
    assert answer.exit_code == 1
    assert isinstance(answer.exception, GateRefused)
    return str(answer.exception)


def test_the_life_of_one_held_study(passage: Passage) -> None:
    """Held, released by a name with a reason, commented on; each step shown and written down."""
    [held] = read("study", "held")
    assert (held["study_instance_uid"], held["node"], held["verdict"]) == (STUDY, "AI", "SUSPECT")
    assert "AI" in run("study", "list")
    assert "Forward to AI (revision 1): held since" in run("study", "show", STUDY)

    assert "the reason is empty" in refused(
        *("study", "release", STUDY, "--by", "Dr Who", "--reason", "")
    )
    said = run("study", "release", STUDY, "--by", "Dr Who", "--reason", "readable")
    assert "Released to AI by delivery" in said
    assert "sent by Dr Who" in refused(
        *("study", "reject", STUDY, "--by", "Dr No", "--reason", "too late")
    )
    assert "Dr Who agrees with SUSPECT" in run(
        *("study", "feedback", STUDY, "agree", "--by", "Dr Who", "motion")
    )

    shown = run("study", "show", STUDY)
    assert "Forward to AI (revision 1): sent by Dr Who" in shown
    assert "Dr Who agrees with SUSPECT" in shown
    assert run("study", "held").strip() == "Nothing is held."
    lines = read("audit", "list", "--study", STUDY)
    assert [line["action"] for line in lines] == ["feedback", "release", "hold"]
    assert len(passage.uids("AI")) == 2


def test_a_rejected_study_says_so(passage: Passage) -> None:
    """And nothing was sent."""
    said = run("study", "reject", STUDY, "--by", "Dr Who", "--reason", "wrong patient")

    assert said.splitlines()[-1] == "Rejected: it does not go to AI."
    assert passage.uids("AI") == []


def test_feedback_counts_normal_studies_that_were_held(passage: Passage) -> None:
    """One normal study, held."""
    said = run("study", "feedback", STUDY, "disagree", "--by", "Dr Who", "no artefact")

    assert passage.forwards(STUDY) == ["held"]
    assert "1 of 1 normal studies were held" in said


def test_the_trail_is_verified_and_a_change_past_the_triggers_is_found(passage: Passage) -> None:
    """With the number of the line; a digest from elsewhere shows what was cut off."""
    run("study", "release", STUDY, "--by", "Dr Who", "--reason", "readable")
    said = run("audit", "verify")
    head = said.split()[-1]
    assert "2 lines, whole." in said
    assert "whole" in run("audit", "verify", "--head", head)
    with passage.database.begin() as tx:
        tx.execute(text("DROP TRIGGER audit_no_delete"))
        tx.execute(text("DELETE FROM audit WHERE id = 2"))
    assert "1 lines, whole." in run("audit", "verify")

    answer = runner.invoke(app, ["audit", "verify", "--head", head])

    assert answer.exit_code == 1
    assert "were cut off" in " ".join(answer.output.split())


def test_status_counts_what_is_on_its_way(passage: Passage) -> None:
    """One held, and the archive's waits for the tick."""
    counted = read("status")["forwards"]

    assert (counted["held"], counted["waiting"]) == (1, 1)
    assert passage.forwards(STUDY, "ARCHIVE") == ["waiting"]
