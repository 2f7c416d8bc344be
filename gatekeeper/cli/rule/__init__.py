"""`gatekeeper rule`: what is done with which study."""

from __future__ import annotations

import typer

from gatekeeper.cli.rule import keeping, testing

app = typer.Typer(
    help="Rules: what is analysed, forwarded, held and told, and when.", no_args_is_help=True
)
keeping.register(app)
testing.register(app)
