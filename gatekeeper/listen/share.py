"""What the processes of one listener share: the ports, and the table of what is open.

Every process waits on the same sockets, and whoever comes first takes a connection. One that has
more connections than another gives way for a moment, so that idle processes come first; a process
that hangs delays a connection by that moment and never keeps it.
"""

from __future__ import annotations

import select
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatekeeper.listen.seats import Table

if TYPE_CHECKING:
    from storage.recorder import Recorder

GIVE_WAY_SECONDS = 0.03
"""Longest wait for a process with fewer connections to take one."""
_LOOK_SECONDS = 0.002
_IN_VAIN_SECONDS = 1.0


class SharedPort:
    """A listening socket from which several processes accept.

    Args:
        listening: the socket, bound; it stays open in the other processes when closed here.
        table: who has how many connections.
    """

    def __init__(self, listening: socket.socket, table: Table) -> None:
        self.socket = listening
        self._table = table
        self._in_vain = float("-inf")
        # Another process may have taken the connection that was there a moment ago.
        listening.setblocking(False)

    def give_way(self) -> None:
        """Wait a moment while a process with fewer connections may take the next one.

        Raises:
            BlockingIOError: if it was taken.
        """
        began = time.monotonic()
        if began < self._in_vain or not self._table.others_have_room():
            return
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        while time.monotonic() < began + GIVE_WAY_SECONDS:
            time.sleep(_LOOK_SECONDS)
            if not poll.poll(0):
                raise BlockingIOError
            if not self._table.others_have_room():
                return
        # It seems to hang; the others go on as if it were not there.
        self._in_vain = time.monotonic() + _IN_VAIN_SECONDS


@dataclass(frozen=True, slots=True)
class Share:
    """One process's part in a listener of several.

    Attributes:
        plain: the plain port; None when none is open.
        secured: the port for TLS; None when none is open.
        table: what all of them have open.
        recorder: enters what all of them receive; None when each does so itself.
    """

    plain: SharedPort | None
    secured: SharedPort | None
    table: Table
    recorder: Recorder | None = None
