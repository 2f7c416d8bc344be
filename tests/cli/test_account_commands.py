"""`gatekeeper account`: people are let in, changed and shut out from a shell."""

from __future__ import annotations

import re
from collections.abc import Generator
from pathlib import Path

import pytest
import structlog
from support.command_line import read, run, runner

from gatekeeper.cli import app
from gatekeeper.identity import passwords
from gatekeeper.identity.permission import Permission
from storage import accounts
from storage.engine import Database

CODE = re.compile(r"[A-Z0-9]{5}(-[A-Z0-9]{5}){3}")


@pytest.fixture
def site(tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Generator[str]:
    """Stand in an empty folder with a database of its own, and return its URL."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GATEKEEPER_DATABASE_URL", sqlite_url)
    yield sqlite_url
    structlog.reset_defaults()


def test_an_account_is_made_changed_and_disabled(site: str) -> None:
    """Its password is shown once, or read from standard input, and never listed."""

    made = read("account", "add", "Anna", "--role", "administrator")
    assert (made["name"], bool(CODE.fullmatch(made["password"]))) == ("anna", True)
    typed = runner.invoke(
        app, ["account", "add", "karl", "--role", "viewer", "--password-stdin"], "a quiet river\n"
    )
    assert typed.exit_code == 0, typed.output
    run("account", "change", "karl", "--role", "viewer", "--role", "reviewer")
    run("account", "disable", "karl")
    listed = {one["name"]: one for one in read("account", "list")}
    assert listed["karl"]["roles"] == ["reviewer", "viewer"]
    assert (listed["karl"]["disabled"], "password" in listed["karl"]) == (True, False)
    assert "disabled" in run("account", "list")
    assert "nobody would be left" in run("account", "disable", "anna", code=1)
    assert "at least one role" in run("account", "add", "nobody", code=1)
    again = read("account", "reset-code", "anna")["password"]
    database = Database.connect(site)
    with database.read() as tx:
        anna = accounts.get(tx, "anna")
    database.dispose()
    assert anna is not None
    assert passwords.agrees(anna.password, again)


def test_a_token_is_given_permissions(site: str) -> None:
    """`--may` once for each; one that there is not is refused."""

    read("token", "add", "robot", "--may", "view", "--may", "review")
    [token] = read("token", "list")
    assert token["scopes"] == ["view", "review"]
    refused = run("token", "add", "other", "--may", "everything", code=2)
    assert all(one.value in refused for one in Permission)
