"""`gatekeeper bench`: measurements, run from a source tree and never as timed tests."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Annotated

import typer

from gatekeeper.cli.output import fail

BENCHES = Path(__file__).resolve().parents[2] / "tests" / "bench"


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(bench)


def bench(
    context: typer.Context, name: Annotated[str, typer.Argument(help="which measurement")]
) -> None:
    """Run a measurement of tests/bench; what follows its name goes to it (try --help)."""
    known = sorted(path.stem for path in BENCHES.glob("*.py"))
    if not known:
        fail("measurements are part of the source tree, not of the installed package")
    if name not in known:
        fail(f"no measurement {name}; there are: {', '.join(known)}")
    sys.path.insert(0, str(BENCHES.parent))
    sys.argv = [f"gatekeeper bench {name}", *context.args]
    runpy.run_path(str(BENCHES / f"{name}.py"), run_name="__main__")
