"""What the tests of the gate share."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.passage import Passage

from storage.engine import Database


@pytest.fixture
def passage(tmp_path: Path, database: Database) -> Passage:
    """Give a site with an archive and an AI, once on SQLite and once on PostgreSQL."""
    return Passage(tmp_path, database)
