"""`gatekeeper model multimodal`: image and function together; see `models.multimodal`."""

from __future__ import annotations

import csv
import functools
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from gatekeeper.cli.model.common import (
    Data,
    Device,
    Form,
    Reference,
    Split,
    model_errors,
    progress_bars,
    site_folder,
)
from gatekeeper.cli.model.fitting import own_device, settings_from
from gatekeeper.cli.output import console, emit_json, fail
from gatekeeper.cli.site import AsJson
from models.errors import ModelError
from models.registry import Profile

if TYPE_CHECKING:
    from models.multimodal.evaluation import Evaluation
    from models.multimodal.model import Cohort
    from models.multimodal.network import Config

app = typer.Typer(
    help="Image and function together: a scan's embedding and clinical values in one score.",
    no_args_is_help=True,
)

Out = Annotated[Path | None, typer.Option(help="HTML file that receives the report")]
Bundle = Annotated[Path | None, typer.Option(help="new folder that receives the fitted bundle")]
Seed = Annotated[int, typer.Option(help="of every random choice")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="NAME=VALUE, a setting of the model; repeatable"),
]
Anatomy = Annotated[str, typer.Option(help="what the encoder looks for: brain or body")]


@app.command()
def embed(
    context: typer.Context,
    data: Data,
    out: Annotated[Path, typer.Option(help="safetensors file that receives the embeddings")],
    form: Form = None,
    split: Split = "all",
    anatomy: Anatomy = "body",
    modality: Annotated[str, typer.Option(help="of DICOM scans: MR or CT")] = "CT",
    body_part: Annotated[str, typer.Option(help="of DICOM scans, as BodyPartExamined")] = "CHEST",
    device: Device = "cpu",
) -> None:
    """Embed scans with the frozen encoder, one vector a subject, the mean of its scans."""
    import numpy as np

    from models.errors import NotAssessable
    from models.multimodal.embedding import Encoder
    from models.multimodal.files import write_embeddings

    found: dict[str, list[Any]] = defaultdict(list)
    refused = 0
    with model_errors():
        profile = Profile(modality, body_part, (), "", (), body_part_from_content=False)
        reference = Reference(data, form, split, profile)
        encoder = Encoder(anatomy, own_device(device))
        with progress_bars() as progress:
            for number, scan in enumerate(reference.scans(context), start=1):
                try:
                    found[scan.subject].append(encoder.embed(scan.volume))
                except NotAssessable:
                    refused += 1
                progress("scans", number, 0)
        reference.report()
        if not found:
            fail("no scan could be embedded")
        write_embeddings(out, {name: np.mean(several, axis=0) for name, several in found.items()})
    console.print(f"Wrote {out}: {len(found)} subjects, {refused} scans left out.", highlight=False)


