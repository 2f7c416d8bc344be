"""`up` and the roles: `listen`, `work`, `send`, `tick`, `web`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gatekeeper import config, log
from gatekeeper.atna import activity
from gatekeeper.cli.output import console, emit_json, fail
from gatekeeper.cli.site import AsJson, Site, site_of
from gatekeeper.identifiers import AeTitle
from gatekeeper.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (up, listen, work, send, tick, web):
        app.command()(command)


def _start(context: typer.Context) -> tuple[Site, Settings]:
    site = site_of(context)
    log.configure(site.settings.log.level)
    return site, site.settings


def up(context: typer.Context) -> None:
    """Run every role of this machine in one supervised process tree."""
    from gatekeeper import supervise

    site, settings = _start(context)
    with site.database(), activity.running(settings, "up"):
        supervise.serve(settings, site.config_file)


def listen(context: typer.Context) -> None:
    """Run the listener: C-ECHO and C-STORE from scanners."""
    from gatekeeper.listen import role

    settings = _start(context)[1]
    with activity.running(settings, "listen"):
        role.serve(settings)


def work(context: typer.Context) -> None:
    """Run one worker: claims jobs, scores studies, makes results."""
    from gatekeeper.work import worker

    settings = _start(context)[1]
    with activity.running(settings, "work"):
        worker.serve(settings)


def tick(context: typer.Context) -> None:
    """Run the periodic work: completeness, rescue of lost claims, sweeping."""
    from gatekeeper import periodic

    settings = _start(context)[1]
    with activity.running(settings, "tick"):
        periodic.serve(settings)


def web(context: typer.Context) -> None:
    """Run the web: the pages and DICOMweb, on the port that `web.port` says."""
    from gatekeeper.extras import web_problem

    site, settings = _start(context)
    problem = web_problem()
    if problem is not None:
        fail(f"the web role {problem}")
    from gatekeeper.web import server

    with activity.running(settings, "web"):
        server.serve(settings, config.file_in_use(site.config_file))


def send(
    context: typer.Context,
    path: Annotated[
        Path | None, typer.Argument(help="a DICOM file or folder to send by hand; needs --to")
    ] = None,
    to: Annotated[str | None, typer.Option(help="AE title of a node")] = None,
    as_json: AsJson = False,
) -> None:
    """Run the sender, or, with PATH and --to, send files to a node now."""
    site, settings = _start(context)
    if path is None and to is None:
        from gatekeeper.send import sender

        with activity.running(settings, "send"):
            sender.serve(settings)
        return
    if path is None or to is None:
        fail("PATH and --to go together: gatekeeper send PATH --to AE")
    _send_files(site, path, AeTitle.parse(to), as_json)


def _send_files(site: Site, path: Path, to: AeTitle, as_json: bool) -> None:
    from gatekeeper.send.files import send_files
    from storage import nodes

    if not path.exists():
        fail(f"{path}: no such file or folder")
    with site.database() as database, database.read() as tx:
        node = nodes.get(tx, to)
    if node is None:
        fail(f"node {to} is not known; `gatekeeper node add` adds it")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=as_json) as bar:
        task = bar.add_task(f"to {to}", total=None)
        sent = send_files(
            [path],
            node,
            site.settings,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if as_json:
        emit_json(sent)
    else:
        console.print(
            f"{sent.stored} stored, {len(sent.failed)} failed, {len(sent.skipped)} skipped"
        )
        for failure in sent.failed:
            console.print(f"  {failure.path}: {failure.reason}", highlight=False)
    if sent.failed or not sent.stored:
        raise typer.Exit(1)
