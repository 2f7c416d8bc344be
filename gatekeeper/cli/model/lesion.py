"""`gatekeeper model lesion`: the lesion network trained, measured, and shown.

Every command writes into a folder, and the same command with the same seed writes the same again.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gatekeeper.cli.model.common import (
    model_errors,
    progress_bars,
    settings_of,
    site_folder,
)
from gatekeeper.cli.model.fitting import settings_from
from gatekeeper.cli.output import console, error_console
from models.lesion import config as lesion_config

if TYPE_CHECKING:
    from models.lesion.command import Set
    from models.lesion.repeated import Protocol
    from models.scan import Scan
    from models.sources.lidc import Annotation

app = typer.Typer(help="Lesions: how likely each is malignant.", no_args_is_help=True)

Folder = Annotated[
    Path, typer.Option("--data", help="chest_ct_iqoth, or a folder of LIDC-IDRI: DICOM and XML")
]
Out = Annotated[Path, typer.Option(help="folder that receives everything")]
Kind = Annotated[str, typer.Option(help="of latent: " + ", ".join(lesion_config.KINDS))]
Seed = Annotated[int, typer.Option(help="of every random choice")]
Steps = Annotated[
    float, typer.Option(min=1e-6, help="multiplies all steps; under 1 for a quick look")
]
Setting = Annotated[
    list[str] | None,
    typer.Option("--set", help="NAME=VALUE, a setting of the network; repeatable"),
]
Candidates = Annotated[int, typer.Option(min=1, help="patches of a slice that has only a class")]
Folds = Annotated[int, typer.Option(min=2, help="of patients")]


def register(parent: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(train)
    app.command()(evaluate)
    app.command()(traverse)
    app.command()(depth)
    parent.add_typer(app, name="lesion")


def train(
    context: typer.Context,
    data: Folder,
    out: Out,
    kind: Kind = "dirichlet",
    seed: Seed = 0,
    steps_scale: Steps = 1.0,
    folds: Folds = 5,
    candidates: Candidates = 2,
    settings: Setting = None,
) -> None:
    """Train a lesion model on all patients of a set, calibrated on patients left out."""
    from models.lesion import command
    from models.training.loop import Run

    with model_errors(), progress_bars() as progress:
        config = _config(kind, settings)
        given = lesions_of(context, data, config, candidates)
        run = Run(seed=seed, steps_scale=steps_scale, progress=progress)
        made = command.train(given, config, run, out, folds)
    benign, malignant = made.calibration.patients
    console.print(
        f"Written to {out}. Calibrated on {benign} benign and {malignant} malignant patients: "
        f"Brier {made.calibration.brier:.3f}.",
        highlight=False,
    )


def evaluate(
    context: typer.Context,
    data: Folder,
    out: Out,
    seed: Seed = 0,
    steps_scale: Steps = 1.0,
    folds: Folds = 5,
    candidates: Candidates = 2,
    trials: Annotated[int, typer.Option(min=0, help="of each fold's search, classifier")] = 8,
    network_trials: Annotated[int, typer.Option(min=0, help="of the search, autoencoder")] = 0,
    ablations: Annotated[
        float, typer.Option(min=0, help="part of the steps for each part of the loss left out")
    ] = 0.0,
    kinds: Annotated[str, typer.Option(help="which latents, by comma")] = "gaussian,dirichlet",
    lengths: Annotated[
        str, typer.Option(help="steps by comma, of which each fold's inner patients choose")
    ] = "",
    members: Annotated[int, typer.Option(min=1, help="networks of an ensemble")] = 1,
    partitions: Annotated[int, typer.Option(min=1, help="of the patients into folds")] = 1,
    jobs: Annotated[int, typer.Option(min=1, help="processes that train at once")] = 1,
    settings: Setting = None,
) -> None:
    """Measure both kinds of lesion model beside their floors, by patient, as an HTML report."""
    from models.lesion import command
    from models.training.loop import Run

    with model_errors(), progress_bars() as progress:
        config = _config(lesion_config.KINDS[0], settings)
        given = lesions_of(context, data, config, candidates)
        run = Run(seed=seed, steps_scale=steps_scale, progress=progress)
        found = command.evaluate(
            given, config, run, out, _typed(),
            kinds=kinds.split(","), folds=folds, trials=trials, network_trials=network_trials,
            ablation_scale=ablations,
            protocol=_protocol(lengths, members, partitions, jobs, config.steps),
        )  # fmt: skip
    for name, one in found.kinds.items():
        scores = one.result
        console.print(
            f"{name}: AUROC {scores.frozen.delong} by codes alone, {scores.joint.delong} jointly "
            f"tuned; SSIM {one.similarity}",
            highlight=False,
        )
    for name, score in found.floors.items():
        console.print(f"floor, {name}: AUROC {score.delong}", highlight=False)
    console.print(f"Report: {out / command.REPORT}", highlight=False)


def traverse(
    context: typer.Context,
    model: Annotated[Path, typer.Argument(help="folder of a lesion model")],
    data: Folder,
    out: Out,
    candidates: Candidates = 2,
) -> None:
    """Draw what each number of a trained model's code changes: a strip and an animation."""
    from models.lesion import command
    from models.lesion import model as lesion_model

    with model_errors():
        made = lesion_model.load(model)
        given = lesions_of(context, data, made.config, candidates)
        command.written(made.fitted, given.lesions, out, made.config.kind)
    console.print(f"Written to {out}", highlight=False)


