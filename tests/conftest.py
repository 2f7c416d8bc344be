"""Shared fixtures: real peers and real data, each skipped with its reason where absent."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

PEERS_REQUIRED = os.environ.get("GATEKEEPER_PEERS") == "required"
"""Set in continuous integration: there, a missing peer is a failure, not a skip."""

SHARED_DATA = Path(
    os.environ.get(
        "GATEKEEPER_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"
    )
)


@pytest.fixture(scope="session")
def peer() -> Callable[[str], str]:
    """Return the path of a peer program, or skip the test with the reason."""

    def find(program: str) -> str:
        path = shutil.which(program)
        if path is None and PEERS_REQUIRED:
            pytest.fail(f"peer missing: {program} is not installed, and peers are required here")
        if path is None:
            pytest.skip(f"peer missing: {program} is not installed")
        return path

    return find


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real data beside the project, or skip the test."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the shared data folder is not beside the project")
    return SHARED_DATA
