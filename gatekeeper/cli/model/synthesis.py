"""`gatekeeper model synthesis`: a contrast that a reference set lacks, drawn and marked.

Every command writes into a folder, and the same command with the same seed writes the same again.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from gatekeeper.cli.model.common import (
    Data,
    Form,
    Reference,
    Split,
    counted,
    model_errors,
    progress_bars,
)
from gatekeeper.cli.model.fitting import settings_from
from gatekeeper.cli.output import console, error_console
from models.registry import Profile
from models.stated import changed
from models.synthesis import config as synthesis_config

if TYPE_CHECKING:
    from models.synthesis.assess import Assessment

app = typer.Typer(
    help="A missing contrast: drawn by a network, marked as synthetic, fitted on and never "
    "calibrated or measured on.",
    no_args_is_help=True,
)

Out = Annotated[Path, typer.Option(help="new folder that receives everything")]
Inputs = Annotated[
    list[str] | None, typer.Option("--from", help="contrast that is read; repeatable; T1 if none")
]
Output = Annotated[str, typer.Option("--to", help="contrast that is drawn")]
Seed = Annotated[int, typer.Option(help="of every random choice")]
Steps = Annotated[
    float, typer.Option(min=1e-6, help="multiplies all steps; under 1 for a quick look")
]
Setting = Annotated[
    list[str] | None,
    typer.Option("--set", help="NAME=VALUE, a setting of the network; repeatable"),
]


def register(parent: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(train)
    app.command()(complete)
    app.command()(evaluate)
    parent.add_typer(app, name="synthesis")


def train(
    context: typer.Context,
    data: Data,
    out: Out,
    inputs: Inputs = None,
    output: Output = "FLAIR",
    split: Split = "train",
    form: Form = None,
    seed: Seed = 0,
    steps_scale: Steps = 1.0,
    settings: Setting = None,
) -> None:
    """Train on scans that have all contrasts, on one grid; lesions are not learned from."""
    from models.synthesis import command
    from models.training.loop import Run

    with model_errors(), progress_bars() as progress:
        config = _config(inputs, output, settings)
        reference = _reference(data, form, split, config)
        name, licence = _stated(reference)
        made = command.train(
            reference.scans(context),
            config,
            Run(seed=seed, steps_scale=steps_scale, progress=progress),
            out,
            set_name=name,
            licence=licence,
            command=_recipe(config, split, seed, steps_scale, settings or []),
        )
        reference.report()
    stated = made.manifest["data"]
    console.print(
        f"Written to {out}, model digest {made.digest}. Trained on {stated['subjects']} subjects, "
        f"{stated['slices']}.",
        highlight=False,
    )
    console.print(f"Licence of the weights: {escape(str(made.manifest['weights_licence']))}")


def complete(
    context: typer.Context,
    model: Annotated[Path, typer.Argument(help="folder of a synthesis model")],
    data: Data,
    out: Out,
    split: Split = "train",
    form: Form = None,
) -> None:
    """Draw the missing contrast of a reference set of normal scans, each marked as synthetic.

    `gatekeeper model train --completed FOLDER` fits a detector on them beside scans of scanners.
    """
    from models.synthesis import command
    from models.synthesis.model import load

    with model_errors():
        made = load(model)
        reference = _reference(data, form, split, made.config)
        name, licence = _stated(reference)
        with progress_bars() as progress:
            count, left_out = command.complete(
                made,
                reference.scans(context),
                out,
                set_name=name,
                set_licence=licence,
                progress=counted(progress, "scans"),
            )
        reference.report()
    for reason, number in left_out.items():
        error_console.print(f"Left out: {number} x {reason}", highlight=False)
    console.print(
        f"Wrote {count} synthetic {made.config.output} scans to {out}, marked `{made.mark}`.",
        highlight=False,
    )


def evaluate(
    context: typer.Context,
    data: Data,
    out: Out,
    inputs: Inputs = None,
    output: Output = "FLAIR",
    split: Split = "dev",
    form: Form = None,
    seed: Seed = 0,
    steps_scale: Steps = 1.0,
    parts: Annotated[
        int, typer.Option(min=2, help="folds of subjects; slabs of slices where there is one")
    ] = 4,
    gap_mm: Annotated[
        float, typer.Option(min=0, help="between a slab and what is learned from")
    ] = 8.0,
    settings: Setting = None,
) -> None:
    """Measure what a network draws of slices it was not trained on, beside floors without one.

    With lesions drawn: how well what is brighter than drawn finds them.
    """
    from models.synthesis import command
    from models.training.loop import Run

    with model_errors(), progress_bars() as progress:
        config = _config(inputs, output, settings)
        reference = _reference(data, form, split, config)
        found = command.evaluate(
            list(reference.scans(context)),
            config,
            Run(seed=seed, steps_scale=steps_scale, progress=progress),
            out,
            command=_typed(),
            parts=parts,
            gap_mm=gap_mm,
        )
        reference.report()
    console.print(_likeness(found))
    if found.anomalies:
        console.print(_anomalies(found))
    console.print(f"Written to {out}", highlight=False)


def _likeness(found: Assessment) -> Table:
    table = Table(title="Away from lesions, not trained on", title_justify="left")
    for heading in ("drawn by", "MAE", "parts", "PSNR, dB", "SSIM", "in lesions, elsewhere"):
        table.add_column(heading, overflow="fold")
    for name, one in found.overall.items():
        errors = [part.error for part in found.likeness[name]]
        inside, outside = found.inside[name]
        table.add_row(
            escape(name),
            f"{one.error:.3f}",
            f"{min(errors):.3f}-{max(errors):.3f}",
            f"{one.psnr:.1f}",
            f"{one.ssim:.3f}",
            f"{inside:+.3f}, {outside:+.3f}",
        )
    return table


def _anomalies(found: Assessment) -> Table:
    title = f"Lesions, voxel AP; prevalence {found.prevalence:.4f}; intervals over {found.unit}"
    table = Table(title=title, title_justify="left")
    for heading in ("map", "AP", "less the image as it is", "less it prepared alike", "AUROC"):
        table.add_column(heading, overflow="fold")
    for name, one in found.anomalies.items():
        alike = str(one.less_alike or "")
        table.add_row(escape(name), str(one.ap), str(one.less_raw), alike, str(one.auroc))
    return table


def _config(
    inputs: list[str] | None, output: str, settings: list[str] | None
) -> synthesis_config.Config:
    usual = replace(synthesis_config.Config(), inputs=tuple(inputs or ("T1",)), output=output)
    return changed(usual, settings_from(settings or []), synthesis_config.WHAT)


def _reference(
    data: Path, form: str | None, split: str, config: synthesis_config.Config
) -> Reference:
    """Return the scans; of a DICOM folder, those of the first contrast that is read."""
    part = config.anatomy.upper()
    profile = Profile("MR", part, ("HEAD",) if part == "BRAIN" else (), config.inputs[0], (), True)
    return Reference(data, form, split, profile)


def _stated(reference: Reference) -> tuple[str, str]:
    """Return what a set is and under what it may be used, in words."""
    if reference.is_dicom:
        return reference.folder.name, "stated by whoever has the scans"
    from models.sources import open_source

    source = open_source(reference.folder, reference.form)
    return f"{source.name}: {source.describes}; {reference.split}", source.licence


def _recipe(
    config: synthesis_config.Config, split: str, seed: int, steps_scale: float, settings: list[str]
) -> str:
    """Return what to type to train the same again; data and folders are the reader's own."""
    words = [f"--from {name}" for name in config.inputs]
    words += [f"--to {config.output} --split {split} --seed {seed}"]
    words += [f"--set {shlex.quote(one)}" for one in settings]
    words += [f"--steps-scale {steps_scale}"] if steps_scale != 1 else []
    return " ".join(["gatekeeper model synthesis train", *words])


def _typed() -> str:
    return "gatekeeper " + shlex.join(sys.argv[1:])
