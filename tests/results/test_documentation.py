"""The page on results says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gatekeeper.results import codes

PAGE = Path(__file__).resolve().parents[2] / "docs" / "results.md"


def test_every_private_code_is_documented() -> None:
    """The table of codes is the scheme, to the letter and in order."""
    if not PAGE.is_file():
        pytest.skip("the documentation is not beside the tests")
    table = PAGE.read_text(encoding="utf-8").split("## Codes of our own")[1].split("\n## ")[0]
    rows = re.findall(r"^\| ([A-Z_]+) \| (.+) \|$", table, re.MULTILINE)

    assert rows == [(code.value, code.meaning) for code in codes.ALL_OURS]
