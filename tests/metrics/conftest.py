"""Fixtures of the tests of metrics and health."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from support.watching import watched
from support.web import Web, running_web

from storage.engine import Database


@pytest.fixture
def web(tmp_path: Path, database: Database) -> Generator[Web]:
    """Run a web role whose scrapes are made afresh each time."""
    with running_web(watched(tmp_path / "spool"), database) as found:
        yield found


@pytest.fixture(scope="session")
def promtool(peer: Callable[[str], str]) -> str:
    """Return Prometheus' own checker, or skip with the reason."""
    return peer("promtool")
