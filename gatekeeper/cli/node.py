"""`gatekeeper node`: the DICOM peers and what each may do."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, cast

import typer

from gatekeeper import node_changes
from gatekeeper.cli import node_checks, node_show
from gatekeeper.cli.changes import By, Why, configuring
from gatekeeper.cli.node_options import (
    Classes,
    Confirming,
    Description,
    Language,
    Networks,
    Objects,
    OneCertificate,
    Quiet,
    Results,
    Retrieval,
    Roles,
    Sends,
    Studies,
    Title,
    Tls,
    Viewer,
    classes_of,
    fingerprint,
    networks_of,
    objects_taken,
)
from gatekeeper.cli.output import console, emit_json, emit_rows, fail, short
from gatekeeper.cli.site import AsJson, site_of
from gatekeeper.identifiers import AeTitle
from gatekeeper.node_changes import known, switch
from gatekeeper.node_entry import checked, place
from gatekeeper.peering import with_roles
from gatekeeper.results.kinds import USUAL
from storage import nodes
from storage.records import Confirm, Node

app = typer.Typer(
    help="DICOM peers: scanners, archives, and what each may do.", no_args_is_help=True
)
node_show.register(app)
node_checks.register(app)


@app.command()
def add(
    context: typer.Context,
    ae_title: Title,
    address: Annotated[
        str,
        typer.Argument(
            help="HOST:PORT it listens on, HOST if it only sends, or the https:// URL of its "
            "DICOMweb service"
        ),
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
    host, port, url = place(address)
    node = with_roles(Node(AeTitle.parse(ae_title), host, port, url=url), tuple(role or ()))
    changes = _given(
        may_send=may_send,
        receives_results=receives_results,
        receives_studies=receives_studies,
        sop_classes=classes_of(sop_class),
        retrieve=retrieve,
        networks=networks_of(network),
        quiet_seconds=quiet,
        objects=objects_taken(objects, viewer),
        tls=tls,
        certificate=fingerprint(certificate),
        confirm=confirm,
        language=language,
        description=description,
    )
    node = checked(dataclasses.replace(node, **changes), site.settings.results.catalogues)
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
        sop_classes=classes_of(sop_class),
        retrieve=retrieve,
        networks=networks_of(network),
        quiet_seconds=quiet,
        objects=objects_taken(objects, viewer),
        tls=tls,
        certificate=fingerprint(certificate),
        confirm=confirm,
        language=language,
        description=description,
    )
    if quiet is not None and quiet < 0:
        changes["quiet_seconds"] = None
    if address is not None:
        changes["host"], changes["port"], changes["url"] = place(address)
    if not changes and role is None:
        fail("say what is to change; `gatekeeper node edit --help` lists it")
    with configuring(context, by, why, f"node edit {ae_title}") as tx:
        before = known(tx, AeTitle.parse(ae_title))
        node = before if role is None else with_roles(before, tuple(role))
        node = checked(dataclasses.replace(node, **changes), site.settings.results.catalogues)
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
        switch(tx, AeTitle.parse(ae_title), enabled=True)
    console.print(f"Node {ae_title} is enabled.")


@app.command()
def disable(context: typer.Context, ae_title: Title, by: By = "", why: Why = "") -> None:
    """Refuse a node's calls and send it nothing; what is for it waits until it is enabled."""
    with configuring(context, by, why, f"node disable {ae_title}") as tx:
        switch(tx, AeTitle.parse(ae_title), enabled=False)
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
            "address": lambda node: (
                node.url or (f"{node.host}:{node.port}" if node.port else node.host)
            ),
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
    name = AeTitle.parse(ae_title)
    with configuring(context, by, why, f"node remove {name}") as tx:
        disabled = node_changes.remove(tx, name, disable_rules=force)
    for rule in disabled:
        console.print(f"Disabled rule {rule}.")
    console.print(f"Removed node {ae_title}.")


@app.command()
def echo(context: typer.Context, ae_title: Title, as_json: AsJson = False) -> None:
    """Call a node with C-ECHO, or with a query for one study if it has a URL."""
    from gatekeeper.node_calls import echo as call

    site = site_of(context)
    with site.database() as database:
        with database.read() as tx:
            node = known(tx, AeTitle.parse(ae_title))
        answer = call(node, site.settings, database)
    if as_json:
        emit_json(answer)
        return
    console.print(f"{node.ae_title} answered in {answer.milliseconds:.0f} ms.")


def _given(**values: Any) -> dict[str, Any]:
    """Return the fields that an option was given for; a certificate makes TLS of it, too."""
    given = {name: value for name, value in values.items() if value is not None}
    if given.get("certificate"):
        given["tls"] = True
    return given


def _plain(value: Any) -> str:
    """Return a field's value for people."""
    if isinstance(value, tuple):
        return ", ".join(str(one) for one in cast(tuple[object, ...], value)) or "none"
    return "none" if value in (None, "") else str(value)
