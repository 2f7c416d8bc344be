"""`gatekeeper node`: the DICOM peers and what each may do."""

from __future__ import annotations

import dataclasses
import ipaddress
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from sqlalchemy import Connection

from gatekeeper import certificates, sop_classes
from gatekeeper.cli import node_checks, node_show
from gatekeeper.cli.changes import By, Why, configuring
from gatekeeper.cli.output import console, emit_json, emit_rows, fail, short
from gatekeeper.cli.site import AsJson, Site, site_of
from gatekeeper.errors import IdentifierError, TransportError
from gatekeeper.identifiers import AeTitle
from gatekeeper.peering import problem, with_roles
from gatekeeper.results.catalogue import CatalogueError, read
from gatekeeper.results.kinds import KINDS, USUAL, VIEWERS, UnknownKindError, parse
from gatekeeper.sop_classes import UnknownSopClassError
from storage import nodes, rules
from storage.records import Confirm, Node, Retrieve, Role

app = typer.Typer(
    help="DICOM peers: scanners, archives, and what each may do.", no_args_is_help=True
)
node_show.register(app)
node_checks.register(app)

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


@app.command()
def add(
    context: typer.Context,
    ae_title: Title,
    address: Annotated[
        str, typer.Argument(help="HOST:PORT it listens on, or HOST if it only sends")
    ],
    role: Roles = None,
    may_send: Sends = None,
    receives_results: Results = None,
    receives_studies: Studies = None,
    sop_class: Classes = None,
    retrieve: Retrieval = None,
    network: Networks = None,
    quiet: Quiet = None,
    objects: Objects = None,
    viewer: Viewer = None,
    tls: Tls = None,
    certificate: OneCertificate = None,
    confirm: Confirming = None,
    language: Language = None,
    description: Description = None,
    by: By = "",
    why: Why = "",
) -> None:
    """Add a node, or replace the one with this AE title; no process needs a restart."""
    site = site_of(context)
    host, port = parse_address(address)
    node = with_roles(Node(AeTitle.parse(ae_title), host, port), tuple(role or ()))
    changes = _given(
        may_send=may_send,
        receives_results=receives_results,
        receives_studies=receives_studies,
        sop_classes=_classes(sop_class),
        retrieve=retrieve,
        networks=_networks(network),
        quiet_seconds=quiet,
        objects=_objects(objects, viewer),
        tls=tls,
        certificate=_fingerprint(certificate),
        confirm=confirm,
        language=language,
        description=description,
    )
    node = _checked(site, dataclasses.replace(node, **changes))
    with configuring(context, by, why, f"node add {node.ae_title}") as tx:
        nodes.save(tx, node)
    console.print(f"Saved node {node.ae_title}.")


@app.command()
def edit(
    context: typer.Context,
    ae_title: Title,
    address: Annotated[str | None, typer.Option(help="HOST:PORT, or HOST if it only sends")] = None,
    role: Roles = None,
    may_send: Sends = None,
    receives_results: Results = None,
    receives_studies: Studies = None,
    sop_class: Classes = None,
    retrieve: Retrieval = None,
    network: Networks = None,
    quiet: Annotated[
        float | None,
        typer.Option(help="seconds of silence that complete a study from it; -1 for the usual"),
    ] = None,
    objects: Objects = None,
    viewer: Viewer = None,
    tls: Tls = None,
    certificate: OneCertificate = None,
    confirm: Confirming = None,
    language: Language = None,
    description: Description = None,
    by: By = "",
    why: Why = "",
) -> None:
    """Change what is given of a node; everything else stays. An empty text forgets a field."""
    site = site_of(context)
    changes = _given(
        may_send=may_send,
        receives_results=receives_results,
        receives_studies=receives_studies,
        sop_classes=_classes(sop_class),
        retrieve=retrieve,
        networks=_networks(network),
        quiet_seconds=quiet,
        objects=_objects(objects, viewer),
        tls=tls,
        certificate=_fingerprint(certificate),
        confirm=confirm,
        language=language,
        description=description,
    )
    if quiet is not None and quiet < 0:
        changes["quiet_seconds"] = None
    if address is not None:
        changes["host"], changes["port"] = parse_address(address)
    if not changes and role is None:
        fail("say what is to change; `gatekeeper node edit --help` lists it")
    with configuring(context, by, why, f"node edit {ae_title}") as tx:
        before = _known(tx, ae_title)
        node = before if role is None else with_roles(before, tuple(role))
        node = _checked(site, dataclasses.replace(node, **changes))
        nodes.save(tx, node)
    for name in (field.name for field in dataclasses.fields(Node)):
        old, new = getattr(before, name), getattr(node, name)
        if old != new:
            console.print(f"{name}: {_plain(old)} -> {_plain(new)}", highlight=False, markup=False)
    if node == before:
        console.print(f"Node {node.ae_title} is as it was.")


