"""`gatekeeper demo`: the whole line on one machine, with something to look at in the end."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from gatekeeper import log
from gatekeeper.cli.output import console, fail, verdict_text
from gatekeeper.history import JobHistory
from gatekeeper.identifiers import AeTitle, Digest
from gatekeeper.node_entry import kinds_taken, parse_address
from storage.records import Node

ARCHIVE = "DEMO_ARCHIVE"


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(demo)


def demo(
    study: Annotated[
        Path | None, typer.Option(help="folder of your own DICOM files instead of the sample")
    ] = None,
    pacs: Annotated[
        str | None, typer.Option(help="AET@HOST:PORT of a real PACS that receives the results")
    ] = None,
    objects: Annotated[
        str, typer.Option(help="results it takes, with commas between, as of `node add`")
    ] = "",
    out: Annotated[Path, typer.Option(help="folder for what came back")] = Path("demo-out"),
    keep: Annotated[bool, typer.Option(help="leave everything running until Ctrl-C")] = False,
) -> None:
    """Send two sample studies through every role and show what came back to the archive."""
    from gatekeeper.demo import run
    from gatekeeper.demo.site import running_site

    started = time.monotonic()
    log.configure("ERROR", stream=_nowhere())
    run.prepare(out)
    with contextlib.ExitStack() as stack:
        node, fetch = _destination(stack, pacs, objects, out / "site")
        with _progress() as progress:
            cases = (
                run.folder_cases(study)
                if study is not None
                else run.sample_cases(out / "source", progress)
            )
            site = stack.enter_context(
                running_site(out / "site" / "gatekeeper", node, quiet_seconds=1.0)
            )
            sent = [run.send(site, case, progress) for case in cases]
            answers = [
                run.collect(site, case, out, fetch, progress, milliseconds)
                for case, milliseconds in zip(cases, sent, strict=True)
            ]
        seconds = time.monotonic() - started
        summary = run.write_summary(out, answers, seconds)
        _show(answers, summary, seconds)
        if keep:
            console.print(
                f"Running: send studies to {site.node.ae_title}@127.0.0.1:{site.node.port} as "
                f"DEMO_SCANNER; Ctrl-C ends it."
            )
            with contextlib.suppress(KeyboardInterrupt):
                threading.Event().wait()


Fetch = Callable[[JobHistory], list[Path]]


def _destination(
    stack: contextlib.ExitStack, pacs: str | None, objects: str, folder: Path
) -> tuple[Node, Fetch]:
    """Return the node for the results, and how to get at what arrived there."""
    from gatekeeper.demo.archive import EmbeddedArchive
    from gatekeeper.demo.site import free_port
    from storage.spool import Spool

    if pacs is not None:
        title, at, address = pacs.partition("@")
        host, port = parse_address(address)
        if not at or not port:
            fail(f"{pacs}: not AET@HOST:PORT")
        node = Node(
            AeTitle.parse(title),
            host,
            port,
            receives_results=True,
            objects=kinds_taken(_listed(objects)),
        )

        def sent(job: JobHistory) -> list[Path]:
            # What was delivered is what the spool holds, byte for byte.
            spool = Spool(folder / "gatekeeper" / "spool")
            return [spool.path(Digest.parse(result.digest)) for result in job.results]

        return node, sent
    archive = stack.enter_context(
        EmbeddedArchive(folder / "archive", ARCHIVE, "127.0.0.1", free_port())
    )
    node = Node(
        ARCHIVE,
        "127.0.0.1",
        archive.port,
        receives_results=True,
        objects=kinds_taken(_listed(objects)),
    )

    def arrived(job: JobHistory) -> list[Path]:
        return [archive.path(result.sop_instance_uid) for result in job.results]

    return node, arrived


@contextlib.contextmanager
def _progress() -> Generator[Any]:
    columns = (
        TextColumn("[bold]{task.fields[case]}"),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[count]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bars:
        tasks: dict[tuple[str, str], TaskID] = {}
        current: dict[str, str] = {}

        def report(case: str, step: str, done: int, total: int) -> None:
            before = current.get(case)
            if before is not None and before != step:
                finished = tasks[case, before]
                size = bars.tasks[finished].total or 1
                bars.update(finished, total=size, completed=size)
                bars.stop_task(finished)
            if step == "done":
                return
            if (case, step) not in tasks:
                tasks[case, step] = bars.add_task(step, total=None, case=case, count="")
                current[case] = step
            count = f"{done}/{total}" if total else ""
            bars.update(tasks[case, step], completed=done, total=total or None, count=count)

        yield report


def _show(answers: Any, summary: Path, seconds: float) -> None:
    table = Table(title="Verdicts", title_justify="left", show_lines=True)
    for heading in ("study", "verdict", "p", "score", "why"):
        table.add_column(heading, overflow="fold")
    for answer in answers:
        table.add_row(
            f"[bold]{answer.name}[/]\n{answer.statement}",
            verdict_text(answer.verdict),
            "" if answer.p_value is None else f"{answer.p_value:.3f}",
            "" if answer.score is None else f"{answer.score:.2f}",
            answer.reason,
        )
    console.print(table)
    console.print(Panel(_basis(answers), title="What the verdicts rest on", title_align="left"))
    for answer in answers:
        for name in answer.pictures:
            console.print(f"  {summary.parent / answer.folder / name}", highlight=False)
    console.print(f"  {summary}   ({seconds:.0f} s)", highlight=False)


def _basis(answers: Any) -> str:
    """Return the models and calibrations behind the verdicts, each said once."""
    lines: list[str] = []
    for answer in answers:
        for series in answer.evidence.get("series", []):
            if series.get("calibration"):
                lines.append(
                    f"[bold]{series['profile']}[/] ({series['detector']}, version "
                    f"{series['bundle_version']}): {series['calibration']}"
                )
            lines += [
                f"  {answer.name}: {level['question']} p = {level['p_value']:.3f} (score "
                f"{level['score']:.2f}, reference median {level['calibration_median']:.2f})"
                for level in series.get("levels", [])
                if level.get("decides", True)
            ]
    lines.append(
        "A p-value is the share of reference subjects at least as far from normal, the study "
        "itself counted in. Research software: not a medical device, not for diagnostic use."
    )
    return "\n".join(dict.fromkeys(lines))


def _nowhere() -> Any:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 - lives as long as we do


def _listed(objects: str) -> list[str]:
    return [name.strip() for name in objects.split(",")]
