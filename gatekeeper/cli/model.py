"""`gatekeeper model`: the detectors in use, and training new ones on reference scans."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from gatekeeper.cli.output import console, emit_json, emit_rows, fail, short
from gatekeeper.cli.site import AsJson, site_of
from models.registry import Registry

app = typer.Typer(help="Models: bundles in use, and training.", no_args_is_help=True)


def _registry(context: typer.Context) -> Registry:
    return Registry(site_of(context).settings.models.directories)


@app.command(name="list")
def list_models(context: typer.Context, as_json: AsJson = False) -> None:
    """List the bundles that studies are matched against."""
    bundles = _registry(context).bundles()
    rows: list[Any] = (
        [{"name": b.name, "version": b.version, "digest": b.digest, **b.manifest} for b in bundles]
        if as_json
        else list(bundles)
    )
    emit_rows(
        "Models",
        rows,
        {
            "name": lambda bundle: bundle.name,
            "version": lambda bundle: bundle.version,
            "digest": lambda bundle: short(bundle.digest),
            "detector": lambda bundle: str(bundle.manifest["detector"]),
            "calibrated on": lambda bundle: str(bundle.manifest["calibration"]["description"]),
            "licence": lambda bundle: str(bundle.manifest["weights_licence"]),
        },
        as_json=as_json,
        empty="No bundles; nothing would be assessed.",
    )


@app.command()
def show(
    context: typer.Context, name: Annotated[str, typer.Argument(help="name of a bundle")]
) -> None:
    """Print a bundle's manifest: data, recipe, calibration, intended use, limits."""
    for bundle in _registry(context).bundles():
        if bundle.name == name:
            emit_json(bundle.manifest)
            return
    fail(f"bundle {name} is not installed")


@app.command()
def train(
    detector: Annotated[str, typer.Argument(help="the detector, `features`")],
    profile: Annotated[str, typer.Option(help="the profile to fit, for example mr-brain-t1")],
    data: Annotated[Path, typer.Option(help="folder of the reference scans")],
    out: Annotated[Path, typer.Option(help="folder that receives the bundle")],
    seed: Annotated[int, typer.Option(help="seed of every random choice")] = 0,
) -> None:
    """Fit a detector to reference scans and write its bundle, calibrated by subject."""
    from models.training.train import train as fit

    if not data.is_dir():
        fail(f"{data}: no such folder")
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        tasks: dict[str, Any] = {}

        def progress(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bar.add_task(step, total=total)
            bar.update(tasks[step], completed=done, total=total)

        path = fit(detector, profile, data, out, seed, progress)
    console.print(f"Wrote {path}.")