@app.command()
def enable(context: typer.Context, ae_title: Title, by: By = "", why: Why = "") -> None:
    """Let a node call and be called again."""
    with configuring(context, by, why, f"node enable {ae_title}") as tx:
        _switch(tx, ae_title, enabled=True)
    console.print(f"Node {ae_title} is enabled.")


@app.command()
def disable(context: typer.Context, ae_title: Title, by: By = "", why: Why = "") -> None:
    """Refuse a node's calls and send it nothing; what is for it waits until it is enabled."""
    with configuring(context, by, why, f"node disable {ae_title}") as tx:
        _switch(tx, ae_title, enabled=False)
    console.print(f"Node {ae_title} is disabled; deliveries to it wait.")


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
            "address": lambda node: f"{node.host}:{node.port}" if node.port else node.host,
            "role": lambda node: ", ".join(node.roles),
            "state": lambda node: "" if node.enabled else "disabled",
            "sends": lambda node: "yes" if node.may_send else "",
            "studies": lambda node: (
                ("gated" if node.gated else "at once") if node.receives_studies else ""
            ),
            "SOP classes": lambda node: ", ".join(node.sop_classes),
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
    context: typer.Context,
    ae_title: Title,
    force: Annotated[
        bool, typer.Option("--force", help="disable the rules that name it, and remove it")
    ] = False,
    by: By = "",
    why: Why = "",
) -> None:
    """Remove a node; deliveries to it wait until it is added again."""
    from gatekeeper.rules.book import parse_book
    from gatekeeper.rules.check import rules_naming

    name = AeTitle.parse(ae_title)
    with configuring(context, by, why, f"node remove {name}") as tx:
        naming = [rule.name for rule in rules_naming(name, parse_book(rules.listing(tx)).rules)]
        if naming and not force:
            fail(
                f"{'rules name' if len(naming) > 1 else 'a rule names'} node {name}: "
                f"{', '.join(naming)}; change them first, or disable them by --force"
            )
        for rule in naming:
            rules.enable(tx, rule, enabled=False)
        removed = nodes.remove(tx, name)
    if not removed:
        fail(f"node {ae_title} is not known")
    for rule in naming:
        console.print(f"Disabled rule {rule}.")
    console.print(f"Removed node {ae_title}.")


@app.command()
def echo(context: typer.Context, ae_title: Title, as_json: AsJson = False) -> None:
    """Call a node with C-ECHO and say what it answered."""
    from gatekeeper.send.dimse import echo as call

    site = site_of(context)
    with site.database() as database:
        with database.read() as tx:
            node = _known(tx, ae_title)
        try:
            answer = call(node, site.settings)
        except TransportError as error:
            with database.begin() as tx:
                nodes.note_echo(tx, node.ae_title, False, str(error))
            raise
        with database.begin() as tx:
            nodes.note_echo(tx, node.ae_title, True, answer.in_words)
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


def parse_address(text: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT`` or ``HOST``; the port is 0 when absent."""
    host, colon, port = text.rpartition(":")
    if not colon or (host.count(":") and not host.startswith("[")):
        return text.strip("[]"), 0
    if not port.isdecimal() or not 0 < int(port) < 65536 or not host:
        fail(f"{text}: not HOST:PORT")
    return host.strip("[]"), int(port)


def _known(tx: Connection, ae_title: str) -> Node:
    node = nodes.get(tx, AeTitle.parse(ae_title))
    if node is None:
        fail(f"node {ae_title} is not known")
    return node


def _switch(tx: Connection, ae_title: str, *, enabled: bool) -> None:
    nodes.save(tx, dataclasses.replace(_known(tx, ae_title), enabled=enabled))


def _given(**values: Any) -> dict[str, Any]:
    """Return the fields that an option was given for; a certificate makes TLS of it, too."""
    given = {name: value for name, value in values.items() if value is not None}
    if given.get("certificate"):
        given["tls"] = True
    return given


def _checked(site: Site, node: Node) -> Node:
    """Return a node that could work, or end the command naming the rule that it breaks."""
    wrong = problem(node)
    if wrong is not None:
        fail(wrong)
    try:
        read(node.language, site.settings.results.catalogues)
    except CatalogueError as error:
        fail(str(error))
    return node


def _classes(entries: list[str] | None) -> tuple[str, ...] | None:
    try:
        return None if entries is None else sop_classes.parse(one for one in entries if one)
    except UnknownSopClassError as error:
        fail(str(error))


def _networks(texts: list[str] | None) -> tuple[str, ...] | None:
    return None if texts is None else tuple(_network(text) for text in texts if text)


def _objects(objects: str | None, viewer: str | None) -> tuple[str, ...] | None:
    return None if objects is None and viewer is None else kinds_taken(objects or "", viewer or "")


def _fingerprint(text: str | None) -> str | None:
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


def _plain(value: Any) -> str:
    """Return a field's value for people."""
    if isinstance(value, tuple):
        return ", ".join(str(one) for one in cast(tuple[object, ...], value)) or "none"
    return "none" if value in (None, "") else str(value)
