"""Nodes: entered, replaced, removed."""

from __future__ import annotations

from storage import nodes
from storage.engine import Database
from storage.records import Confirm, Node

PACS = Node(
    "PACS",
    "pacs.example.org",
    104,
    may_send=True,
    receives_results=True,
    networks=("10.0.0.0/8", "2001:db8::/32"),
    quiet_seconds=12.5,
    enabled=False,
    description="Größe",
    objects=("report", "heatmap"),
    tls=True,
    certificate="0f" * 32,
    confirm=Confirm.COMMITMENT,
    language="de-CH",
    url="https://pacs.example.org/dicom-web",
)


def test_a_node_comes_back_as_it_was_saved(database: Database) -> None:
    """Every field survives, and defaults stay defaults."""
    plain = Node("OTHER", "localhost", 11112)
    with database.begin() as tx:
        nodes.save(tx, PACS)
        nodes.save(tx, plain)

    with database.read() as tx:
        assert nodes.get(tx, "PACS") == PACS
        assert nodes.listing(tx) == [plain, PACS]
        assert nodes.get(tx, "pacs") is None


def test_saving_again_replaces_the_node(database: Database) -> None:
    """One AE title is one node."""
    with database.begin() as tx:
        nodes.save(tx, PACS)
        nodes.save(tx, Node("PACS", "localhost", 105))

        assert nodes.listing(tx) == [Node("PACS", "localhost", 105)]


def test_a_node_is_removed_once(database: Database) -> None:
    """Removing what is not there says so."""
    with database.begin() as tx:
        nodes.save(tx, PACS)

        assert nodes.remove(tx, "PACS")
        assert not nodes.remove(tx, "PACS")
        assert nodes.listing(tx) == []
