"""The documents say what the program does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gatekeeper import config
from gatekeeper.cli import app

ROOT = Path(__file__).resolve().parents[2]


def document(name: str) -> str:
    path = ROOT / name
    if not path.exists():
        pytest.skip("the documents are not beside these tests")
    return path.read_text(encoding="utf-8")


def test_the_settings_page_is_the_settings() -> None:
    """docs/settings.md has exactly the rows that the program knows."""
    assert document("docs/settings.md") == config.page()


@pytest.mark.parametrize("name", ["README.md", "docs/administrator.md"])
def test_every_command_named_in_a_document_exists(name: str) -> None:
    """A reader can run what the pages show."""
    found = set(re.findall(r"gatekeeper ((?:[a-z]+ ?){1,2})", _code(document(name))))
    runner = CliRunner()
    assert found
    for words in found:
        arguments = words.split()
        answers = [runner.invoke(app, [*arguments[:size], "--help"]).exit_code for size in (1, 2)]
        assert answers[0] == 0, f"no command: gatekeeper {words}"


def _code(text: str) -> str:
    return "\n".join(re.findall(r"```.*?```|`[^`]+`", text, flags=re.DOTALL))
