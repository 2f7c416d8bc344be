"""The section `nodes`: DICOM peers and what each may do."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from gatekeeper import certificates, peering, sop_classes
from gatekeeper.configuration.document import Document, Items
from gatekeeper.configuration.fields import item_of, record_of
from gatekeeper.errors import ConfigurationError, IdentifierError
from gatekeeper.identifiers import AeTitle
from gatekeeper.results import kinds
from gatekeeper.results.catalogue import CatalogueError
from gatekeeper.results.catalogue import read as read_catalogue
from gatekeeper.results.kinds import UnknownKindError
from gatekeeper.send.web_address import WebAddress
from gatekeeper.sop_classes import UnknownSopClassError
from storage import nodes
from storage.records import Node
from storage.schema import node as table

NAME = "nodes"


@dataclass(frozen=True, slots=True)
class NodesSection:
    """Nodes by AE title.

    Attributes:
        catalogues: folder of the hospital's own catalogues of texts; empty when there is none.
    """

    catalogues: str
    name: str = NAME
    title: str = "DICOM peers: scanners, archives, downstream AI, workstations."
    tables: tuple[Any, ...] = (table,)

    def read(self, tx: Connection) -> Items:
        """Return the nodes in force; see `Section.read`."""
        return {node.ae_title: item_of(node, without="ae_title") for node in nodes.listing(tx)}

    def parse(self, items: Mapping[str, Any]) -> Items:
        """Return checked nodes; see `Section.parse`."""
        return {
            ae_title: item_of(_node(ae_title, item), without="ae_title")
            for ae_title, item in items.items()
        }

    def problems(self, document: Document) -> list[str]:
        """Return what is wrong with the nodes; see `Section.problems`."""
        found: list[str] = []
        for ae_title, item in document.get(NAME, {}).items():
            try:
                problem = self._problem(_node(ae_title, item))
            except ConfigurationError as error:
                problem = str(error)
            if problem is not None:
                found.append(problem)
        return found

    def _problem(self, node: Node) -> str | None:
        path = f"{NAME}.{node.ae_title}"
        try:
            AeTitle.parse(node.ae_title)
            if node.certificate:
                certificates.parse_fingerprint(node.certificate)
            kinds.parse(node.objects)
            sop_classes.parse(node.sop_classes)
            if node.url:
                WebAddress.parse(node.url)
            for network in node.networks:
                ipaddress.ip_network(network, strict=False)
            if node.receives_results:
                read_catalogue(node.language, self.catalogues)
        except (
            CatalogueError,
            IdentifierError,
            UnknownKindError,
            UnknownSopClassError,
            ValueError,
        ) as error:
            return f"{path}: {error}"
        if not 0 <= node.port < 65536:
            return f"{path}: port {node.port} is not between 0 and 65535"
        if not node.host:
            return f"{path}: has no host"
        if node.quiet_seconds is not None and node.quiet_seconds < 0:
            return f"{path}: quiet_seconds is under 0"
        if (node.receives_results or node.receives_studies) and not node.port:
            return f"{path}: is sent to, but has no port"
        wrong = peering.problem(node)
        return None if wrong is None else f"{path}: {wrong}"

    def write(self, tx: Connection, items: Items) -> None:
        """Have these nodes in force; see `Section.write`."""
        before = {node.ae_title: node for node in nodes.listing(tx)}
        for ae_title in before.keys() - items.keys():
            nodes.remove(tx, ae_title)
        for ae_title, item in items.items():
            node = _node(ae_title, item)
            if before.get(ae_title) != node:
                nodes.save(tx, node)


def _node(ae_title: str, item: Mapping[str, Any]) -> Node:
    return record_of(Node, f"{NAME}.{ae_title}", item, ae_title=ae_title)
