"""`gatekeeper node contexts`, `roundtrip` and `sheet`: is it set up as it should be, both ways?"""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
