"""Signing in at a provider of OpenID Connect, a real one, and what goes wrong on the way."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from oidc.provider import CLIENT, SECRET, real_provider, sign_in_there
from support.gate import free_port
from support.pages import PASSWORD, Pages, make_people, text_of
from support.web import running_web, settings_for

from gatekeeper.settings import AccountSettings
from storage import accounts, audit
from storage.engine import Database
from storage.records import AccountRole

ROLES = ("pacs-admins=administrator", "readers=reviewer")


@pytest.fixture
def database(sqlite_url: str) -> Generator[Database]:
    """Open a database of SQLite."""
    found = Database.connect(sqlite_url)
    yield found
    found.dispose()


@contextmanager
def signing_in(folder: Path, database: Database, issuer: str, port: int, **more: Any) -> Any:
    """Run the pages with a provider."""
    known = AccountSettings(
        oidc_issuer=issuer,
        oidc_client_id=CLIENT,
        oidc_client_secret=SECRET,
        oidc_scopes=("profile", "groups"),
        oidc_roles_claim="groups",
        oidc_roles=ROLES,
        oidc_seconds=20.0,
    )
    settings = settings_for(
        folder / "spool", {"port": port}, accounts=dataclasses.replace(known, **more)
    )
    with running_web(settings, database) as web:
        pages = Pages(web.server, database, web.spool, f"http://127.0.0.1:{web.port}")
        yield pages
        pages.close()


def browser() -> httpx.Client:
    """Return a browser with nobody signed in, for us and for the provider alike."""
    return httpx.Client(timeout=60)


def begin(pages: Pages, client: httpx.Client, path: str = "/held") -> str:
    """Press the button, and return where it leads."""
    answer = client.get(f"{pages.url}/sign-in/elsewhere", params={"next": path})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def test_people_sign_in_at_the_provider_with_the_roles_that_it_gives(
    tmp_path: Path, database: Database, node: str
) -> None:
    """An account is made at the first time; without a role there, nobody is let in."""

    there, here = free_port(), free_port()
    callback = f"http://127.0.0.1:{here}/sign-in/callback"
    make_people(database, ("admin", "reviewer"))
    with (
        real_provider(node, there, callback) as issuer,
        signing_in(tmp_path, database, issuer, here) as pages,
    ):
        with browser() as client:
            assert "Sign in with" in text_of(client.get(f"{pages.url}/sign-in").text)
            back = sign_in_there(client, begin(pages, client), "anna")
            answer = client.get(back)
            assert (answer.status_code, answer.headers["location"]) == (303, "/held")
            assert client.get(f"{pages.url}/held").status_code == 200
            assert client.get(f"{pages.url}/accounts").status_code == 200
            assert "have no password here" in text_of(client.get(f"{pages.url}/account").text)
            # The code was used: neither it nor what the browser kept is good any more.
            again = client.get(back)
            assert (again.status_code, "begin again" in text_of(again.text)) == (403, True)
        with browser() as client:
            answer = client.get(sign_in_there(client, begin(pages, client), "otto"))
            assert (answer.status_code, "no role here" in text_of(answer.text)) == (403, True)
        with browser() as client:
            # A browser that did not ask: somebody else's answer signs nobody in.
            forged = client.get(f"{callback}?code=x&state=y")
            assert (forged.status_code, "did not ask" in text_of(forged.text)) == (403, True)
            back = sign_in_there(client, begin(pages, client), "karl")
            wrong = client.get(back.replace("state=", "state=x"))
            assert (wrong.status_code, "not one to what" in text_of(wrong.text)) == (403, True)
    with database.read() as tx:
        known = {one.name: one for one in accounts.listing(tx)}
        made = [line for line in audit.listing(tx) if line.detail.get("account") == "anna"]
    assert known["anna"].roles == (AccountRole.ADMINISTRATOR, AccountRole.REVIEWER)
    assert (known["anna"].subject, known["anna"].password) == (f"{issuer} anna", "")
    assert known.keys() == {"anna", "admin", "reviewer"}
    assert made[0].actor == "OpenID Connect"


def test_new_keys_of_the_provider_are_fetched_and_without_it_passwords_still_do(
    tmp_path: Path, database: Database, node: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restart with other keys is no trouble; while it is down the page says so."""

    monkeypatch.setattr("gatekeeper.identity.oidc._KEYS_AGAIN_SECONDS", 0.0)
    there, here = free_port(), free_port()
    callback = f"http://127.0.0.1:{here}/sign-in/callback"
    make_people(database, ("admin",))
    with signing_in(tmp_path, database, f"http://127.0.0.1:{there}", here) as pages:
        with browser() as client:
            down = client.get(f"{pages.url}/sign-in/elsewhere")
            assert (down.status_code, "does not answer" in text_of(down.text)) == (503, True)
            data = {"name": "admin", "password": PASSWORD}
            ours = {"Sec-Fetch-Site": "same-origin"}
            local = client.post(f"{pages.url}/sign-in", data=data, headers=ours)
            assert local.status_code == 303
        for _ in range(2):
            with real_provider(node, there, callback), browser() as client:
                answer = client.get(sign_in_there(client, begin(pages, client), "karl"))
                assert answer.status_code == 303, text_of(answer.text)
                assert urlsplit(answer.headers["location"]).path == "/held"
        with browser() as client:
            with real_provider(node, there, callback):
                back = sign_in_there(client, begin(pages, client), "karl")
            late = client.get(back)
            assert (late.status_code, "does not answer" in text_of(late.text)) == (503, True)
