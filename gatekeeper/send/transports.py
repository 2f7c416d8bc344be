"""Each node by its own way: STOW-RS for one that has a URL, C-STORE for any other."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from gatekeeper.send.dimse import DimseTransport
from gatekeeper.send.stow import StowTransport
from gatekeeper.send.transport import InstanceStatus, SendObject
from gatekeeper.settings import Settings
from gatekeeper.tls import Credentials
from storage.records import Node


class NodeTransport:
    """Sends to any node.

    Args:
        settings: all settings; our AE title and `send` are used.
        credentials: for nodes that are called by TLS.
    """

    def __init__(self, settings: Settings, credentials: Credentials) -> None:
        self._dimse = DimseTransport(settings.listen.ae_title, settings.send, credentials)
        self._stow = StowTransport(settings.send, credentials)

    def send(self, objects: Sequence[SendObject], node: Node) -> Generator[InstanceStatus]:
        """Send `objects` to `node` and yield each one's answer as it comes.

        Raises:
            TransportError: if the node cannot be reached, refuses, or is lost for good.
        """
        return (self._stow if node.url else self._dimse).send(objects, node)
