"""What `gatekeeper node` takes: its options, and what their texts mean."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated

import typer

from gatekeeper import certificates, sop_classes
from gatekeeper.cli.output import fail
from gatekeeper.errors import IdentifierError
from gatekeeper.results.kinds import KINDS, VIEWERS, UnknownKindError, parse
from gatekeeper.send.web_address import WebAddress
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


def kinds_taken(objects: str, viewer: str = "") -> tuple[str, ...]:
    """Return the kinds of result that the options name; none for the usual ones."""
    if objects and viewer:
        fail("say --objects or --viewer, not both")
    if viewer and viewer not in VIEWERS:
        fail(f"no viewer {viewer!r}; there are: {', '.join(VIEWERS)}")
    try:
        return parse(VIEWERS.get(viewer) or [name.strip() for name in objects.split(",") if name])
    except UnknownKindError as error:
        fail(str(error))


def place(address: str) -> tuple[str, int, str]:
    """Return host, port and URL of what was entered as an address."""
    if "://" not in address:
        return *parse_address(address), ""
    found = WebAddress.parse(address)
    return found.host, found.port, address.rstrip("/")


def parse_address(text: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT`` or ``HOST``; the port is 0 when absent."""
    host, colon, port = text.rpartition(":")
    if not colon or (host.count(":") and not host.startswith("[")):
        return text.strip("[]"), 0
    if not port.isdecimal() or not 0 < int(port) < 65536 or not host:
        fail(f"{text}: not HOST:PORT")
    return host.strip("[]"), int(port)


def classes_of(entries: list[str] | None) -> tuple[str, ...] | None:
    try:
        return None if entries is None else sop_classes.parse(one for one in entries if one)
    except UnknownSopClassError as error:
        fail(str(error))


def networks_of(texts: list[str] | None) -> tuple[str, ...] | None:
    return None if texts is None else tuple(_network(text) for text in texts if text)


def objects_taken(objects: str | None, viewer: str | None) -> tuple[str, ...] | None:
    return None if objects is None and viewer is None else kinds_taken(objects or "", viewer or "")


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


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        fail(f"{text}: not a network in CIDR form, such as 10.1.2.0/24")
