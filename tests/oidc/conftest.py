"""Fixtures: a real provider, or a skip with the reason where it is not fetched."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from oidc.provider import FOLDER


@pytest.fixture(scope="session")
def node(peer: Callable[[str], str]) -> str:
    """Return the program that runs the provider, or skip; where GATEKEEPER_OIDC is, it must be."""
    if not (FOLDER / "fetched.json").is_file():
        reason = "peer missing: oidc-provider (tests/oidc/fetch-provider.sh)"
        if "GATEKEEPER_OIDC" in os.environ:
            pytest.fail(reason)
        pytest.skip(reason)
    return peer("node")
