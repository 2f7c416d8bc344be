"""Fixtures of the tests that kill processes."""

from __future__ import annotations

from pathlib import Path

import pytest
from pynetdicom import _config
from support.objects import send_objects, write_slices

from gatekeeper.send.transport import SendObject


@pytest.fixture
def raw_sending(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the scripted sender send files as they are, without decoding them."""
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)


@pytest.fixture
def objects(tmp_path: Path) -> list[SendObject]:
    """Return six MR instances to send."""
    return send_objects(write_slices(tmp_path / "objects", 6))
