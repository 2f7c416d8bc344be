"""Fixtures of the pages' tests."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
from support.pages import Pages, running_pages
from support.web import settings_for

from storage.engine import Database


@pytest.fixture
def database(sqlite_url: str) -> Generator[Database]:
    """Open a database of SQLite: what pages ask of storage is tested there on both.

    A test that asks for `database_url` itself runs on both.
    """
    found = Database.connect(sqlite_url)
    yield found
    found.dispose()


@pytest.fixture
def pages(tmp_path: Path, database: Database) -> Generator[Pages]:
    """Run a web role with people of every role, signed in as they are used."""
    with running_pages(settings_for(tmp_path / "spool"), database) as found:
        yield found
