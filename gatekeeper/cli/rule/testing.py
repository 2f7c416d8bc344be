"""`gatekeeper rule test`: which rules match files, why, and what would happen."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from gatekeeper.cli.site import AsJson, site_of


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(name="test")(test_rules)


def test_rules(
    context: typer.Context,
    paths: Annotated[list[Path], typer.Argument(help="DICOM files or folders", exists=True)],
    source: Annotated[str, typer.Option(help="AE title that sent it")] = "",
    at: Annotated[
        datetime | None, typer.Option(help="local time it was received at; default: now")
    ] = None,
    verdict: Annotated[
        str,
        typer.Option(help="ask further with CLEAR, SUSPECT, UNREADABLE or UNCALIBRATED"),
    ] = "",
    p_value: Annotated[
        float | None, typer.Option("--p", help="with this p-value", min=0, max=1)
    ] = None,
    detector: Annotated[
        list[str] | None, typer.Option(help="with a verdict by this bundle; repeat")
    ] = None,
    calibrated: Annotated[
        bool | None,
        typer.Option(help="with a device that has, or has not, a calibration of its own"),
    ] = None,
    rules: Annotated[
        Path | None,
        typer.Option(help="ask the rules of a TOML file, not those of the site", exists=True),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show which rules match files, why, and what would happen. Nothing is done."""
    from gatekeeper.cli.rule.trying import Question, judged_by, try_rules

    judged = judged_by(verdict, p_value, tuple(detector or ()), calibrated)
    question = Question(paths, source, at, judged, rules)
    try_rules(site_of(context), question, as_json=as_json)
