"""What is known of one node: what it may do, when it was last heard of, what waits for it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from storage import deliveries, nodes
from storage.records import Delivery, DeliveryState, Echo, Node


@dataclass(frozen=True, slots=True)
class NodeHistory:
    """One node and its latest news.

    Attributes:
        node: as entered.
        echo: its answer to the latest C-ECHO; None when it was never called.
        last_received_at: when its newest instance came; None without any.
        last_delivery: the newest delivery that has ended or failed once; None without any.
        last_trouble: the newest delivery that has a reason to tell; None without any.
        deliveries: number of deliveries in each state that has any.
    """

    node: Node
    echo: Echo | None
    last_received_at: float | None
    last_delivery: Delivery | None
    last_trouble: Delivery | None
    deliveries: dict[str, int]

    @property
    def waiting(self) -> int:
        """How many deliveries are on their way."""
        ways = (DeliveryState.QUEUED, DeliveryState.CLAIMED)
        return sum(self.deliveries.get(state.value, 0) for state in ways)


def read_node(tx: Connection, ae_title: str) -> NodeHistory | None:
    """Return what is known of a node, or None."""
    node = nodes.get(tx, ae_title)
    if node is None:
        return None
    newest = deliveries.listing(tx, node=ae_title)
    return NodeHistory(
        node=node,
        echo=nodes.last_echo(tx, ae_title),
        last_received_at=nodes.last_received(tx, ae_title),
        last_delivery=next((one for one in newest if one.delivered_at or one.reason), None),
        last_trouble=next((one for one in newest if one.reason), None),
        deliveries=deliveries.counts_of(tx, ae_title),
    )
