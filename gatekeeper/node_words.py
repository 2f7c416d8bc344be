"""What a node is, in words for people: the same on the command line and the pages."""

from __future__ import annotations

from collections.abc import Mapping

from gatekeeper import certificates, sop_classes
from gatekeeper.errors import ConfigurationError
from gatekeeper.settings import Settings
from storage.records import Confirm, Node

CONFIRMS: Mapping[Confirm, str] = {
    Confirm.NONE: "not asked; what it answers as stored counts as kept",
    Confirm.COMMITMENT: "by storage commitment",
    Confirm.FIND: "by C-FIND",
}


def tls(node: Node, settings: Settings) -> str:
    """Return whether a node is talked to by TLS, by whose certificate, and until when by ours."""
    if not node.needs_tls:
        return "no: it calls and is called in plain text"
    whose = (
        f"its one certificate {node.certificate[:12]}"
        if node.certificate
        else f"any certificate of our CA that names {node.host}"
    )
    return f"always, with {whose}; {_expiry(settings)}"


def classes(node: Node) -> str:
    """Return which SOP classes a node may send and is sent studies of."""
    allowed = sop_classes.expand(node.sop_classes)
    if allowed is None:
        return "all"
    return f"{', '.join(node.sop_classes)} ({len(allowed)} classes); others are rejected"


def _expiry(settings: Settings) -> str:
    try:
        own = certificates.in_use(settings.tls)
    except ConfigurationError as error:
        return f"ours cannot be read: {error}"
    if not own:
        return "none of ours is set up"
    days = min(one.days for one in own)
    return f"ours expire in {days} days" if days >= 0 else "one of ours has expired"
