"""`gatekeeper model attribution`: what an answer rests on, as pictures with their sanity check."""

from __future__ import annotations

import importlib.util
import itertools
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gatekeeper.cli.model import lesion
from gatekeeper.cli.model.common import (
    BundleName,
    Data,
    Form,
    Reference,
    Split,
    counted,
    model_errors,
    progress_bars,
    registry_of,
)
from gatekeeper.cli.output import console, error_console
from models.errors import ModelError

if TYPE_CHECKING:
    from models.attribution.sanity import Sanity

app = typer.Typer(
    help="What an answer rests on: maps, each with a sanity check.", no_args_is_help=True
)

Out = Annotated[Path, typer.Option(help="folder that receives page, picture and figures")]
Pictures = Annotated[int, typer.Option(min=1, help="at most so many rows of the picture")]
Seed = Annotated[int, typer.Option(help="of every random choice")]
Randomised = Annotated[int, typer.Option(min=1, help="networks with all layers drawn anew")]
PAGE, PICTURE, FIGURES = "attribution.html", "attribution.png", "attribution.json"


def register(parent: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(name="lesion")(lesion_maps)
    app.command(name="scan")(scan_maps)
    parent.add_typer(app, name="attribution")


def lesion_maps(
    context: typer.Context,
    model: Annotated[Path, typer.Argument(help="folder of a lesion model")],
    data: lesion.Folder,
    out: Out,
    each: Annotated[int, typer.Option(min=1, help="patches of a patient")] = 1,
    window: Annotated[int, typer.Option(min=1, help="side of the covered window, pixels")] = 6,
    stride: Annotated[int, typer.Option(min=1, help="pixels between windows")] = 2,
    randomised: Randomised = 3,
    pictures: Pictures = 6,
    seed: Seed = 0,
    candidates: lesion.Candidates = 2,
) -> None:
    """Draw what a lesion model's answers rest on: occlusion and gradient maps."""
    with model_errors():
        _needs_captum()
        from models.attribution import drawing, lesions, page
        from models.lesion import model as lesion_model

        made = lesion_model.load(model)
        given = lesion.lesions_of(context, data, made.config, candidates)
        settings = lesions.Settings(window=window, stride=stride, randomised=randomised, seed=seed)
        found = lesions.explain(made.fitted, lesions.chosen(given.lesions, each), settings)
        facts = {
            "model": f"{made.name}, {made.digest[:12]}",
            "data": given.describes,
            "patches": f"{len(found.lesions)}, at most {each} of a patient",
            "command": _typed(),
        }
        _written(
            out,
            page.lesion_page(found, facts, pictures),
            drawing.lesion_picture(found, pictures),
            page.lesion_json(found),
        )
    _told(out, {one.name: one.sanity for one in found.methods})


def scan_maps(
    context: typer.Context,
    name: BundleName,
    data: Data,
    out: Out,
    form: Form = None,
    split: Split = "dev",
    limit: Annotated[int, typer.Option(min=0, help="at most so many scans; 0 for all")] = 6,
    which: Annotated[
        str, typer.Option("--slice", help="of each scan: surprising, or lesion (the largest)")
    ] = "surprising",
    occlusion: Annotated[
        int, typer.Option(min=0, help="of how many scans an occlusion map is made: slow")
    ] = 0,
    randomised: Randomised = 3,
    pictures: Pictures = 4,
    seed: Seed = 0,
) -> None:
    """Draw where a bundle's transformer looked when it judged the most surprising tokens."""
    with model_errors():
        if occlusion:
            _needs_captum()
        from models.attribution import drawing, page, slices, token_bundles

        info = registry_of(context).get(name)
        bundle = token_bundles.opened(info)
        reference = Reference(data, form, split, info.profile, limit)
        settings = slices.Settings(
            which=which, occluded=occlusion, randomised=randomised, seed=seed
        )
        with progress_bars() as progress:
            scans = itertools.islice(reference.scans(context), limit or None)
            found = slices.explain(bundle, scans, settings, counted(progress, "scans"))
        reference.report()
        facts = {
            "bundle": f"{info.name} {info.version}, {info.digest[:12]}",
            "data": f"{data.name}, {split}; the {which} slice of each scan"
            + ("" if which == slices.SURPRISING else " (the largest)"),
            "command": _typed(),
        }
        _written(
            out,
            page.slice_page(found, facts, pictures),
            drawing.slice_picture(found, pictures),
            page.slice_json(found),
        )
    _told(out, found.checks)


def _needs_captum() -> None:
    if importlib.util.find_spec("captum") is None:
        raise ModelError("occlusion and gradient maps need dicom-gatekeeper[training]")


def _written(out: Path, html: str, picture: bytes, figures: str) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / PAGE).write_text(html, encoding="utf-8")
    (out / PICTURE).write_bytes(picture)
    (out / FIGURES).write_text(figures, encoding="utf-8")


def _told(out: Path, checks: Mapping[str, Sanity]) -> None:
    """Print each method's check, a warning to standard error where a map is not to be read."""
    from models.attribution.sanity import Verdict

    for name, one in checks.items():
        told = error_console if one.verdict is Verdict.IGNORES else console
        told.print(
            f"{name}: rank correlation {one.rank:+.2f}, SSIM {one.structure:.2f} with randomised "
            f"networks: {one.verdict}",
            highlight=False,
        )
    console.print(f"Written to {out}: {PAGE}, {PICTURE}, {FIGURES}", highlight=False)


def _typed() -> str:
    return "gatekeeper " + shlex.join(sys.argv[1:])
