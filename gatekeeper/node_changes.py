"""Changes of a node that are more than its fields: a switch, and a removal that rules forbid."""

from __future__ import annotations

import dataclasses

from sqlalchemy import Connection

from gatekeeper.errors import GatekeeperError
from storage import nodes, rules
from storage.records import Node


class UnknownNode(GatekeeperError):
    """There is no node of this AE title."""


class NodeNamed(GatekeeperError):
    """A node that rules name, and that therefore stays.

    Args:
        node: its AE title.
        naming: names of the rules.
    """

    def __init__(self, node: str, naming: tuple[str, ...]) -> None:
        super().__init__(
            f"{'rules name' if len(naming) > 1 else 'a rule names'} node {node}: "
            f"{', '.join(naming)}; change them first, or disable them by --force"
        )
        self.naming = naming


def known(tx: Connection, ae_title: str) -> Node:
    """Return a node.

    Raises:
        UnknownNode: if there is none of this AE title.
    """
    node = nodes.get(tx, ae_title)
    if node is None:
        raise UnknownNode(f"node {ae_title} is not known")
    return node


def switch(tx: Connection, ae_title: str, *, enabled: bool) -> None:
    """Let a node call and be called, or not.

    Raises:
        UnknownNode: if there is none of this AE title.
    """
    nodes.save(tx, dataclasses.replace(known(tx, ae_title), enabled=enabled))


def naming(tx: Connection, ae_title: str) -> tuple[str, ...]:
    """Return the names of the enabled rules that name a node."""
    # What knows of rules takes a while to import, and most commands about nodes need none of it.
    from gatekeeper.rules.book import parse_book
    from gatekeeper.rules.check import rules_naming

    book = parse_book(rules.listing(tx))
    return tuple(rule.name for rule in rules_naming(ae_title, book.rules))


def remove(tx: Connection, ae_title: str, *, disable_rules: bool = False) -> tuple[str, ...]:
    """Remove a node and return the rules that were disabled with it.

    Args:
        tx: of `gatekeeper.configuration.changes.changing`.
        ae_title: of the node.
        disable_rules: whether rules that name it are disabled; else they keep it.

    Raises:
        NodeNamed: if rules name it.
        UnknownNode: if there is none of this AE title.
    """
    found = naming(tx, ae_title)
    if found and not disable_rules:
        raise NodeNamed(ae_title, found)
    for rule in found:
        rules.enable(tx, rule, enabled=False)
    if not nodes.remove(tx, ae_title):
        raise UnknownNode(f"node {ae_title} is not known")
    return found
