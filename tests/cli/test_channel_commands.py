"""`gatekeeper channel` and `gatekeeper notification`: who is told, and what was told."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path

import pytest
import structlog
from support.command_line import read, run, runner
from support.ears import webhook

from gatekeeper.cli import app
from gatekeeper.notify.announce import announce
from gatekeeper.notify.events import JobDead
from storage import notifications
from storage.engine import Database

KEY = "a key that signs webhooks, for tests"
STUDY = "1.2.826.0.1.77.5"


@pytest.fixture
def site(tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Generator[Database]:
    """Stand in an empty folder with a database of its own, configured by the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GATEKEEPER_DATABASE_URL", sqlite_url)
    monkeypatch.setenv("GATEKEEPER_NOTIFY_WEBHOOK_KEY", KEY)
    monkeypatch.setenv("GATEKEEPER_NOTIFY_PLAIN_HOSTS", "127.0.0.1")
    database = Database.connect(sqlite_url)
    yield database
    database.dispose()
    structlog.reset_defaults()


def test_a_channel_that_was_added_is_listed_replaced_and_removed(site: Database) -> None:
    """By default it is told everything, and of no study which."""
    said = run("channel", "add", "desk", "--email", "desk@hospital.example")
    assert "cannot be sent to yet: notify.smtp_host" in said
    events = ("--event", "job-dead", "--event", "study-held")
    run("channel", "add", "pager", "--webhook", "https://pager.example/x", *events)

    desk, pager = read("channel", "list")
    assert (desk["kind"], desk["events"], desk["details"]) == ("email", [], "none")
    assert (pager["kind"], pager["events"]) == ("webhook", ["job-dead", "study-held"])
    assert read("channel", "show", "desk")["address"] == "desk@hospital.example"
    run("channel", "add", "desk", "--email", "b@hospital.example", "--details", "uids")
    assert "details uids" in run("channel", "show", "desk")
    run("channel", "remove", "pager")
    assert "not known" in run("channel", "remove", "pager", code=1)
    assert [one["name"] for one in read("channel", "list")] == ["desk"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("desk",),
        ("desk", "--email", "a@b.example", "--webhook", "https://b.example/"),
        ("desk", "--email", "nobody"),
        ("desk", "--webhook", "http://b.example/"),
        ("a b", "--email", "a@b.example"),
        ("desk", "--email", "a@b.example", "--event", "lunch"),
    ],
)
def test_a_channel_that_leads_nowhere_is_refused(
    site: Database, arguments: tuple[str, ...]
) -> None:
    """Nothing is saved."""
    assert runner.invoke(app, ["channel", "add", *arguments]).exit_code != 0
    assert read("channel", "list") == []


def test_a_test_message_says_what_became_of_it(site: Database) -> None:
    """It goes past the outbox, so that its answer is the command's."""
    with webhook(200, 500) as hook:
        run("channel", "add", "hook", "--webhook", hook.url())
        assert "took the test message" in run("channel", "test", "hook")
        assert "the webhook answered 500" in run("channel", "test", "hook", code=1)
    assert json.loads(hook.posts[0].body)["event"] == "test"
    assert "not known" in run("channel", "test", "nobody", code=1)


def test_a_number_in_a_message_is_looked_up_here(site: Database) -> None:
    """The study is named to who has access here; a dead one is queued again, once."""
    run("channel", "add", "hook", "--webhook", "https://hook.example/")
    with site.begin() as tx:
        announce(tx, JobDead(7, STUDY, "analysis failed"), "7")
    assert f"Job 7 ({STUDY}) is set aside: analysis failed." in run("notification", "show", "1")
    assert "only a dead one" in run("notification", "retry", "1", code=1)
    with site.begin() as tx:
        claimed = notifications.claim(tx, "hook", "test", 60.0, 20)
        assert claimed is not None
        notifications.fail(tx, 1, claimed.attempt, "no connection", None)
    [found] = read("notification", "list", "--state", "dead")
    assert (found["id"], found["reason"]) == (1, "no connection")
    run("notification", "retry", "1")
    assert read("notification", "show", "1")["notification"]["state"] == "queued"
    assert "not known" in run("notification", "show", "2", code=1)


def test_a_digest_is_looked_up_as_what_it_gathered(site: Database) -> None:
    """Each with its own sentence."""
    run("channel", "add", "hook", "--webhook", "https://hook.example/")
    with site.begin() as tx:
        for job in (7, 8):
            announce(tx, JobDead(job, STUDY, "analysis failed"), str(job))
        assert notifications.claim(tx, "hook", "test", 60.0, 1) is not None

    said = run("notification", "show", "3")

    assert "Job 7" in said
    assert "Job 8" in said


def test_check_names_what_a_channel_misses_and_a_secret_that_others_may_read(
    site: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key in a file of mode 0644 is refused, and so is a channel that cannot be sent to."""
    run("channel", "add", "desk", "--email", "desk@hospital.example")
    monkeypatch.delenv("GATEKEEPER_NOTIFY_WEBHOOK_KEY")
    file = Path("gatekeeper.toml")
    file.write_text(f'[notify]\nwebhook_key = "{KEY}"\n')
    file.chmod(0o644)

    answers = {one["key"]: one["text"] for one in read("check", code=1)}

    assert "chmod 600" in answers["notify.webhook_key"]
    assert answers["channel.desk"].startswith("notify.smtp_host: not set")
    assert KEY not in json.dumps(answers)
    file.chmod(0o600)
    assert "notify.webhook_key" not in {one["key"] for one in read("check", code=1)}
