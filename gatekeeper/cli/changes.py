"""How commands change the configuration: who, why, and the version that came of it."""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
from collections.abc import Generator
from typing import Annotated

import typer
from sqlalchemy import Connection

from gatekeeper.cli.output import error_console
from gatekeeper.cli.site import site_of
from gatekeeper.configuration.changes import changing
from storage import configuration_versions as versions

By = Annotated[
    str, typer.Option("--by", help="who changes it; the account and machine when left out")
]
Why = Annotated[str, typer.Option("--why", help="why, for who reads `gatekeeper config log`")]


def operating_user() -> str:
    """Return the account and machine that this command runs under: ``anna@gate``."""
    try:
        account = getpass.getuser()
    except (KeyError, OSError):
        account = str(os.getuid())
    return f"{account}@{socket.gethostname()}"


@contextlib.contextmanager
def configuring(
    context: typer.Context, by: str, why: str, otherwise: str, *, restored_from: int | None = None
) -> Generator[Connection]:
    """Yield a transaction that changes the configuration; say which version came of it.

    Args:
        context: of the command.
        by: as given; the operating system's account when empty.
        why: as given.
        otherwise: the reason when none was given: the command in short.
        restored_from: number of the version that this goes back to, in whole or in part.
    """
    site = site_of(context)
    with site.database() as database:
        with database.read() as tx:
            before = versions.latest_number(tx)
        with changing(
            database,
            by or operating_user(),
            why or otherwise,
            site.settings,
            restored_from=restored_from,
        ) as tx:
            yield tx
        with database.read() as tx:
            after = versions.latest_number(tx)
    if after != before:
        # On standard error: programs read the other one.
        error_console.print(f"Configuration version {after}.", highlight=False)
