"""`gatekeeper model statistics`: a table of truth and scores as a clinical paper reports it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from gatekeeper.cli.model.common import model_errors
from gatekeeper.cli.output import console, emit_json, fail
from gatekeeper.cli.site import AsJson
from models.errors import ModelError

if TYPE_CHECKING:
    from models.evaluation.clinical_report import Found


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(statistics)


def statistics(
    file: Annotated[Path, typer.Argument(help="CSV with a header; one row a patient, or more")],
    out: Annotated[Path, typer.Option(help="new folder: report.html, statistics.json")],
    truth: Annotated[str | None, typer.Option(help="column with the truth")] = None,
    positive: Annotated[str, typer.Option(help="what truth or outcome says of the abnormal")] = "1",
    probability: Annotated[
        str | None, typer.Option(help="column with the probability of being abnormal")
    ] = None,
    score: Annotated[
        str | None, typer.Option(help="column with a score in place of it; larger is stranger")
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="column of an older model, on the same terms")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="rows at or above it are flagged; 0.5 for a probability, else none"),
    ] = None,
    prevalence: Annotated[
        list[float] | None, typer.Option(help="of a place of use, for PPV and NPV; repeatable")
    ] = None,
    cut: Annotated[
        list[float] | None, typer.Option(help="between two risk categories; repeatable")
    ] = None,
    of_class: Annotated[
        list[str] | None,
        typer.Option("--class", help="NAME=COLUMN, the score of one class of several; repeatable"),
    ] = None,
    dice: Annotated[str | None, typer.Option(help="column with a Dice, held against")] = None,
    outcome: Annotated[str | None, typer.Option(help="column with an outcome")] = None,
    size: Annotated[str | None, typer.Option(help="column with the lesions' size")] = None,
    patient: Annotated[
        str | None, typer.Option(help="column with the patient, where one has several rows")
    ] = None,
    seed: Annotated[int, typer.Option(help="of every resampling")] = 0,
    resamples: Annotated[int, typer.Option(min=100, max=20_000, help="of each bootstrap")] = 2000,
    as_json: AsJson = False,
) -> None:
    """Write AUROC, decisions, predictive values, calibration, net benefit and reclassification."""
    try:
        from models.evaluation import clinical_report
        from models.evaluation.clinical_table import (
            Binary,
            binary,
            classes,
            overlap,
            stated_terms,
        )
    except ModuleNotFoundError:
        fail("statistics need numpy, scipy, matplotlib: pip install 'dicom-gatekeeper[training]'")
    if out.exists():
        fail(f"{out} exists")
    column = probability or score
    _refuse_contradictions(
        {
            "say one of --probability and --score, not both": probability and score,
            "say --probability or --score, --class, or --dice": not (column or of_class or dice),
            "say with --truth which column has the truth": (column or of_class) and not truth,
            "--dice and --outcome go together": bool(dice) != bool(outcome),
            "--against goes with --probability or --score": against and not column,
        }
    )
    parts: dict[str, Any] = {}
    left_out: dict[str, int] = {}
    with model_errors():
        if column and truth:
            stated = 0.5 if threshold is None and probability else threshold
            terms = stated_terms(stated, prevalence or (), cut or (), seed, resamples)
            wanted = Binary(truth, positive, column, bool(probability), against, patient)
            cohort, clinical, left_out["scores"] = binary(file, wanted, terms)
            parts |= {"cohort": cohort, "clinical": clinical}
            parts["names"] = (column, against or "against")
        if of_class and truth:
            parts["classes"], left_out["classes"] = classes(
                file, truth, _pairs(of_class), patient, seed, resamples
            )
        if dice and outcome:
            parts["overlap"], left_out["Dice"] = overlap(
                file, dice, outcome, positive, size, patient
            )
    facts = {
        "Table": file.name,
        **({"Truth": f"{truth}, abnormal: {positive}" if column else str(truth)} if truth else {}),
        "Rows left out, a cell missing": ", ".join(f"{n} {name}" for name, n in left_out.items()),
        "Resamples, seed": f"{resamples}, {seed}",
    }
    found = clinical_report.Found(facts=facts, **parts)
    plain = clinical_report.as_plain(found)
    out.mkdir(parents=True)
    page = clinical_report.render("Clinical statistics", found)
    (out / "report.html").write_text(page, encoding="utf-8")
    (out / "statistics.json").write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")
    if as_json:
        emit_json(plain)
        return
    console.print(_shown(found))
    console.print(f"Wrote {out / 'report.html'}.", highlight=False)


def _refuse_contradictions(wrong: Mapping[str, object]) -> None:
    for sentence, is_so in wrong.items():
        if is_so:
            fail(sentence)


def _pairs(texts: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, equals, column = text.partition("=")
        if not (name and equals and column) or name in found:
            raise ModelError(f"--class is NAME=COLUMN, each name once, not {text!r}")
        found[name] = column
    return found


def _shown(found: Found) -> Table:
    from models.evaluation.clinical_report import lines

    shown = Table(title="Clinical statistics", title_justify="left")
    shown.add_column("measure", overflow="fold")
    shown.add_column("value", overflow="fold")
    for name, value in lines(found):
        shown.add_row(escape(name), escape(value))
    return shown
