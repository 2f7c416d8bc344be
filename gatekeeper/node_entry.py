"""What a person enters of a node: texts in, a node that could work out, or the rule it breaks.

The command line and the pages ask for the same fields, and are refused in the same words.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from gatekeeper import peering
from gatekeeper.errors import GatekeeperError
from gatekeeper.results.catalogue import read
from gatekeeper.results.kinds import VIEWERS, parse
from gatekeeper.send.web_address import WebAddress
from storage.records import Node


class NodeRefused(GatekeeperError):
    """Something about a node that cannot be; says which rule it breaks."""


def place(address: str) -> tuple[str, int, str]:
    """Return host, port and URL of what was entered as an address.

    Raises:
        NodeRefused: if it is none of ``HOST``, ``HOST:PORT`` and an ``https://`` URL.
    """
    if "://" not in address:
        return *parse_address(address), ""
    found = WebAddress.parse(address)
    return found.host, found.port, address.rstrip("/")


def parse_address(text: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT`` or ``HOST``; the port is 0 when absent.

    Raises:
        NodeRefused: if the port is none.
    """
    host, colon, port = text.rpartition(":")
    if not colon or (host.count(":") and not host.startswith("[")):
        return text.strip("[]"), 0
    if not (port.isascii() and port.isdecimal()) or not 0 < int(port) < 65536 or not host:
        raise NodeRefused(f"{text}: not HOST:PORT")
    return host.strip("[]"), int(port)


def address_of(node: Node) -> str:
    """Return the address of a node as `place` reads it."""
    if node.url:
        return node.url
    host = f"[{node.host}]" if ":" in node.host and node.port else node.host
    return f"{host}:{node.port}" if node.port else host


def networks(texts: Iterable[str]) -> tuple[str, ...]:
    """Return CIDR blocks as they are kept; empty texts are passed over.

    Raises:
        NodeRefused: if one is none.
    """
    return tuple(_network(text) for text in texts if text)


def kinds_taken(objects: Iterable[str], viewer: str = "") -> tuple[str, ...]:
    """Return the kinds of result that are named, or that a viewer shows; none for the usual ones.

    Raises:
        NodeRefused, UnknownKindError: if both are given, or one is unknown.
    """
    named = [name for name in objects if name]
    if named and viewer:
        raise NodeRefused("say --objects or --viewer, not both")
    if viewer and viewer not in VIEWERS:
        raise NodeRefused(f"no viewer {viewer!r}; there are: {', '.join(VIEWERS)}")
    return parse(VIEWERS.get(viewer) or named)


def checked(node: Node, catalogues: str) -> Node:
    """Return a node that could work.

    Args:
        node: as entered.
        catalogues: setting ``results.catalogues``.

    Raises:
        NodeRefused: naming the rule that it breaks.
        CatalogueError: if there is no catalogue of its language.
    """
    wrong = peering.problem(node)
    if wrong is not None:
        raise NodeRefused(wrong)
    read(node.language, catalogues)
    return node


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        raise NodeRefused(f"{text}: not a network in CIDR form, such as 10.1.2.0/24") from None
