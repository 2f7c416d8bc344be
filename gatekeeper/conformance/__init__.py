"""Conformance: the DICOM conformance statement (PS3.2) of this installation.

It is made from the running configuration and from the tables that the program itself works with,
so that it says what is done. It has no patient data and no secrets. It changes with configuration
and version alone: it bears no date.
"""

from __future__ import annotations

from sqlalchemy import Connection

from gatekeeper.conformance import as_html, as_markdown
from gatekeeper.conformance.site import read_site
from gatekeeper.conformance.statement import statement
from gatekeeper.settings import Settings


def html(settings: Settings, tx: Connection) -> str:
    """Return the statement as one self-contained page of HTML.

    Args:
        settings: of the installation.
        tx: an open transaction, for nodes and rules.
    """
    return as_html.render(statement(read_site(settings, tx)))


def markdown(settings: Settings, tx: Connection) -> str:
    """Return the statement as Markdown; the arguments are those of `html`."""
    return as_markdown.render(statement(read_site(settings, tx)))
