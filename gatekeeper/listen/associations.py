"""The associations that are open, in the database, so that no study completes under its sender.

An association gets its row together with its first instance, in the same transaction; one that
only echoes costs nothing. While it is open one thread renews the row. A listener that is killed
stops renewing, and its associations count as ended after the lease.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from sqlalchemy.exc import SQLAlchemyError

from gatekeeper.listen.scan import Layout
from gatekeeper.listen.seats import Seats
from gatekeeper.log import error_name, get_logger
from storage import instances
from storage.engine import Database

_GATHER_SECONDS = 0.2
_ANYBODY = "association"

log = get_logger()


class Served(Protocol):
    """What serves an association and can tell whether it still does: a thread, an upload."""

    def is_alive(self) -> bool:
        """Return whether the association may still bring something."""
        ...


@dataclass(slots=True)
class OpenAssociation:
    """One association as its own thread knows it.

    Attributes:
        calling_ae: AE title of the node that sends.
        address: its literal IP address.
        id: row in the database; None before the first instance.
        study: the study that it was last linked to.
        stored: instances answered with success.
        refused: instances answered with a failure.
        owed: whether instances were answered whose rows may not be written yet.
        opened: when it was accepted, by the monotonic clock.
        may_send: whether it may bring studies to analyse.
        moved_to: our AE title, when the node may bring priors that we asked it for by C-MOVE.
        prior_study: the prior study that we are fetching on it by C-GET; it brings nothing else.
        layouts: of the data set before, by its transfer syntax; the next is likely laid out alike.
    """

    calling_ae: str
    address: str
    id: int | None = None
    study: str = ""
    stored: int = 0
    refused: int = 0
    owed: bool = False
    opened: float = field(default_factory=time.monotonic)
    may_send: bool = True
    moved_to: str = ""
    prior_study: str = ""
    layouts: dict[str, Layout] = field(default_factory=dict[str, Layout])


class OpenAssociations:
    """The open associations of this process, each known by the thread or upload that serves it.

    Args:
        database: where they are recorded.
        heartbeat_seconds: how often they are renewed; well under the lease.
        seats: where they are counted together with those of other processes; None for no others.
        enter: has the rows written of what was brought so far; an association has not ended before.
    """

    def __init__(
        self,
        database: Database,
        heartbeat_seconds: float,
        seats: Seats | None = None,
        enter: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._seats = seats
        self._enter = enter
        self._heartbeat_seconds = heartbeat_seconds
        self._lock = threading.Lock()
        self._open: dict[Served, OpenAssociation] = {}
        self._ended: list[int] = []
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start renewing."""
        self._thread = threading.Thread(target=self._run, name="associations", daemon=True)
        self._thread.start()

    def stop(self, deadline_seconds: float) -> None:
        """Stop renewing and record that every association has ended."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(deadline_seconds)
        with self._lock:
            threads = list(self._open)
        for thread in threads:
            self.close(thread)
        self.tend()

    def count(self) -> int:
        """Return how many are open."""
        with self._lock:
            # A thread may have ended without an event; it is tidied up by `tend`.
            return sum(thread.is_alive() for thread in self._open)

    def admit(
        self,
        thread: threading.Thread,
        calling_ae: str,
        address: str,
        limit: int,
        moved_to: str = "",
    ) -> OpenAssociation | None:
        """Return the new association that `thread` serves; None when `limit` are open."""
        if self.count() >= limit:
            return None
        if self._seats is not None and self._seats.take(_ANYBODY, limit):
            return None
        return self.open(thread, calling_ae, address, moved_to)

    def open(
        self, thread: threading.Thread, calling_ae: str, address: str, moved_to: str = ""
    ) -> OpenAssociation:
        """Return the new association that `thread` serves; see `OpenAssociation`."""
        association = OpenAssociation(calling_ae, address, moved_to=moved_to)
        self.add(thread, association)
        return association

    def add(self, served: Served, association: OpenAssociation) -> None:
        """Hold an association open that `served` serves."""
        with self._lock:
            self._open[served] = association

    def of(self, thread: Served) -> OpenAssociation | None:
        """Return the association that `thread` serves, or None when it was not accepted."""
        with self._lock:
            return self._open.get(thread)

    def close(self, thread: Served) -> OpenAssociation | None:
        """Note that the association of `thread` has ended and return it, the first time."""
        with self._lock:
            association = self._open.pop(thread, None)
            if association is not None and association.id is not None:
                self._ended.append(association.id)
                self._wake.set()
        if association is not None and self._seats is not None:
            self._seats.leave(_ANYBODY)
        return association

    def tend(self) -> None:
        """Renew what is open and close what has ended, in one transaction.

        When the database is in trouble nothing is lost: it is tried again at the next heartbeat.
        """
        with self._lock:
            silent = [thread for thread in self._open if not thread.is_alive()]
        for thread in silent:
            # The peer vanished in a way that ended the thread without an event.
            self.close(thread)
        with self._lock:
            ids = [one.id for one in self._open.values() if one.id is not None]
            ended = tuple(self._ended)
        if not ids and not ended:
            return
        if ended:
            self._enter()
        try:
            with self._database.begin() as tx:
                if ids:
                    instances.touch_associations(tx, ids)
                for row in ended:
                    instances.close_association(tx, row)
        except (SQLAlchemyError, OSError) as error:
            log.warning("associations_not_renewed", error=error_name(error), count=len(ids))
            return
        with self._lock:
            self._ended = [row for row in self._ended if row not in ended]

    def _run(self) -> None:
        while not self._stopping.is_set():
            if self._wake.wait(self._heartbeat_seconds):
                # Endings that come fast are written down together, out of the way of instances.
                self._stopping.wait(_GATHER_SECONDS)
            self._wake.clear()
            if not self._stopping.is_set():
                self.tend()
