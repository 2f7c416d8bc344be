"""The page of faults names tests that exist, and says of every other row why there is none."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "faults.md"


def rows() -> list[tuple[str, str]]:
    """Return fault and test cell of each row."""
    if not PAGE.exists():
        pytest.skip("the documents are not beside these tests")
    cells = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if line.startswith("| ")
    ]
    return [(row[0].strip("| "), row[2].strip("| ")) for row in cells if len(row) == 3]


def functions_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_test_named_on_the_page_of_faults_exists() -> None:
    """A promise is only as good as the test that is really there."""
    named = {name for _, cell in rows() for name in re.findall(r"`(tests/[^`]+)`", cell)}
    missing = [
        name
        for name in sorted(named)
        if not (ROOT / name.partition("::")[0]).exists()
        or name.partition("::")[2] not in functions_in(ROOT / name.partition("::")[0])
    ]

    assert len(named) > 80
    assert missing == []


def test_every_fault_has_a_test_or_a_reason_for_none() -> None:
    """No row is left empty."""
    found = [(fault, cell) for fault, cell in rows() if fault != "fault"]
    bare = [
        fault for fault, cell in found if "`tests/" not in cell and not cell.startswith("none: ")
    ]

    assert len(found) > 40
    assert bare == []
