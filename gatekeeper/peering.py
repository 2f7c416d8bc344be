"""Peering: what a node's role implies, and which of its fields do not go together; pure."""

from __future__ import annotations

import dataclasses

from gatekeeper.results.catalogue import ENGLISH
from storage.records import Confirm, Node, Retrieve, Role

_CALLED = (Role.ARCHIVE, Role.DOWNSTREAM, Role.WORKSTATION)
"""Roles of nodes that we call."""


def with_roles(node: Node, roles: tuple[Role, ...]) -> Node:
    """Return `node` in these roles, with what each implies added to what it does.

    A scanner sends studies; an archive and a workstation receive results; every study is forwarded
    to what is downstream, past the gate.
    """
    return dataclasses.replace(
        node,
        roles=tuple(role for role in Role if role in roles),
        may_send=node.may_send or Role.SCANNER in roles,
        receives_results=node.receives_results
        or Role.ARCHIVE in roles
        or Role.WORKSTATION in roles,
        receives_studies=node.receives_studies or Role.DOWNSTREAM in roles,
    )


def problem(node: Node) -> str | None:
    """Return which of the node's fields do not go together, as the options are called, or None."""
    receives = node.receives_results or node.receives_studies
    called = receives or any(role in _CALLED for role in node.roles)
    rules = (
        (
            not (node.may_send or receives or node.roles),
            "say what the node does: --role, --sends, --results or --studies",
        ),
        (
            Role.ARCHIVE in node.roles and Role.DOWNSTREAM in node.roles,
            "a node is an archive or downstream, not both: only what is downstream waits",
        ),
        (
            called and not node.port,
            f"{node.host}: a node that we call, as it receives something, needs HOST:PORT",
        ),
        (
            node.objects and not node.receives_results,
            "--objects and --viewer are for a node that receives --results",
        ),
        (
            node.confirm is not Confirm.NONE and not called,
            "--confirm is for a node that receives --results or --studies",
        ),
        (
            node.language != ENGLISH and not node.receives_results,
            "--language is for a node that receives --results",
        ),
        (
            node.retrieve is Retrieve.MOVE and Role.ARCHIVE not in node.roles,
            "--retrieve move is for a node with --role archive",
        ),
        *_of_url(node),
    )
    return next((text for wrong, text in rules if wrong), None)


def _of_url(node: Node) -> tuple[tuple[bool, str], ...]:
    """Return the rules of a node that is called by DICOMweb: is it broken, and its text."""
    return (
        (
            bool(node.url) and node.confirm is not Confirm.NONE,
            "--confirm is by DIMSE; a node with a URL says in its answers what it stored",
        ),
        (
            node.url.startswith("http:") and node.needs_tls,
            f"{node.url}: --tls and --certificate are for https",
        ),
        (
            bool(node.url) and node.retrieve is Retrieve.MOVE,
            "--retrieve is by DIMSE; a node with a URL is not asked for priors",
        ),
    )


def does(node: Node) -> list[str]:
    """Return what a node does, a clause each, for people."""
    found: list[str] = []
    if node.may_send:
        found.append("sends us studies")
    if node.receives_results:
        found.append("receives results")
    if node.receives_studies:
        when = "past the gate" if node.gated else "at once"
        found.append(f"is forwarded every study, {when}")
    elif node.gated:
        found.append("is forwarded the studies that a rule names, past the gate")
    if Role.ARCHIVE in node.roles:
        by = "C-MOVE to our listener" if node.retrieve is Retrieve.MOVE else "C-GET"
        found.append(f"is asked for priors, by {by}, when a rule says so")
    return found
