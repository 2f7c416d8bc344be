"""What `gatekeeper node` takes: its options, and what their texts mean."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gatekeeper import certificates, sop_classes
from gatekeeper.cli.output import fail
from gatekeeper.errors import IdentifierError
from gatekeeper.node_entry import kinds_taken, networks
from gatekeeper.results.kinds import KINDS, VIEWERS
from gatekeeper.sop_classes import UnknownSopClassError
from storage.records import Confirm, Retrieve, Role

Title = Annotated[str, typer.Argument(help="its AE title")]
Roles = Annotated[
    list[Role] | None,
    typer.Option(
        "--role",
        help="what it is; repeat. A scanner sends; an archive and a workstation receive results; "
        "every study is forwarded, past the gate, to what is downstream",
    ),
]
Sends = Annotated[
    bool | None,
    typer.Option("--sends/--no-sends", help="it may send us studies (a scanner, a router)"),
]
Results = Annotated[
    bool | None, typer.Option("--results/--no-results", help="it receives results (the PACS)")
]
Studies = Annotated[
    bool | None,
    typer.Option(
        "--studies/--no-studies",
        help="every study is forwarded to it as received: at once, or past the gate to what is "
        "downstream; without, only what a rule forwards",
    ),
]
Classes = Annotated[
    list[str] | None,
    typer.Option(
        "--sop-class",
        help="SOP class it may send and is sent studies of; repeat: a UID, a keyword such as "
        f"MRImageStorage, or one of {', '.join((*sop_classes.GROUPS, sop_classes.ALL))}",
    ),
]
Retrieval = Annotated[Retrieve | None, typer.Option(help="how priors are fetched from an archive")]
Networks = Annotated[
    list[str] | None,
    typer.Option(
        "--network", help="CIDR block it calls from; repeat; default: the addresses of HOST"
    ),
]
Quiet = Annotated[
    float | None, typer.Option(help="seconds of silence that complete a study from it", min=0)
]
Objects = Annotated[
    str | None, typer.Option(help=f"results it takes, with commas between, of {', '.join(KINDS)}")
]
Viewer = Annotated[
    str | None, typer.Option(help=f"takes what this viewer shows: {', '.join(VIEWERS)}")
]
Tls = Annotated[
    bool | None,
    typer.Option("--tls/--no-tls", help="it calls and is called by TLS alone, never in plain text"),
]
OneCertificate = Annotated[
    str | None,
    typer.Option(
        "--certificate",
        help="its one certificate, as a PEM file or SHA-256 fingerprint; implies --tls; "
        "default: any certificate of our CA that names HOST",
    ),
]
Confirming = Annotated[
    Confirm | None,
    typer.Option(help="ask it whether it keeps what it stored: storage commitment or C-FIND"),
]
Language = Annotated[
    str | None, typer.Option(help="language of the results it takes; see results.catalogues")
]
Description = Annotated[str | None, typer.Option(help="for people")]


def classes_of(entries: list[str] | None) -> tuple[str, ...] | None:
    try:
        return None if entries is None else sop_classes.parse(one for one in entries if one)
    except UnknownSopClassError as error:
        fail(str(error))


def networks_of(texts: list[str] | None) -> tuple[str, ...] | None:
    return None if texts is None else networks(texts)


def objects_taken(objects: str | None, viewer: str | None) -> tuple[str, ...] | None:
    if objects is None and viewer is None:
        return None
    return kinds_taken([name.strip() for name in (objects or "").split(",")], viewer or "")


def fingerprint(text: str | None) -> str | None:
    """Return the fingerprint of ``FILE.pem`` or of its text; empty for empty."""
    if not text:
        return text
    path = Path(text)
    if path.is_file():
        return certificates.read(path, "--certificate")[0].fingerprint
    try:
        return certificates.parse_fingerprint(text)
    except IdentifierError as error:
        fail(f"{text}: no such file, and {error}")