@app.command()
def fit(
    context: typer.Context,
    table: Annotated[Path, typer.Option(help="CSV with a header, one row a patient")],
    variables: Annotated[
        Path | None,
        typer.Option(help="JSON list of the columns wanted: name, unit, lowest, highest, worse"),
    ] = None,
    embeddings: Annotated[
        list[Path] | None,
        typer.Option(help="of the scans, from `embed`; repeatable; none: clinical values alone"),
    ] = None,
    of_dicom: Annotated[
        bool,
        typer.Option(
            "--of-dicom", help="the embeddings are of DICOM; the table has PatientID in `patient`"
        ),
    ] = False,
    patient: Annotated[str, typer.Option(help="column with the patient's name")] = "patient",
    severity: Annotated[
        list[str] | None,
        typer.Option(help="column of a severity marker, an input or not; repeatable"),
    ] = None,
    out: Out = None,
    bundle: Bundle = None,
    anatomy: Anatomy = "body",
    modality: Annotated[str, typer.Option(help="of the scans that the bundle may judge")] = "CT",
    body_part: Annotated[
        str, typer.Option(help="of the scans that the bundle may judge; empty for any")
    ] = "",
    description: Annotated[str, typer.Option(help="of the cohort, in a sentence")] = "",
    seed: Seed = 0,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Fit a cohort, judge it in-sample and cross-fitted, and write report and bundle."""
    from models.multimodal import files
    from models.multimodal.variables import Variable, read_table

    with model_errors():
        _absent(out, bundle)
        head = _head(table)
        wanted = files.read_variables(variables) if variables else files.known_variables(head)
        rows = read_table(table, wanted, patient)
        markers = {
            name: read_table(table, (Variable(name, "1"),), patient).column(name)
            for name in severity or ()
        }
        vectors = files.read_embeddings(*embeddings or ())
        key = site_folder(context) if of_dicom else None
        cohort = files.joined(rows, vectors, _subject_of(key))
        said = description or f"{len(rows.patients)} patients of {table.name}"
        _judged(
            cohort, markers, seed, settings, out, bundle, as_json,
            facts={"Cohort": said}, description=said, anatomy=anatomy, modality=modality,
            body_part=body_part,
        )  # fmt: skip


@app.command()
def simulate(
    out: Out = None,
    bundle: Bundle = None,
    table: Annotated[
        Path | None, typer.Option(help="CSV file that receives the simulated values")
    ] = None,
    missing: Annotated[
        float, typer.Option(min=0, max=0.9, help="chance that a value was not recorded")
    ] = 0.1,
    seed: Seed = 0,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Fit SIMULATED patients with the published figures, beside the paper's statistics."""
    from models.multimodal.simulate import NOTICE, simulated

    with model_errors():
        _absent(out, bundle, table)
        made = simulated(seed, missing)
        rows = made.cohort.table
        if table is not None:
            _write_table(table, made.cohort)
        markers = {name: rows.column(name) for name in ("dlco", "fev1")}
        _judged(
            made.cohort, markers, seed, settings, out, bundle, as_json,
            facts={"Cohort": NOTICE, "Seed": str(seed)}, description=NOTICE, notice=NOTICE,
        )  # fmt: skip


def _judged(
    cohort: Cohort,
    markers: dict[str, Any],
    seed: int,
    settings: Sequence[str] | None,
    out: Path | None,
    bundle: Path | None,
    as_json: bool,
    *,
    facts: dict[str, str],
    description: str,
    notice: str = "",
    anatomy: str = "body",
    modality: str = "CT",
    body_part: str = "",
) -> None:
    """Evaluate a cohort, and write and print what is wanted of it."""
    from models.multimodal import bundle as bundles
    from models.multimodal.evaluation import evaluate
    from models.multimodal.report import render
    from models.training.loop import Run

    with progress_bars(shown=not as_json) as progress:
        run = Run(seed=seed, progress=progress)
        found = evaluate(cohort, markers, _config(settings), run)
    if out is not None:
        page = render(
            "Image and function together", facts, found, markers,
            notice=notice, published=bool(notice),
        )  # fmt: skip
        out.write_text(page, encoding="utf-8")
    if bundle is not None:
        bundles.write(
            bundle, found.fitted, description,
            anatomy=anatomy, modality=modality, body_part=body_part, simulated=bool(notice),
        )  # fmt: skip
    if as_json:
        emit_json(_plain(found, notice))
        return
    if notice:
        console.print(f"[bold]{notice}[/]")
    console.print(_thresholds(found))
    for one in found.associations:
        hidden = "" if one.without is None else f"; with it hidden {one.without.rho}"
        p = max(one.held_out.p_value, 0.001)
        console.print(
            f"{one.marker}: rho {one.held_out.rho}, p {'<' if p == 0.001 else '='} {p:.3f}{hidden}",
            highlight=False,
            markup=False,
        )
    for path in (out, bundle):
        if path is not None:
            console.print(f"Wrote {path}.", highlight=False)


def _thresholds(found: Evaluation) -> Table:
    shown = Table(title="Thresholds", title_justify="left")
    for heading in ("threshold", "value", "atypical"):
        shown.add_column(heading, overflow="fold")
    for name, cut in found.cuts.items():
        shown.add_row(escape(name), f"{cut.value:.2f}", f"{cut.atypical} of {len(found.p_values)}")
    shown.add_row("in-sample threshold, patients not seen", "", str(found.above_in_sample_cut))
    return shown


def _plain(found: Evaluation, notice: str) -> dict[str, Any]:
    fitted = found.fitted
    return {
        "notice": notice,
        "cuts": {
            name: {
                "value": None if cut.value == float("inf") else cut.value,
                "atypical": cut.atypical,
            }
            for name, cut in found.cuts.items()
        },
        "above_in_sample_cut": found.above_in_sample_cut.as_list(),
        "floor_rho": found.floor_agreement.rho.value,
        "associations": [
            {
                "marker": one.marker,
                "rho": one.held_out.rho.value,
                "p_value": one.held_out.p_value,
                "rho_hidden": None if one.without is None else one.without.rho.value,
            }
            for one in found.associations
        ],
        "patients": [
            {"patient": name, "score": score, "in_sample": own, "p_value": p}
            for name, score, own, p in zip(
                found.cohort.table.patients,
                fitted.held_out.tolist(),
                fitted.in_sample.tolist(),
                found.p_values.tolist(),
                strict=True,
            )
        ],
    }


def _config(texts: Sequence[str] | None) -> Config:
    from models.multimodal.network import Config

    usual = Config().as_dict()
    return Config.from_dict(usual | settings_from(texts or ()))


def _subject_of(folder: Path | None) -> Callable[[str], str]:
    """Return what names the subject of a table's patient."""
    if folder is None:
        return str
    from gatekeeper.pseudonym import subject_key
    from gatekeeper.reference import subject_name

    return functools.partial(subject_name, subject_key(folder))


def _absent(*paths: Path | None) -> None:
    for path in paths:
        if path is not None and path.exists():
            fail(f"{path} exists")


def _head(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ModelError(f"{path.name}: the table cannot be read") from error


def _write_table(path: Path, cohort: Cohort) -> None:
    rows = cohort.table
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["patient", *(variable.name for variable in rows.variables)])
        for name, values in zip(rows.patients, rows.values.tolist(), strict=True):
            writer.writerow([name, *("" if one != one else f"{one:g}" for one in values)])  # noqa: PLR0124
