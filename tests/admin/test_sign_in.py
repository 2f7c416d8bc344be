"""Who gets in: sessions, the one-time code, other sites, and what every page's headers say."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import httpx
import pytest
from support.pages import PASSWORD, Pages, running_pages, text_of
from support.web import running_web, settings_for

from gatekeeper.identity import accounts as people
from gatekeeper.settings import AccountSettings
from storage import accounts
from storage.engine import Database


def test_a_page_asks_to_sign_in_and_then_leads_back_to_itself(pages: Pages) -> None:
    """Nothing is shown to nobody, and what was asked for is not forgotten."""

    asked = pages.get("/overview/standing?text=x", "")
    assert asked.status_code == 303
    assert asked.headers["location"] == "/sign-in?next=/overview/standing%3Ftext%3Dx"

    data = {"name": "Viewer ", "password": PASSWORD, "next": "/studies?text=x"}
    answer = pages.post("/sign-in", data, "")
    assert (answer.status_code, answer.headers["location"]) == (303, "/studies?text=x")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie


@pytest.mark.parametrize("next", ["//evil.example/", "/\\evil.example", "https://evil.example/"])
def test_signing_in_never_leads_to_another_server(pages: Pages, next: str) -> None:
    """A link that was made by somebody else ends on a page of ours."""

    answer = pages.post("/sign-in", {"name": "viewer", "password": PASSWORD, "next": next}, "")
    assert answer.headers["location"] == "/"


@pytest.mark.parametrize(("name", "password"), [("viewer", "wrong"), ("nobody", PASSWORD)])
def test_a_wrong_name_and_a_wrong_password_are_told_alike(
    pages: Pages, name: str, password: str
) -> None:
    """Nobody learns which accounts there are."""

    answer = pages.post("/sign-in", {"name": name, "password": password}, "")
    assert answer.status_code == 403
    assert "the name or the password is wrong" in answer.text
    assert "set-cookie" not in answer.headers


def test_guessing_is_slowed_down_for_a_name_from_any_address(
    tmp_path: Path, database: Database
) -> None:
    """After a few failures even the right password has to wait."""

    settings = dataclasses.replace(
        settings_for(tmp_path / "spool"), accounts=AccountSettings(failures=2)
    )
    with running_pages(settings, database) as pages:
        for _ in range(2):
            pages.post("/sign-in", {"name": "viewer", "password": "wrong"}, "")
        answer = pages.post("/sign-in", {"name": "viewer", "password": PASSWORD}, "")
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) > 0


def test_a_session_ends_with_signing_out_a_new_password_and_a_disabled_account(
    pages: Pages, database: Database
) -> None:
    """What is withdrawn is withdrawn from the next request on."""

    assert pages.get("/", "viewer").status_code == 200
    kept = dict(pages.of("viewer").cookies)
    assert pages.post("/sign-out", name="viewer").status_code == 303
    again = httpx.get(pages.url + "/", cookies=kept)
    assert again.status_code == 303

    assert pages.get("/", "reviewer").status_code == 200
    assert pages.get("/", "physicist").status_code == 200
    with database.begin() as tx:
        people.change(tx, "reviewer", "anna", password="another long one")  # noqa: S106 - of a test
        people.change(tx, "physicist", "anna", disabled=True)
    assert pages.get("/", "reviewer").status_code == 303
    assert pages.get("/", "physicist").status_code == 303


def test_the_last_administrator_stays(pages: Pages, database: Database) -> None:
    """Nobody locks everybody out."""

    with database.begin() as tx:
        people.change(tx, "admin", "anna", disabled=True)
    with pytest.raises(people.AccountRefused, match="nobody would be left"), database.begin() as tx:
        people.change(tx, "anna", "anna", disabled=True)
    with database.read() as tx:
        anna = accounts.get(tx, "anna")
    assert anna is not None
    assert not anna.disabled


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://evil.example"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {},
    ],
)
def test_another_site_cannot_have_a_browser_do_anything(
    pages: Pages, headers: dict[str, str]
) -> None:
    """A form of another site is refused, signed in or not."""

    cookies = dict(pages.of("anna").cookies)
    answer = httpx.post(pages.url + "/sign-out", headers=headers, cookies=cookies)
    assert answer.status_code == 403
    assert pages.get("/", "anna").status_code == 200


def test_an_old_browser_is_judged_by_its_origin(pages: Pages) -> None:
    """Origin says enough where Sec-Fetch-Site is not sent."""

    headers = {"Origin": pages.url}
    data = {"name": "viewer", "password": PASSWORD}
    assert httpx.post(pages.url + "/sign-in", data=data, headers=headers).status_code == 303


def test_every_page_forbids_scripts_that_are_not_ours(pages: Pages) -> None:
    """The policy has no exception, and pages are kept by nobody."""

    for name, path in (("", "/sign-in"), ("anna", "/")):
        answer = pages.get(path, name)
        policy = answer.headers["content-security-policy"]
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-frame-options"] == "DENY"


def test_the_first_account_is_made_by_who_reads_the_log(tmp_path: Path, database: Database) -> None:
    """There is no default password: a code, an account, and the code is good no more."""

    with running_web(settings_for(tmp_path / "spool"), database) as web:
        url = f"http://127.0.0.1:{web.port}"
        ours = {"Sec-Fetch-Site": "same-origin"}
        with httpx.Client(base_url=url, headers=ours, follow_redirects=True) as browser:
            page = browser.get("/")
            assert page.url.path == "/first-start"
            data = {"code": "WRONG", "name": "ada", "password": PASSWORD, "roles": "reviewer"}
            refused = browser.post("/first-start", data=data)
            assert "not the code" in text_of(refused.text)
            data["code"] = web.server.console.first_start.code.lower().replace("-", " ")
            welcome = browser.post("/first-start", data=data)
            assert welcome.url.path == "/setup"
            assert "Welcome, ada" in text_of(welcome.text)
        late = httpx.post(url + "/first-start", data={**data, "name": "eve"}, headers=ours)
        assert late.headers["location"] == "/sign-in"
    with database.read() as tx:
        assert [account.name for account in accounts.listing(tx)] == ["ada"]


def test_a_live_part_that_has_not_changed_is_not_sent_again(pages: Pages) -> None:
    """The screen moves only when there is something new."""

    first = pages.get("/overview/standing")
    assert first.status_code == 200
    again = pages.get("/overview/standing", X_Seen=first.headers["x-seen"])
    assert again.status_code in {200, 204}
    assert pages.get("/overview/standing", "", HX_Request="true").status_code == 401
