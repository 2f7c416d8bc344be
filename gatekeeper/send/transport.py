"""What every way of sending has in common: objects in, one answer an object out.

A transport yields answers as the peer gives them, so that each can be recorded before the next
object is sent. It raises `TransportError` when the peer cannot be reached or is lost for good;
objects without an answer by then are still to be sent.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gatekeeper.send.statuses import Disposition
from storage.records import Node


@dataclass(frozen=True, slots=True)
class SendObject:
    """One object to send: a DICOM Part 10 file and what it holds."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    path: Path


@dataclass(frozen=True, slots=True)
class InstanceStatus:
    """The answer about one object.

    Attributes:
        sent: the object.
        status: the C-STORE status, None when there was none to have.
        disposition: what becomes of the object.
        reason: why, in one clause without patient data.
    """

    sent: SendObject
    status: int | None
    disposition: Disposition
    reason: str

    @property
    def stored(self) -> bool:
        """Whether the peer has the object."""
        return self.disposition.stored


class Transport(Protocol):
    """A way to send objects to a node."""

    def send(self, objects: Sequence[SendObject], node: Node) -> Generator[InstanceStatus]:
        """Send `objects` to `node` and yield each one's answer as it comes.

        Closing the generator ends the connection in order after the object under way.

        Raises:
            TransportError: if the node cannot be reached, refuses, or is lost for good.
        """
        ...