def depth(
    context: typer.Context,
    data: Folder,
    out: Out,
    seed: Seed = 0,
    steps_scale: Steps = 1.0,
    settings: Setting = None,
) -> None:
    """Compare 2-D, 2.5-D and 3-D: how well each draws the nodules of LIDC-IDRI."""
    from models.lesion import depth as lesion_depth
    from models.training.loop import Run

    with model_errors():
        config = _config(lesion_config.KINDS[0], settings)
        scans = list(_annotated(context, data))
        found = lesion_depth.compare(scans, config, Run(seed=seed, steps_scale=steps_scale))
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps([asdict(one) for one in found], indent=1)
    (out / "depth.json").write_text(text, encoding="utf-8")
    for one in found:
        low, high = one.spread
        console.print(
            f"{one.variant}: SSIM {one.similarity:.3f} (seeds {low:.3f}-{high:.3f}), MSE "
            f"{one.error:.4f}, {one.patches} nodule slices",
            highlight=False,
        )


def _config(kind: str, settings: list[str] | None) -> lesion_config.Config:
    stated = asdict(lesion_config.Config(kind=kind))
    return lesion_config.from_mapping(stated | settings_from(settings or []))


def _protocol(
    lengths: str, members: int, partitions: int, jobs: int, steps: int
) -> Protocol | None:
    """Return what is to be repeated; None for one network a fold."""
    from models.lesion.repeated import Protocol

    if not lengths and members == partitions == 1:
        return None
    try:
        stated = tuple(int(one) for one in lengths.split(",")) if lengths else (steps,)
    except ValueError as error:
        raise typer.BadParameter("whole numbers by comma", param_hint="--lengths") from error
    made = Protocol(stated, members, partitions, jobs)
    made.check()
    return made


def lesions_of(
    context: typer.Context, folder: Path, config: lesion_config.Config, candidates: int
) -> Set:
    """Return the lesions of a folder: LIDC-IDRI where it holds XML, else `chest_ct_iqoth`."""
    from models.lesion import command
    from models.sources import open_source

    if next(folder.rglob("*.xml"), None) is not None:
        return _lidc(context, folder, config)

    def read(split: str) -> Iterable[Scan]:
        return open_source(folder, "chest_ct_iqoth").read(folder, split)

    return command.of_iqoth(read, config, candidates)


def _lidc(context: typer.Context, folder: Path, config: lesion_config.Config) -> Set:
    from models.lesion import command

    return command.of_lidc(_annotated(context, folder), config)


def _annotated(context: typer.Context, folder: Path) -> Iterator[tuple[Scan, Annotation]]:
    """Yield the scans of a folder of LIDC-IDRI; say at the end what was left out."""
    from gatekeeper.lidc import annotated_scans
    from gatekeeper.pseudonym import subject_key
    from gatekeeper.reference import Limits

    work = settings_of(context).work
    left_out: Counter[str] = Counter()
    yield from annotated_scans(
        folder,
        "all",
        subject_key(site_folder(context)),
        Limits(work.memory_mib, work.cpu_seconds, work.wall_seconds, work.maximum_voxels),
        lambda reason: left_out.update([reason]),
    )
    for reason, count in left_out.most_common():
        error_console.print(f"Left out: {count} x {reason}", highlight=False)


def _typed() -> str:
    return "gatekeeper " + shlex.join(sys.argv[1:])
