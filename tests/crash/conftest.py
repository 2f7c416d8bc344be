"""Fixtures of the tests that kill processes."""

from __future__ import annotations

import pytest
from pynetdicom import _config


@pytest.fixture
def raw_sending(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the scripted sender send files as they are, without decoding them."""
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)
