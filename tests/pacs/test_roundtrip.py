"""Round trips to a real archive: Orthanc, by C-GET and by C-MOVE, from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog.testing
from listen.wire import running, settings_for
from support.orthanc import Orthanc
from typer.testing import CliRunner

from gatekeeper.cli import app
from storage import studies
from storage.engine import Database

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

runner = CliRunner()


def node(*arguments: str, code: int = 0) -> Any:
    answer = runner.invoke(app, ["node", *arguments])
    assert answer.exit_code == code, answer.output
    return answer.stdout


def test_orthanc_gives_the_specimen_back_by_c_get_and_by_c_move(
    orthanc: Callable[..., Orthanc],
    tmp_path: Path,
    database: Database,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Stored, found, fetched and the same; what comes to our listener makes no study."""
    monkeypatch.setenv("GATEKEEPER_DATABASE_URL", database_url)
    monkeypatch.setenv("GATEKEEPER_SPOOL_DIRECTORY", str(tmp_path / "spool"))
    monkeypatch.setenv("GATEKEEPER_SPOOL_LOW_WATER_MIB", "1")
    with (
        # The listener runs in this process: its events are none of the commands' output.
        structlog.testing.capture_logs(),
        running(settings_for(tmp_path / "spool"), database) as listening,
    ):
        own: dict[str, Any] = {"gate": ("GATEKEEPER", "127.0.0.1", listening.port)}
        archive = orthanc(modalities=own, DicomAlwaysAllowGet=True, DicomAlwaysAllowMove=True)
        node("add", archive.aet, f"127.0.0.1:{archive.port}", "--role", "archive")

        got = json.loads(node("roundtrip", archive.aet, "--json"))
        node("edit", archive.aet, "--retrieve", "move")
        moved = json.loads(node("roundtrip", archive.aet, "--json"))
        contexts = json.loads(node("contexts", archive.aet, "--json"))
        shown = node("roundtrip", archive.aet)

    for trip in (got, moved):
        assert [step["ok"] for step in trip["steps"]] == [True] * 5, trip
    assert "C-GET" in got["steps"][3]["text"]
    assert "C-MOVE" in moved["steps"][3]["text"]
    assert all(one["ok"] for one in contexts)
    assert "Delete it there" in shown
    with database.read() as tx:
        assert studies.listing(tx) == []
