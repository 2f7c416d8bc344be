"""The pages of a running web role, and people of every role who are signed in to them."""

from __future__ import annotations

import functools
import html
import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from gatekeeper.admin.routing import COOKIE
from gatekeeper.identity.passwords import hashed
from gatekeeper.settings import Settings
from gatekeeper.web.server import WebServer
from storage import accounts
from storage.engine import Database
from storage.records import Account, AccountRole
from storage.spool import Spool
from support.web import running_web, trust

PASSWORD = "correct horse battery"  # noqa: S105 - of accounts that a test makes
PEOPLE: Mapping[str, tuple[AccountRole, ...]] = {
    "anna": tuple(AccountRole),
    "admin": (AccountRole.ADMINISTRATOR,),
    "reviewer": (AccountRole.REVIEWER,),
    "physicist": (AccountRole.PHYSICIST,),
    "viewer": (AccountRole.VIEWER,),
}
"""Accounts by name; `anna` may do everything."""


@dataclass
class Pages:
    """The pages of a running web role."""

    server: WebServer
    database: Database
    spool: Spool
    url: str
    _clients: dict[str, httpx.Client] = field(default_factory=dict[str, httpx.Client])

    def of(self, name: str = "anna") -> httpx.Client:
        """Return a browser in which somebody is signed in; '' for nobody."""
        if name not in self._clients:
            ours = {"Sec-Fetch-Site": "same-origin"}
            client = httpx.Client(base_url=self.url, timeout=60, headers=ours, verify=trust())
            if name:
                with self.database.read() as tx:
                    account = accounts.get(tx, name)
                assert account is not None
                # As the page does once it has looked at the password, which takes long by design.
                text = self.server.console.sign_on.begin(account, "127.0.0.1")
                client.cookies.set(COOKIE, text)
            self._clients[name] = client
        return self._clients[name]

    def get(self, path: str, name: str = "anna", **headers: str) -> httpx.Response:
        """GET a page; redirects are not followed."""
        return self.of(name).get(path, headers={k.replace("_", "-"): v for k, v in headers.items()})

    def post(
        self, path: str, data: Mapping[str, Any] | None = None, name: str = "anna", **more: Any
    ) -> httpx.Response:
        """POST a form as a page of ours does; redirects are not followed."""
        return self.of(name).post(path, data=data or {}, **more)

    def close(self) -> None:
        for client in self._clients.values():
            client.close()


@contextmanager
def running_pages(settings: Settings, database: Database) -> Generator[Pages]:
    """Run a web role that knows `PEOPLE`."""
    make_people(database)
    with running_web(settings, database) as web:
        url = f"http://127.0.0.1:{web.port}"
        pages = Pages(web.server, database, web.spool, url)
        try:
            yield pages
        finally:
            pages.close()


def make_people(database: Database, people: Sequence[str] = tuple(PEOPLE)) -> None:
    """Make accounts, all with the same password."""
    with database.begin() as tx:
        for name in people:
            assert accounts.add(tx, Account(name, PEOPLE[name], _hash()))


@functools.cache
def _hash() -> str:
    return hashed("", PASSWORD, 8)


def text_of(page: str) -> str:
    """Return what a page says, without its tags, blanks in a row as one."""
    body = re.sub(r"(?s)<(script|style)\b.*?</\1>", " ", page)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", body))).strip()
