"""`gatekeeper rates`: how often studies are really held, beside what each calibration promises."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from gatekeeper.cli.backtest import Out, Since, moment_of, need_worker_libraries
from gatekeeper.cli.output import console, emit_json, error_console, fail
from gatekeeper.cli.site import AsJson, site_of

if TYPE_CHECKING:
    from gatekeeper.backtest.rates import Rate, Said
    from gatekeeper.backtest.stored import StoredStudy


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(rates)


def rates(
    context: typer.Context,
    since: Since = "",
    out: Out = None,
    report: Annotated[
        Path | None,
        typer.Option(help="new folder: verdicts against reviewers' words, a page and its figures"),
    ] = None,
    prevalence: Annotated[
        list[float] | None,
        typer.Option(help="part of abnormal studies, for the report's PPV and NPV; repeatable"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show nominal, promised and realised hold rates by detector, device and protocol."""
    need_worker_libraries()
    if report is not None and report.exists():
        fail(f"{report} exists")
    from gatekeeper.backtest.past import Past
    from gatekeeper.backtest.rates import counted
    from gatekeeper.backtest.reviews import said_of
    from gatekeeper.backtest.tables import RATE_COLUMNS, RATE_LIMITS, rate_row

    with site_of(context).database() as database:
        past = Past(database, moment_of(since))
        with database.read() as tx:
            said = said_of(tx)
        each = (study for _, study in past.studies())
        # Kept only for a report, which goes through them once more.
        studies = list(each) if report is not None else []
        found = counted(studies if report is not None else each, said)
    if report is not None:
        _write_report(report, studies, said, prevalence or [], since)
    if out is not None:
        try:
            from gatekeeper.backtest.page import of_rates
        except ModuleNotFoundError:
            fail("--out draws with matplotlib: pip install 'dicom-gatekeeper[training]'")
        out.write_text(of_rates(found, "Hold rates"), encoding="utf-8")
        error_console.print(f"Wrote {out}.", highlight=False)
    if as_json:
        emit_json({"rates": [_document(one) for one in found], "left_out": dict(past.left_out)})
        return
    if not found:
        console.print("No series was judged by a p-value yet.")
        return
    table = Table(title="Hold rates", title_justify="left")
    for column in RATE_COLUMNS:
        table.add_column(column, overflow="fold")
    for one in found:
        table.add_row(*map(escape, rate_row(one)))
    console.print(table)
    for sentence in RATE_LIMITS:
        console.print(f"- {sentence}", markup=False)


def _write_report(
    folder: Path,
    studies: list[StoredStudy],
    said: dict[int, Said],
    prevalences: list[float],
    since: str,
) -> None:
    from gatekeeper.backtest.agreement import agreements

    try:
        from gatekeeper.backtest.agreement_page import as_plain, render
    except ModuleNotFoundError:
        fail("--report draws with matplotlib: pip install 'dicom-gatekeeper[training]'")
    try:
        found = agreements(studies, said, prevalences)
    except ValueError as error:
        fail(str(error))
    folder.mkdir(parents=True)
    (folder / "report.html").write_text(render(found, since), encoding="utf-8")
    text = json.dumps(as_plain(found), indent=1) + "\n"
    (folder / "statistics.json").write_text(text, encoding="utf-8")
    error_console.print(f"Wrote {folder / 'report.html'}.", highlight=False)


def _document(one: Rate) -> dict[str, Any]:
    return {
        **asdict(one.line),
        **asdict(one.tally),
        "expected": one.known.expected,
        "interval": [one.known.low, one.known.high],
        "realised": None if one.held is None else one.held.as_list(),
        "false_holds": None if one.false_holds is None else one.false_holds.as_list(),
        "mark": one.mark,
        "held_mark": one.held_mark,
    }
