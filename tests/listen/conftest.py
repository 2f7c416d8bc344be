"""Fixtures of the listener's tests."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
from listen.wire import Listening, running, settings_for
from pynetdicom import _config

from storage.engine import Database


@pytest.fixture
def raw_sending(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the scripted sender send files as they are, without decoding them."""
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)


@pytest.fixture
def listening(tmp_path: Path, database: Database) -> Generator[Listening]:
    """Run a listener with the default settings."""
    with running(settings_for(tmp_path / "spool"), database) as found:
        yield found
