"""Fixtures of the web role's tests."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
from support.web import Web, running_web, settings_for

from storage.engine import Database


@pytest.fixture
def web(tmp_path: Path, database: Database) -> Generator[Web]:
    """Run a web role with the default settings."""
    with running_web(settings_for(tmp_path / "spool"), database) as found:
        yield found
