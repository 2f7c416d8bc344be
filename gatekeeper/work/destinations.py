"""Destinations: what the nodes that receive results take of them."""

from __future__ import annotations

from collections.abc import Sequence

from gatekeeper.results import kinds
from storage.records import Node


def kinds_taken(known: Sequence[Node]) -> dict[str, tuple[str, ...]]:
    """Return what each node that receives results takes of them, by AE title."""
    return {
        node.ae_title: kinds.taken(node.objects)
        for node in known
        if node.enabled and node.receives_results
    }
