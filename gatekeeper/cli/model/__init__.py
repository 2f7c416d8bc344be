"""`gatekeeper model`: bundles trained, calibrated, measured, moved, and chosen to answer."""

from __future__ import annotations

import typer

from gatekeeper.cli.model import bundles, choice, fitting, lesion, measuring

app = typer.Typer(
    help="Models: bundles in use, training, site calibration, evaluation.", no_args_is_help=True
)
bundles.register(app)
choice.register(app)
fitting.register(app)
measuring.register(app)
lesion.register(app)
