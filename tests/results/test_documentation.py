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


def test_what_is_said_to_be_verified_is_verified_by_a_test() -> None:
    """Every line on AI Results is marked, and the tests that it names exist."""
    if not PAGE.is_file():
        pytest.skip("the documentation is not beside the tests")
    table = PAGE.read_text(encoding="utf-8").split("against IHE AI Results")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (.+) \| (.+) \|$", table, re.MULTILINE)[1:]
    sources = [path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py")]
    tests = {
        name for text in sources for name in re.findall(r"^def (test_\w+)", text, re.MULTILINE)
    }

    assert rows
    for asked, state in rows:
        named = re.findall(r"`(test_\w+)`", state)
        assert state.startswith("verified by `" if named else "not verified"), asked
        assert set(named) <= tests, asked
