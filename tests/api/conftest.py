"""Fixtures of the API's tests: a running web role, with tokens for it."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.pages import Pages, make_people
from support.passage import Passage
from support.web import running_web, settings_for, trust

from gatekeeper.api.entry import ROOT
from gatekeeper.identity import tokens
from gatekeeper.identity.permission import Permission
from gatekeeper.settings import Settings
from storage.engine import Database
from storage.records import Scope


@dataclass
class Api:
    """The API of a running web role."""

    pages: Pages

    @property
    def url(self) -> str:
        return self.pages.url + ROOT

    @property
    def database(self) -> Database:
        return self.pages.database

    def browser(self, name: str) -> httpx.Client:
        """Return a browser in which one of `support.pages.PEOPLE` is signed in."""
        make_people(self.database, (name,))
        return self.pages.of(name)

    def token(self, name: str, *may: Permission) -> str:
        """Make a token that may do so; without any, everything."""
        scopes = [Scope(one.value) for one in may or Permission]
        with self.database.begin() as tx:
            return tokens.make(tx, Settings(), name, scopes, "tests")

    def call(
        self, method: str, path: str, token: str, body: Any = None, **headers: str
    ) -> httpx.Response:
        """Ask with a token; '' for none."""
        given = {name.replace("_", "-"): text for name, text in headers.items()}
        if token:
            given["Authorization"] = f"Bearer {token}"
        url = self.url + path
        return httpx.request(method, url, json=body, headers=given, timeout=60, verify=trust())


@pytest.fixture
def database(sqlite_url: str) -> Generator[Database]:
    """Open a database of SQLite."""
    found = Database.connect(sqlite_url)
    yield found
    found.dispose()


@pytest.fixture
def site(tmp_path: Path, database: Database) -> Passage:
    """Return a site that studies come to."""
    return Passage(tmp_path, database)


@pytest.fixture
def api(tmp_path: Path, site: Passage) -> Generator[Api]:
    """Run a web role on the spool and the database of the site."""
    with running_web(settings_for(tmp_path / "spool"), site.database) as web:
        pages = Pages(web.server, site.database, web.spool, f"http://127.0.0.1:{web.port}")
        yield Api(pages)
        pages.close()
