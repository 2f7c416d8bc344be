"""`gatekeeper node`: the DICOM peers and what each may do."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated

import typer

from gatekeeper import certificates
from gatekeeper.cli.output import console, emit_json, emit_rows, fail, short
from gatekeeper.cli.site import AsJson, site_of
from gatekeeper.errors import IdentifierError
from gatekeeper.identifiers import AeTitle
from gatekeeper.results.catalogue import ENGLISH, CatalogueError, read
from gatekeeper.results.kinds import KINDS, USUAL, VIEWERS, UnknownKindError, parse
from gatekeeper.send.web_address import WebAddress
from storage import nodes
from storage.records import Confirm, Node

app = typer.Typer(
    help="DICOM peers: scanners, archives, and what each may do.", no_args_is_help=True
)


@app.command()
def add(
    context: typer.Context,
    ae_title: Annotated[str, typer.Argument(help="its AE title")],
    address: Annotated[
        str,
        typer.Argument(
            help="HOST:PORT it listens on, HOST if it only sends, or the https:// URL of its "
            "DICOMweb service"
        ),
    ],
    may_send: Annotated[
        bool, typer.Option("--sends", help="it may send us studies (a scanner, a router)")
    ] = False,
    receives_results: Annotated[
        bool, typer.Option("--results", help="it receives results (the PACS)")
    ] = False,
    network: Annotated[
        list[str] | None,
        typer.Option(help="CIDR block it calls from; repeat; default: the addresses of HOST"),
    ] = None,
    quiet: Annotated[
        float | None, typer.Option(help="seconds of silence that complete a study from it", min=0)
    ] = None,
    objects: Annotated[
        str, typer.Option(help=f"results it takes, with commas between, of {', '.join(KINDS)}")
    ] = "",
    viewer: Annotated[
        str, typer.Option(help=f"takes what this viewer shows: {', '.join(VIEWERS)}")
    ] = "",
    tls: Annotated[
        bool, typer.Option("--tls", help="it calls and is called by TLS alone, never in plain text")
    ] = False,
    certificate: Annotated[
        str,
        typer.Option(
            help="its one certificate, as a PEM file or SHA-256 fingerprint; implies --tls; "
            "default: any certificate of our CA that names HOST"
        ),
    ] = "",
    confirm: Annotated[
        Confirm,
        typer.Option(help="ask it whether it keeps what it stored: storage commitment or C-FIND"),
    ] = Confirm.NONE,
    language: Annotated[
        str, typer.Option(help="language of the results it takes; see results.catalogues")
    ] = ENGLISH,
    description: Annotated[str, typer.Option(help="for people")] = "",
) -> None:
    """Add a node, or replace the one with this AE title; no process needs a restart."""
    if not (may_send or receives_results):
        fail("say what the node does: --sends, --results, or both")
    host, port, url = _place(address)
    if url and confirm is not Confirm.NONE:
        fail("--confirm is by DIMSE; a node with a URL says in its answers what it stored")
    if url.startswith("http:") and (tls or certificate):
        fail(f"{address}: --tls and --certificate are for https")
    if receives_results and not port:
        fail(f"{address}: a node that receives results needs HOST:PORT")
    taken = kinds_taken(objects, viewer)
    if taken and not receives_results:
        fail("--objects and --viewer are for a node that receives --results")
    if confirm is not Confirm.NONE and not receives_results:
        fail("--confirm is for a node that receives --results")
    if language != ENGLISH and not receives_results:
        fail("--language is for a node that receives --results")
    site = site_of(context)
    try:
        read(language, site.settings.results.catalogues)
    except CatalogueError as error:
        fail(str(error))
    node = Node(
        ae_title=AeTitle.parse(ae_title),
        host=host,
        port=port,
        may_send=may_send,
        receives_results=receives_results,
        networks=tuple(_network(text) for text in network or ()),
        quiet_seconds=quiet,
        description=description,
        objects=taken,
        tls=tls or bool(certificate),
        certificate=_fingerprint(certificate),
        confirm=confirm,
        language=language,
        url=url,
    )
    with site.database() as database, database.begin() as tx:
        nodes.save(tx, node)
    console.print(f"Saved node {node.ae_title}.")


@app.command(name="list")
def list_nodes(context: typer.Context, as_json: AsJson = False) -> None:
    """List the nodes."""
    with site_of(context).database() as database, database.read() as tx:
        found = nodes.listing(tx)
    emit_rows(
        "Nodes",
        found,
        {
            "AE title": lambda node: node.ae_title,
            "address": lambda node: (
                node.url or (f"{node.host}:{node.port}" if node.port else node.host)
            ),
            "sends": lambda node: "yes" if node.may_send else "",
            "results": lambda node: (
                ", ".join(node.objects or USUAL) if node.receives_results else ""
            ),
            "confirms by": lambda node: "" if node.confirm is Confirm.NONE else str(node.confirm),
            "language": lambda node: node.language if node.receives_results else "",
            "calls from": lambda node: ", ".join(node.networks) or "its host",
            "TLS": lambda node: (
                short(node.certificate) if node.certificate else "by name" if node.tls else ""
            ),
            "quiet": lambda node: "" if node.quiet_seconds is None else f"{node.quiet_seconds:g} s",
            "description": lambda node: node.description,
        },
        as_json=as_json,
        empty="No nodes yet; `gatekeeper node add` adds one.",
    )


@app.command()
def remove(
    context: typer.Context, ae_title: Annotated[str, typer.Argument(help="its AE title")]
) -> None:
    """Remove a node; deliveries to it wait until it is added again."""
    with site_of(context).database() as database, database.begin() as tx:
        removed = nodes.remove(tx, AeTitle.parse(ae_title))
    if not removed:
        fail(f"node {ae_title} is not known")
    console.print(f"Removed node {ae_title}.")


@app.command()
def echo(
    context: typer.Context,
    ae_title: Annotated[str, typer.Argument(help="its AE title")],
    as_json: AsJson = False,
) -> None:
    """Call a node with C-ECHO, or with a query for one study if it has a URL."""
    from gatekeeper.send import dimse, stow

    site = site_of(context)
    with site.database() as database, database.read() as tx:
        node = nodes.get(tx, AeTitle.parse(ae_title))
    if node is None:
        fail(f"node {ae_title} is not known")
    answer = stow.echo(node, site.settings) if node.url else dimse.echo(node, site.settings)
    if as_json:
        emit_json(answer)
        return
    console.print(f"{node.ae_title} answered in {answer.milliseconds:.0f} ms.")


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


def _place(address: str) -> tuple[str, int, str]:
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


def _fingerprint(text: str) -> str:
    """Return the fingerprint of ``FILE.pem`` or of its text; empty for empty."""
    if not text:
        return ""
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
