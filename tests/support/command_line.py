"""The command line as tests type it."""

from __future__ import annotations

import json
from typing import Any

from typer.testing import CliRunner

from gatekeeper.cli import app
from gatekeeper.errors import GatekeeperError

runner = CliRunner()


def run(*arguments: str, code: int = 0) -> str:
    """Run a command that is to end with this exit code, and return what it printed."""
    answer = runner.invoke(app, arguments)
    assert answer.exit_code == code, answer.output
    # As `gatekeeper.cli.main` prints it, which is not run here.
    error = answer.exception if isinstance(answer.exception, GatekeeperError) else ""
    return f"{answer.output}{error}"


def read(*arguments: str, code: int = 0) -> Any:
    """Run a command with `--json`, as `run` does, and return what it printed."""
    answer = runner.invoke(app, [*arguments, "--json"])
    assert answer.exit_code == code, answer.output
    return json.loads(answer.stdout)
