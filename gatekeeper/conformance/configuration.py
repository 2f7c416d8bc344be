"""Configuration: chapter 5, remote AEs as entered and the parameters that shape communication.

Shown are the sections of settings that a peer can notice. Of a setting that names a file only
whether it is set is shown; the database, the log and the signing key are in no statement.
"""

from __future__ import annotations

from typing import Any, cast

from gatekeeper import peering
from gatekeeper.conformance.document import Code, Section, Table
from gatekeeper.conformance.overview import NO, YES
from gatekeeper.conformance.site import Site
from gatekeeper.results import kinds
from gatekeeper.settings import Settings, describe, rows
from storage.records import Confirm, Node, Role

REMOTE = "Remote application entities"
SHOWN = ("listen", "tls", "web", "send", "commitment", "priors", "results")
"""Sections of settings that a peer can notice."""
FILES = frozenset(
    {"tls.certificate", "tls.key", "tls.ca", "send.web_credentials", "results.catalogues"}
)
"""Settings that name a file or folder of this machine."""

_CONFIRMS = {
    Confirm.NONE: "not asked",
    Confirm.COMMITMENT: "storage commitment",
    Confirm.FIND: "C-FIND",
}


def configuration(site: Site) -> Section:
    """Return the chapter."""
    listen, tls = site.settings.listen, site.settings.tls
    return Section(
        "DICOM configuration",
        parts=(
            Section(
                "Own application entity and network interfaces",
                (
                    Table(
                        "Network interfaces",
                        ("Interface", "Value"),
                        (
                            ("AE title, called and calling", Code(site.ae_title)),
                            ("Physical network", "whatever the operating system offers for TCP/IP"),
                            ("Address bound by the Listener", Code(listen.host)),
                            (
                                "TCP port, plain text",
                                Code(str(listen.port)) if listen.plain else "none",
                            ),
                            (
                                "TCP port, TLS",
                                Code(str(listen.tls_port)) if listen.tls_port else "none",
                            ),
                            ("Certificate for TLS", "set" if tls.certificate else "not set"),
                            (
                                "TCP port, DICOM web services",
                                Code(str(site.settings.web.port))
                                if site.settings.web.port
                                else "none",
                            ),
                        ),
                    ),
                ),
            ),
            Section(
                "Remote application entities",
                (
                    (
                        "AE titles are mapped to addresses in the database. A change takes effect "
                        "at the next association. Nodes that are disabled are left out."
                    ),
                    remote_table(site),
                ),
            ),
            Section(
                "Parameters",
                (
                    (
                        "Every setting that a peer can notice, with its value here. Settings are "
                        "read when a role starts."
                    ),
                    parameter_table(site.settings),
                ),
            ),
        ),
    )


def remote_table(site: Site) -> Table:
    """Return the nodes as entered."""
    return Table(
        REMOTE,
        (
            "AE title",
            "Called at",
            "May send",
            "What it does",
            "SOP classes",
            "Results",
            "Confirms by",
            "TLS",
        ),
        tuple(
            (
                Code(node.ae_title),
                Code(node.url or (f"{node.host}:{node.port}" if node.port else "")),
                YES if node.may_send else NO,
                "; ".join(_does(node, site)) or NO,
                ", ".join(node.sop_classes) or "all",
                ", ".join(kinds.taken(node.objects)) if node.receives_results else NO,
                _CONFIRMS[node.confirm],
                _tls(node),
            )
            for node in site.nodes
        ),
    )


def parameter_table(settings: Settings) -> Table:
    """Return the settings that a peer can notice."""
    return Table(
        "Configuration parameters",
        ("Parameter", "Default", "Here", "Meaning"),
        tuple(
            (
                Code(row.key),
                Code(_shown(row.key, row.default)),
                Code(_shown(row.key, getattr(getattr(settings, row.section), row.name))),
                describe(row),
            )
            for row in rows()
            if row.section in SHOWN
        ),
    )


def _does(node: Node, site: Site) -> list[str]:
    priors = Role.ARCHIVE in node.roles and node.ae_title in site.asked
    found = [clause for clause in peering.does(node) if "priors" not in clause]
    if node.ae_title in site.forwarded and not (node.receives_studies or node.gated):
        found.append("is forwarded studies that a rule names")
    if priors:
        found.append(f"is asked for priors by a rule, by C-{node.retrieve.value.upper()}")
    return found


def _tls(node: Node) -> str:
    if not node.needs_tls and not node.url.startswith("https:"):
        return "no"
    return "one certificate" if node.certificate else "certificate of a trusted CA"


def _shown(key: str, value: Any) -> str:
    if key in FILES:
        return "set" if value else "not set"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ", ".join(str(one) for one in cast(tuple[Any, ...], value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
