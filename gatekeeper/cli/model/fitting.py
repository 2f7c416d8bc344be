"""`gatekeeper model train` and `calibrate`: bundles from reference scans."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatekeeper.cli.model.common import (
    BundleName,
    Data,
    Device,
    Form,
    Reference,
    Split,
    counted,
    model_errors,
    progress_bars,
    registry_of,
    settings_of,
    site_folder,
)
from gatekeeper.cli.output import console, fail
from models.errors import ModelError
from models.registry import SHIPPED_BUNDLES, Profile
from models.training.recipes import MEMBERS

if TYPE_CHECKING:
    pass


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(train)
    app.command()(calibrate)


def train(
    context: typer.Context,
    detector: Annotated[str, typer.Argument(help=f"one of: {', '.join(MEMBERS)}")],
    profile: Annotated[
        str, typer.Option(help="what it is for: mr-brain-t1, or a JSON file of your own")
    ],
    data: Data,
    out: Annotated[Path, typer.Option(help="folder that receives the bundle's folder")],
    name: Annotated[str, typer.Option(help="of the bundle; else PROFILE-DETECTOR")] = "",
    seed: Annotated[int, typer.Option(help="of every random choice")] = 0,
    folds: Annotated[
        int,
        typer.Option(
            min=0, help="of cross-fitting; 1 holds subjects out for good; 0: the detector's own"
        ),
    ] = 0,
    split: Split = "train",
    form: Form = None,
    device: Device = "cpu",
    bf16: Annotated[bool, typer.Option("--bf16", help="bfloat16 where torch allows it")] = False,
    compiled: Annotated[bool, typer.Option("--compile", help="use torch.compile")] = False,
    checkpoints: Annotated[
        Path | None, typer.Option(help="folder of checkpoints, of this data and command alone")
    ] = None,
    resume: Annotated[
        bool, typer.Option(help="go on from the checkpoints; otherwise they are removed first")
    ] = True,
    tensorboard: Annotated[
        Path | None, typer.Option(help="folder that receives the losses for TensorBoard")
    ] = None,
    steps_scale: Annotated[
        float, typer.Option(min=1e-6, help="multiplies all steps; under 1 for a quick look")
    ] = 1.0,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="NAME=VALUE, a setting of the detector; repeatable"),
    ] = None,
    completed: Annotated[
        Path | None,
        typer.Option(help="synthetic scans of `model synthesis complete`: fitted on, no more"),
    ] = None,
    completed_alone: Annotated[
        bool, typer.Option("--completed-alone", help="fit on those alone; --data then calibrates")
    ] = False,
) -> None:
    """Fit a detector to reference scans and write its bundle, calibrated by subject.

    Runs on several processors under `torchrun --nproc-per-node N -m gatekeeper model train ...`.
    """
    from models.training import recipes
    from models.training.loop import Run
    from models.training.train import Plan
    from models.training.train import train as fit

    with model_errors():
        if detector not in MEMBERS:
            fail(f"no detector {detector!r}; there are: {', '.join(MEMBERS)}")
        known = recipes.profile(profile)
        reference = Reference(_inside(data, known.folder), form, split, _matched(known))
        plan = Plan(
            detector,
            known,
            data,
            out,
            folds=folds,
            name=name,
            split=split,
            form=form,
            scans=(lambda: reference.scans(context)) if reference.is_dicom else None,
            settings=settings_from(settings or []),
            completed=completed,
            completed_alone=completed_alone,
        )
        if checkpoints is not None and not resume:
            _remove_checkpoints(checkpoints)
        first = _rank() == 0
        with (
            progress_bars(shown=first) as progress,
            tensorboard_log(tensorboard if first else None) as log,
        ):
            run = Run(
                seed=seed,
                device=own_device(device),
                bf16=bf16,
                compiled=compiled,
                steps_scale=steps_scale,
                progress=progress,
                checkpoints=checkpoints,
                log=log,
            )
            path = _fit_and_leave(lambda: fit(plan, run))
    if first:
        reference.report()
        console.print(f"Wrote {path}.")


def _fit_and_leave(fit: Callable[[], Path]) -> Path:
    """Return what `fit` returns; the group of processes that torchrun started is left after it."""
    from torch import distributed

    try:
        return fit()
    finally:
        if distributed.is_available() and distributed.is_initialized():
            distributed.destroy_process_group()


def _inside(data: Path, folder: str) -> Path:
    inside = data / folder
    return inside if folder and inside.is_dir() else data


def _matched(known: Any) -> Profile:
    """Return the part of a recipe's profile that series are matched by."""
    stated = known.statements["profile"]
    return Profile(
        modality=str(stated["modality"]),
        body_part=str(stated["body_part"]),
        body_part_aliases=tuple(stated["body_part_aliases"]),
        sequence=str(stated["sequence"]),
        sequence_aliases=tuple(stated["sequence_aliases"]),
        body_part_from_content=bool(stated["body_part_from_content"]),
    )


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))


