"""The pages of accounts: people and programs are let in, changed and shut out by a person."""

from __future__ import annotations

import html
import re

import httpx
from support.pages import PASSWORD, Pages, text_of

from storage import accounts, audit, tokens
from storage.records import AccountRole

NEW = "a quiet river at night"


def signed_in(pages: Pages, name: str, password: str) -> httpx.Client | None:
    """Return a browser in which somebody is signed in by a password, or None when refused."""
    client = httpx.Client(base_url=pages.url, timeout=60, headers={"Sec-Fetch-Site": "same-origin"})
    answer = client.post("/sign-in", data={"name": name, "password": password})
    if answer.status_code == 303:
        return client
    client.close()
    return None


def test_a_person_is_added_and_changed_and_shut_out(pages: Pages) -> None:
    """With a reset the old password ends; disabled, the open browser is shut out at once."""

    refused = pages.post("/accounts/new", {"name": "<b>", "password": NEW, "roles": "viewer"})
    assert (refused.status_code, "<b>" in refused.text) == (422, False)
    assert "has up to 64" in text_of(refused.text)
    added = pages.post("/accounts/new", {"name": "Karl", "password": NEW, "roles": ["viewer"]})
    assert added.headers["location"] == "/accounts"
    assert "karl" in text_of(pages.get("/accounts").text)

    pages.post("/accounts/person/karl/roles", {"roles": ["viewer", "reviewer"]})
    reset = pages.post("/accounts/person/karl/reset")
    code = re.search(r"<code>([A-Z0-9-]{23})</code>", reset.text)
    assert code is not None
    assert signed_in(pages, "karl", NEW) is None
    browser = signed_in(pages, "karl", code[1])
    assert browser is not None
    assert browser.get("/held").status_code == 200
    pages.post("/accounts/person/karl/switch", {"enabled": "no"})
    assert browser.get("/held").status_code == 303
    browser.close()
    with pages.database.read() as tx:
        karl = accounts.get(tx, "karl")
        lines = [line.detail for line in audit.listing(tx) if line.action == "account"]
    assert karl is not None
    assert (karl.roles, karl.disabled) == ((AccountRole.REVIEWER, AccountRole.VIEWER), True)
    assert {"account": "karl", "disabled": True} in lines
    assert not any(code[1] in str(line) or NEW in str(line) for line in lines)


def test_the_last_administrator_cannot_be_taken_away(pages: Pages) -> None:
    """Whoever is the last one stays, whichever way it is tried."""

    pages.post("/accounts/person/admin/switch", {"enabled": "no"})
    for way, data in (("switch", {"enabled": "no"}), ("roles", {"roles": ["viewer"]})):
        kept = pages.post(f"/accounts/person/anna/{way}", data)
        assert kept.status_code == 422
        assert "nobody would be left" in text_of(kept.text)


def test_a_token_is_shown_once_and_revoked(pages: Pages) -> None:
    """Its text is on one page and no other; what it may is in the list."""

    typed = {"name": "watch", "scopes": ["view", "audit"], "days": "30"}
    wrong = pages.post("/accounts/tokens/new", typed | {"days": "soon"})
    assert "days are a number" in text_of(wrong.text)
    made = pages.post("/accounts/tokens/new", typed)
    found = re.search(r"gk_[\w-]{40,}", made.text)
    assert found is not None
    headers = {"Authorization": f"Bearer {found[0]}"}
    assert httpx.get(f"{pages.url}/api/v1/audit", headers=headers).status_code == 200
    page = pages.get("/accounts").text
    assert found[0] not in page
    assert "view, audit" in text_of(page)
    pages.post("/accounts/tokens/watch/revoke")
    assert httpx.get(f"{pages.url}/api/v1/audit", headers=headers).status_code == 401
    with pages.database.read() as tx:
        [token] = [one for one in tokens.listing(tx) if one.name == "watch"]
    assert token.disabled


def test_everybody_changes_their_own_password_and_ends_their_sessions(pages: Pages) -> None:
    """The present one is asked for; every other browser is signed out, and this one stays."""

    here = pages.of("viewer")
    there = signed_in(pages, "viewer", PASSWORD)
    assert there is not None
    data = {"old": "wrong", "new": NEW, "again": NEW}
    refused = here.post("/account/password", data=data)
    assert "the name or the password is wrong" in html.unescape(refused.text)
    twice = here.post("/account/password", data={**data, "old": PASSWORD, "again": "other"})
    assert "typed in two ways" in text_of(twice.text)
    done = here.post("/account/password", data={**data, "old": PASSWORD})
    assert done.headers["location"] == "/account"
    assert "this browser" in text_of(here.get("/account").text)
    assert there.get("/account").status_code == 303
    there.close()
    assert here.post("/account/sign-out").headers["location"] == "/sign-in"
    assert here.get("/account").status_code == 303
    assert signed_in(pages, "viewer", PASSWORD) is None
