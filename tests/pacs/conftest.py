"""The fixtures of the tests that walk whole studies."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
from support.gate import Gate, running_gate

from storage.engine import Database


@pytest.fixture
def gate(tmp_path: Path, database_url: str, database: Database) -> Generator[Gate]:
    """Run `gatekeeper up` on each kind of database."""
    with running_gate(tmp_path / "gate", database_url, database) as found:
        yield found
