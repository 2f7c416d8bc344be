"""The command line. Each command is a few lines over the same functions the roles use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import gatekeeper
from gatekeeper.cli import (
    account,
    audit,
    audit_messages,
    backtest,
    bench,
    channel,
    clinical,
    configuration,
    conformance,
    demo,
    drift,
    job,
    ledger,
    model,
    node,
    notification,
    policy,
    queue,
    rates,
    reconcile,
    record,
    roles,
    rule,
    shadow,
    site,
    study,
    tls,
    token,
)
from gatekeeper.cli.output import error_console
from gatekeeper.cli.site import Site
from gatekeeper.errors import GatekeeperError

app = typer.Typer(
    name="gatekeeper",
    help="A DICOM node that scores how far each study departs from a normal population. "
    "Research software, not a medical device.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gatekeeper {gatekeeper.__version__}")
        raise typer.Exit


@app.callback()
def _common(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(help="settings file; gatekeeper.toml in this folder when there is one"),
    ] = None,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="print it")
    ] = False,
) -> None:
    context.obj = Site(config)


roles.register(app)
site.register(app)
reconcile.register(app)
demo.register(app)
bench.register(app)
backtest.register(app)
rates.register(app)
ledger.register(app)
conformance.register(app)
app.add_typer(node.app, name="node")
app.add_typer(tls.app, name="tls")
record.register(study.app)
app.add_typer(rule.app, name="rule")
app.add_typer(account.app, name="account")
app.add_typer(token.app, name="token")
app.add_typer(study.app, name="study")
app.add_typer(job.app, name="job")
app.add_typer(queue.app, name="queue")
audit_messages.register(audit.app)
app.add_typer(audit.app, name="audit")
app.add_typer(model.app, name="model")
app.add_typer(clinical.app, name="clinical")
app.add_typer(policy.app, name="policy")
app.add_typer(shadow.app, name="shadow")
app.add_typer(drift.app, name="drift")
app.add_typer(configuration.app, name="config")
app.add_typer(channel.app, name="channel")
app.add_typer(notification.app, name="notification")


def main() -> None:
    """Run the command line; our own errors end it with one line and exit code 1."""
    try:
        app()
    except GatekeeperError as error:
        error_console.print(f"[bold red]error[/] {error}", highlight=False)
        raise SystemExit(1) from None
