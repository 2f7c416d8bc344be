"""The sender's role: claims deliveries and gives each destination a thread of its own.

One delivery a destination is under way at a time, so that a dead or slow node holds up no other.
The claim is held by heartbeats from the main thread; every wait inside an attempt has a deadline,
so no attempt outlives its peer for ever.

A delivery to a node that is disabled, has no port, or was removed waits, and is not lost: it is
taken up when the node is back.
"""

from __future__ import annotations

import os
import queue
import random
import signal
import socket
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from gatekeeper.atna.reporter import Reporter
from gatekeeper.atna.transfers import Transfers
from gatekeeper.errors import ConfigurationError
from gatekeeper.log import error_name, get_logger
from gatekeeper.notify.messenger import Messenger
from gatekeeper.send.attempt import Desk, deliver
from gatekeeper.send.errands import Errands, Office
from gatekeeper.send.transports import NodeTransport
from gatekeeper.settings import SendSettings, Settings, TlsSettings
from gatekeeper.tls import Credentials
from storage import backoff, deliveries, nodes
from storage.engine import Database, DatabaseUnavailableError
from storage.records import Delivery, Node
from storage.spool import Spool

_LONGEST_PAUSE_SECONDS = 30.0

log = get_logger()


@dataclass(slots=True)
class _UnderWay:
    delivery: Delivery
    lost: bool = False
    """Set when a heartbeat found the claim to be another's."""


class Sender:
    """Drains the delivery table until told to stop.

    Args:
        desk: database, spool, transport and limits.
        name: who claims, unique among running senders.
    """

    def __init__(self, desk: Desk, name: str) -> None:
        self._desk = desk
        self._name = name
        self._stopping = False
        self._under_way: dict[str, _UnderWay] = {}
        self._missing: set[str] = set()
        self._next_beat = 0.0
        # Its put may be called from a signal handler, which an Event's set may not.
        self._events: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    @property
    def _settings(self) -> SendSettings:
        return self._desk.settings

    def stop(self) -> None:
        """Ask `run` to end; safe from a signal handler or another thread."""
        self._stopping = True
        self._events.put(None)

    def run(self) -> None:
        """Claim and send until `stop`, then let the instances under way finish, for a while."""
        troubles = 0
        while not self._stopping:
            try:
                self._beat()
                claimed = self._claim()
                troubles = 0
            except DatabaseUnavailableError as error:
                claimed = False
                troubles += 1
                log.error("database_unavailable", role="send", error=error_name(error))
            if not claimed:
                self._wait(self._pause(troubles))
        log.info("stopping", role="send", pid=os.getpid())
        deadline = time.monotonic() + self._settings.stop_seconds
        while self._under_way and time.monotonic() < deadline:
            self._wait(deadline - time.monotonic())

    def _pause(self, troubles: int) -> float:
        if not troubles:
            return self._settings.poll_seconds
        jitter = random.Random()  # noqa: S311
        return backoff.delay(troubles, self._settings.poll_seconds, _LONGEST_PAUSE_SECONDS, jitter)

    def _wait(self, seconds: float) -> None:
        """Wait for an attempt to end or for `stop`, and forget attempts that ended."""
        try:
            ended = self._events.get(timeout=max(0.0, seconds))
            while True:
                if ended is not None:
                    del self._under_way[ended]
                ended = self._events.get_nowait()
        except queue.Empty:
            return

    def _beat(self) -> None:
        """Hold the claims under way; three times a lease."""
        now = time.monotonic()
        if now < self._next_beat:
            return
        self._next_beat = now + self._settings.lease_seconds / 3
        if not self._under_way:
            return
        with self._desk.database.begin() as tx:
            for item in self._under_way.values():
                delivery = item.delivery
                if not deliveries.heartbeat(
                    tx, delivery.id, delivery.attempt, self._settings.lease_seconds
                ):
                    item.lost = True

    def _claim(self) -> bool:
        """Claim one delivery and start on it; False when there is none to claim."""
        if len(self._under_way) >= self._settings.destinations:
            return False
        with self._desk.database.read() as tx:
            known = nodes.listing(tx)
        usable = {node.ae_title: node for node in known if node.enabled and node.port}
        unusable = {node.ae_title for node in known} - set(usable)
        self._missing -= set(usable)
        left_alone = sorted(set(self._under_way) | unusable | self._missing)
        with self._desk.database.begin() as tx:
            delivery = deliveries.claim(tx, self._name, self._settings.lease_seconds, left_alone)
            if delivery is None:
                return False
            node = usable.get(delivery.node)
            if node is None:
                reason = f"node {delivery.node} is not known: waits until it is added again"
                deliveries.fail(tx, delivery.id, delivery.attempt, reason, 0.0)
        if node is None:
            self._missing.add(delivery.node)
            log.warning("node_missing", node=delivery.node, delivery=delivery.id)
        else:
            self._start(delivery, node)
        return True

    def _start(self, delivery: Delivery, node: Node) -> None:
        item = _UnderWay(delivery)
        self._under_way[delivery.node] = item
        thread = threading.Thread(
            target=self._attempt, args=(item, node), name=f"send-{delivery.id}", daemon=True
        )
        thread.start()

    def _attempt(self, item: _UnderWay, node: Node) -> None:
        try:
            deliver(self._desk, item.delivery, node, lambda: self._stopping or item.lost)
        finally:
            self._events.put(item.delivery.node)


def serve(settings: Settings) -> None:
    """Run the sender until SIGTERM or SIGINT; the body of `gatekeeper send`.

    Raises:
        ConfigurationError, DatabaseUnavailableError, OSError: if it cannot start.
    """
    database = Database.connect(settings.database.url, settings.database.lock_seconds)
    try:
        database.migrate()
        transport = NodeTransport(settings, credentials_of(settings.tls))
        spool = Spool(Path(settings.spool.directory))
        desk = Desk(database, spool, transport, settings.send, Transfers(settings))
        name = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        sender = Sender(desk, name)
        errands = Errands(Office(database, desk.spool, settings), name, failed=sender.stop)
        messenger = Messenger(database, settings, name)
        reporter = Reporter(database, settings, name)

        def stop(_number: int, _frame: FrameType | None) -> None:
            sender.stop()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        threading.excepthook = _thread_failed
        log.info("started", role="send", pid=os.getpid(), worker=name)
        errands.start()
        messenger.start()
        reporter.start()
        sender.run()
        errands.stop(settings.send.stop_seconds)
        messenger.stop(settings.send.stop_seconds)
        reporter.stop(settings.send.stop_seconds)
        if errands.failed:
            raise SystemExit(1)
        log.info("stopped", role="send", pid=os.getpid())
    finally:
        database.dispose()


def credentials_of(settings: TlsSettings) -> Credentials:
    """Return what nodes that need TLS are called with; the other nodes do not wait for it."""
    credentials = Credentials(settings)
    if settings.configured:
        try:
            credentials.check(server=False)
        except ConfigurationError as error:
            log.error("tls_not_usable", role="send", reason=str(error))
    return credentials


def _thread_failed(failure: threading.ExceptHookArgs) -> None:
    """Log an error that nobody foresaw; the lease of its delivery runs out."""
    error = failure.exc_value
    log.error("attempt_failed", error="" if error is None else error_name(error))