def own_device(device: str) -> str:
    """Return the device of this process: under torchrun each has an accelerator of its own.

    Ends the command when there is no such device.
    """
    import torch

    if device == "cpu":
        return device
    if not device.startswith("cuda") or not torch.cuda.is_available():
        fail(f"device {device}: not here; cpu is")
    if device == "cuda" and "LOCAL_RANK" in os.environ:
        local = int(os.environ["LOCAL_RANK"])
        torch.cuda.set_device(local)
        return f"cuda:{local}"
    return device


def _remove_checkpoints(folder: Path) -> None:
    """Remove this process's own checkpoints."""
    for path in sorted(folder.rglob(f"*.{_rank()}.safetensors")):
        path.unlink()


@contextmanager
def tensorboard_log(folder: Path | None) -> Generator[Callable[[str, float, int], None]]:
    """Give a function that writes (name, value, step) for TensorBoard; None writes nothing."""
    if folder is None:
        yield lambda _name, _value, _step: None
        return
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError:
        fail("--tensorboard needs the package tensorboard: pip install tensorboard")
    writer: Any = SummaryWriter(str(folder))
    try:
        yield writer.add_scalar
    finally:
        writer.close()


def settings_from(texts: Sequence[str]) -> dict[str, Any]:
    """Return NAME=VALUE texts as settings; a value is JSON, or else a word.

    Raises:
        ModelError: if one has no name or no value.
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise ModelError(f"--set {text!r} is not NAME=VALUE")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def calibrate(
    context: typer.Context,
    name: BundleName,
    data: Data,
    form: Form = None,
    split: Split = "calibration",
    device_name: Annotated[
        str, typer.Option(help="scanner of scans that do not state theirs; others are left out")
    ] = "",
    protocol: Annotated[
        str, typer.Option(help="protocol of scans that do not state theirs; others are left out")
    ] = "",
    out: Annotated[Path | None, typer.Option(help="folder of bundles; else the site's own")] = None,
    fewest: Annotated[
        int | None,
        typer.Option(
            min=1, help="fewest subjects a scanner and protocol; else models.calibration_subjects"
        ),
    ] = None,
    other_set: Annotated[
        bool,
        typer.Option(
            "--other-set", help="equal subject names are a coincidence: this is another set"
        ),
    ] = False,
    device: Device = "cpu",
) -> None:
    """Calibrate a bundle on the site's own normal scans, scanner by scanner and by protocol.

    Only scans of people taken for normal, none of which the bundle was fitted on. The weights stay
    as they are; a new version of the bundle is written.
    """
    from gatekeeper.work.protocol import plain_name
    from models.training import site_calibration

    if bool(device_name) != bool(protocol):
        fail("give --device-name and --protocol together")
    given = None
    if device_name:
        words = [plain_name(word) for word in device_name.split()]
        given = site_calibration.Origin(" ".join(words), plain_name(protocol))
    folder = out or site_folder(context)
    with model_errors():
        info = registry_of(context).get(name)
        if folder.resolve() == SHIPPED_BUNDLES.resolve():
            fail("a shipped bundle is not changed: choose another --out")
        folder.mkdir(parents=True, exist_ok=True)
        reference = Reference(data, form, split, info.profile)
        with progress_bars() as progress:
            found = site_calibration.calibrate(
                info,
                reference.scans(context),
                folder,
                fewest=fewest or settings_of(context).models.calibration_subjects,
                given=given,
                same_set=not other_set,
                device=own_device(device),
                progress=counted(progress, "scans"),
            )
        reference.report()
        answers = registry_of(context).get(name).digest == found.info.digest
    _report(found, answers=answers)


def _report(found: Any, *, answers: bool) -> None:
    for reason, count in found.left_out.items():
        console.print(f"Left out: {count} x {reason}", highlight=False)
    for origin, count in found.too_small.items():
        console.print(f"Too few subjects, no calibration: {origin}: {count}", highlight=False)
    for group in found.groups:
        console.print(group.in_words(), highlight=False)
    console.print(f"Wrote {found.info.path}, version {found.info.version}.", highlight=False)
    if answers:
        console.print(
            f"It is {found.info.name} from now on. To go back, remove the folder, or import the "
            "version kept beside it.",
            highlight=False,
        )
    else:
        console.print(f"To use it: `gatekeeper model import {found.info.path} --replace`.")
