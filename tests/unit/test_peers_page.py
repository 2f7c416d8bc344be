"""The page beside other gateways claims nothing of ours that no test shows."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "peers.md"


def rows() -> list[tuple[str, str, str]]:
    """Return feature, our state and what shows it, of each row of both tables."""
    if not PAGE.exists():
        pytest.skip("the documents are not beside these tests")
    cells = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if line.startswith("| ") and not line.startswith("| feature ")
    ]
    assert {len(row) for row in cells} == {3, 8}
    return [(row[0], row[-2], row[-1].rstrip("| ")) for row in cells]


@functools.cache
def names_in(path: Path) -> frozenset[str]:
    if not path.exists():
        return frozenset()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def test_every_claim_names_tests_that_exist() -> None:
    """What is stated as done, or partly done, is shown by tests; the rest says that it is not."""
    for feature, state, shown in rows():
        named = re.findall(r"`(tests/[^`]+)::(test_\w+)`", shown)
        if re.match(r"[YP]\b", state):
            assert named, feature
        else:
            assert state in {"N", "pending"}, feature
            assert not named, feature
        for path, name in named:
            assert name in names_in(ROOT / path), f"{feature}: {path}::{name}"


def test_no_row_is_lost() -> None:
    """Rows that are pending are rows all the same."""
    found = rows()

    assert len(found) > 30
    assert len({feature for feature, _, _ in found}) == len(found)
