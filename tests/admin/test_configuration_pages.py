"""Configuration, settings and audit: changed by name, told apart, handed out, and never secret."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from support.pages import Pages, running_pages, text_of
from support.web import settings_for

from gatekeeper.configuration.changes import changing
from gatekeeper.settings import NotifySettings, Settings
from storage import audit, nodes
from storage import configuration_versions as versions
from storage.engine import Database
from storage.records import Node

HOSTILE = "<script>alert(1)</script>\u202egpj.exe"


def change(pages: Pages, node: Node, why: str = "a scanner") -> None:
    """Enter a node, as an administrator does."""
    with changing(pages.database, HOSTILE, why, Settings()) as tx:
        nodes.save(tx, node)


def test_versions_are_listed_told_apart_and_returned_to(pages: Pages, database: Database) -> None:
    """Who, why, what differs, and the way back, which is a version of its own."""

    change(pages, Node("MR1", "10.0.0.1", 104, may_send=True), "first scanner")
    change(pages, Node("MR1", "10.0.0.9", 104, may_send=True), "it moved")
    with database.read() as tx:
        newest = versions.latest_number(tx)
    listed = text_of(pages.get("/configuration").text)
    assert "first scanner" in listed
    assert "it moved" in listed
    shown = text_of(pages.get(f"/configuration/{newest}").text)
    assert '"10.0.0.1" "10.0.0.9"' in shown

    back = f"/configuration/{newest - 1}/restore"
    stale = pages.post(back, {"expect": newest - 1, "why": "too late"})
    assert "is at version" in text_of(pages.of("anna").get(stale.headers["location"]).text)
    done = pages.post(back, {"expect": newest, "why": "it moved back"})
    assert done.headers["location"] == "/configuration"
    with database.read() as tx:
        node, version = nodes.get(tx, "MR1"), versions.latest(tx)
    assert node is not None
    assert node.host == "10.0.0.1"
    assert version is not None
    assert (version.who, version.why) == ("anna", "it moved back")
    assert version.restored_from == newest - 1


def test_a_file_is_shown_before_it_is_in_force(pages: Pages, database: Database) -> None:
    """What `Export` hands out can be changed and imported; nothing happens at the first step."""

    change(pages, Node("MR1", "10.0.0.1", 104, may_send=True))
    with database.read() as tx:
        newest = versions.latest_number(tx)
    path = f"/configuration/{newest}/gatekeeper-configuration.toml"
    exported = pages.get(path).text.replace("10.0.0.1", "10.0.0.7")
    looked = pages.post("/configuration/import", files={"upload": ("c.toml", exported)})
    assert "10.0.0.7" in text_of(looked.text)
    with database.read() as tx:
        assert versions.latest_number(tx) == newest
    data = {"text": exported, "expect": newest, "why": "by file"}
    assert pages.post("/configuration/import/do", data).status_code == 303
    with database.read() as tx:
        node = nodes.get(tx, "MR1")
    assert node is not None
    assert node.host == "10.0.0.7"

    broken = pages.post("/configuration/import", files={"upload": ("c.toml", "nodes = 3")})
    assert broken.status_code == 422


def test_the_policy_changes_at_once_and_by_its_rules(pages: Pages, database: Database) -> None:
    """A value that breaks the rule of its setting is refused in words; a good one is a version."""

    bad = {"key": "models.false_hold_rate", "value": "7", "why": ""}
    refused = pages.post("/settings/policy", bad)
    assert refused.status_code == 422
    assert "must be at most" in text_of(refused.text)
    good = {"key": "models.false_hold_rate", "value": "0.02", "why": "fewer holds"}
    assert pages.post("/settings/policy", good).status_code == 303
    with database.read() as tx:
        version = versions.latest(tx)
    assert version is not None
    assert (version.who, version.why) == ("anna", "fewer holds")
    assert pages.post("/settings/policy", {**good, "do": "unset"}).status_code == 303


def test_no_secret_is_on_the_settings_page(tmp_path: Path, database: Database) -> None:
    """Passwords are said to be set, and not shown."""

    secrets = {"smtp_password": "swordfish-1", "webhook_key": "k" * 40}
    notify = dataclasses.replace(NotifySettings(), **secrets)
    settings = settings_for(tmp_path / "spool", notify=notify)
    database_settings = dataclasses.replace(
        settings.database, url="postgresql+psycopg://gate:hunter2@db/gate"
    )
    settings = dataclasses.replace(settings, database=database_settings)
    with running_pages(settings, database) as pages:
        page = pages.get("/settings", "viewer").text
    assert "swordfish-1" not in page
    assert "hunter2" not in page
    assert "k" * 40 not in page
    assert "gate:***@db" in text_of(page)


def test_the_trail_is_shown_in_pages_and_verified(pages: Pages, database: Database) -> None:
    """Every line is reached, text from elsewhere is text, and a whole trail is said to be whole."""

    with database.begin() as tx:
        for number in range(150):
            audit.append(tx, HOSTILE, "release", f"1.2.{number}", detail={"reason": HOSTILE})
    first = pages.get("/audit")
    assert "<script>alert" not in first.text
    assert "\u202e" not in first.text
    more = re.search(r'href="(/audit\?before=\d+[^"]*)"', first.text)
    assert more is not None
    second = pages.get(more[1].replace("&amp;", "&"))
    shown = {*re.findall(r"1\.2\.\d+", first.text), *re.findall(r"1\.2\.\d+", second.text)}
    assert {f"1.2.{number}" for number in range(150)} <= shown
    assert "lines, whole" in text_of(pages.get("/audit/verify").text)
    assert "1.2.7" in pages.get("/audit?study=1.2.7").text


def test_what_is_not_there_is_said_to_be_not_there(pages: Pages) -> None:
    """A number that no version has is answered 404, on a page."""

    answer = pages.get("/configuration/999")
    assert answer.status_code == 404
    assert "version 999" in text_of(answer.text)


def test_a_form_that_brings_too_much_is_refused_before_it_is_kept(pages: Pages) -> None:
    """The limit is that of a setting, whether the length is said before or not."""

    form = {"Content-Type": "multipart/form-data; boundary=x"}
    head = b'--x\r\nContent-Disposition: form-data; name="upload"; filename="c"\r\n\r\n'
    many = [head, *[b"x" * (1 << 20)] * 70]
    whole = pages.of().post("/configuration/import", content=b"".join(many), headers=form)
    pieces = pages.of().post("/configuration/import", content=iter(many), headers=form)
    assert (whole.status_code, pieces.status_code) == (413, 413)
