"""`gatekeeper model`: bundles trained, calibrated, measured, moved, and chosen to answer."""

from __future__ import annotations

import typer

from gatekeeper.cli.model import (
    attribution,
    bundles,
    choice,
    fitting,
    lesion,
    measuring,
    multimodal,
    statistics,
    synthesis,
)

app = typer.Typer(
    help="Models: bundles in use, training, site calibration, evaluation.", no_args_is_help=True
)
bundles.register(app)
choice.register(app)
fitting.register(app)
measuring.register(app)
app.add_typer(multimodal.app, name="multimodal")
lesion.register(app)
synthesis.register(app)
attribution.register(app)
statistics.register(app)
