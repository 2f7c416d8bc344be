"""Nodes: the DICOM peers that an administrator has entered."""

from __future__ import annotations

from sqlalchemy import Connection, RowMapping, delete, select

from storage.engine import facts, insert, now, plain
from storage.records import Confirm, Echo, Node, Retrieve, Role
from storage.schema import echo, instance
from storage.schema import node as table


def save(tx: Connection, node: Node) -> None:
    """Enter a node, or replace the one of the same AE title."""
    values = {
        "host": node.host,
        "port": node.port,
        "may_send": node.may_send,
        "receives_results": node.receives_results,
        "networks": list(node.networks),
        "quiet_seconds": node.quiet_seconds,
        "enabled": node.enabled,
        "description": node.description,
        "objects": list(node.objects),
        "language": node.language,
        "tls": node.tls,
        "certificate": node.certificate,
        "confirm": Confirm(node.confirm).value,
        "roles": [Role(role).value for role in node.roles],
        "receives_studies": node.receives_studies,
        "sop_classes": list(node.sop_classes),
        "retrieve": Retrieve(node.retrieve).value,
        "url": node.url,
    }
    tx.execute(
        insert(tx, table)
        .values(ae_title=str(node.ae_title), **values)
        .on_conflict_do_update(index_elements=[table.c.ae_title], set_=values)
    )


def get(tx: Connection, ae_title: str) -> Node | None:
    """Return the node of this AE title, or None."""
    row = tx.execute(select(table).where(table.c.ae_title == ae_title)).mappings().one_or_none()
    return None if row is None else _node(row)


def remove(tx: Connection, ae_title: str) -> bool:
    """Remove a node; False when there is none. Its deliveries stay, to be seen and retried."""
    tx.execute(delete(echo).where(echo.c.node == ae_title))
    return tx.execute(delete(table).where(table.c.ae_title == ae_title)).rowcount == 1


def note_echo(tx: Connection, ae_title: str, answered: bool, detail: str) -> None:
    """Keep what a node answered to C-ECHO, in place of its answer before."""
    values = {"at": now(), "answered": answered, "detail": plain(detail)}
    tx.execute(
        insert(tx, echo)
        .values(node=str(ae_title), **values)
        .on_conflict_do_update(index_elements=[echo.c.node], set_=values)
    )


def last_echo(tx: Connection, ae_title: str) -> Echo | None:
    """Return what a node answered to the latest C-ECHO, None when it was never called."""
    row = tx.execute(select(echo).where(echo.c.node == ae_title)).mappings().one_or_none()
    return None if row is None else Echo(**row)


def echoes(tx: Connection) -> dict[str, Echo]:
    """Return what every node that was ever called answered to the latest C-ECHO."""
    return {row["node"]: Echo(**row) for row in tx.execute(select(echo)).mappings()}


def last_received(tx: Connection, ae_title: str) -> float | None:
    """Return when the newest instance of a node came, seconds since 1970; None without any."""
    query = select(instance.c.received_at).where(instance.c.source_ae == ae_title)
    return tx.execute(query.order_by(instance.c.id.desc()).limit(1)).scalar_one_or_none()


def listing(tx: Connection) -> list[Node]:
    """Return all nodes in the order of their AE titles."""
    return [_node(row) for row in tx.execute(select(table).order_by(table.c.ae_title)).mappings()]


def _node(row: RowMapping) -> Node:
    return Node(
        **facts(
            row,
            networks=tuple(row["networks"]),
            objects=tuple(row["objects"]),
            confirm=Confirm(row["confirm"]),
            roles=tuple(Role(role) for role in row["roles"]),
            sop_classes=tuple(row["sop_classes"]),
            retrieve=Retrieve(row["retrieve"]),
        )
    )
