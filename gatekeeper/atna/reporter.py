"""The reporter: sends the audit messages that wait, the oldest first, beside the deliveries.

One batch is under way at a time. A claim needs no heartbeat: an attempt is cut at its deadline,
which is well before the lease ends. While the repository does not take what it is sent, batches are
tried with growing pauses; each message has its own end, after which it is dead, on record, and
counted by `gatekeeper status` and `gatekeeper audit messages`.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence

from gatekeeper.atna import line, syslog
from gatekeeper.errors import TransportError
from gatekeeper.log import error_name, get_logger
from gatekeeper.send.retrying import delay_after, growing
from gatekeeper.settings import Settings
from gatekeeper.tls import Credentials
from storage import audit_messages, failpoint
from storage.engine import Database, DatabaseUnavailableError
from storage.records import AuditMessage

log = get_logger()


class Reporter:
    """Sends what is due until told to stop.

    Args:
        database: where the outbox is.
        settings: ``[audit]`` and ``[tls]``.
        name: who claims, unique among running senders.
    """

    def __init__(self, database: Database, settings: Settings, name: str) -> None:
        self._database = database
        self._settings = settings
        self._name = name
        self._credentials = Credentials(settings.tls)
        self._host = socket.getfqdn()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)

    def start(self) -> None:
        """Start, unless audit messages are off."""
        if self._settings.audit.enabled:
            self._thread.start()

    def stop(self, seconds: float) -> None:
        """Claim nothing more, and let what is under way end, for so long at most."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def send_some(self) -> bool | None:
        """Send one batch; return whether the repository took it, or None when none is due.

        Raises:
            DatabaseUnavailableError: if the database could not answer; what was claimed is taken up
                again when its lease ends.
        """
        audit = self._settings.audit
        with self._database.read() as tx:
            if not audit_messages.is_due(tx):
                return None
        with self._database.begin() as tx:
            claimed = audit_messages.claim(tx, self._name, audit.lease_seconds, audit.at_once)
        if not claimed:
            return None
        lines = {one.id: self._line(one) for one in claimed}
        unfit = {
            number
            for number, text in lines.items()
            if audit.protocol == "udp" and len(text) > audit.datagram_bytes
        }
        fit = [one for one in claimed if one.id not in unfit]
        reason = self._try([lines[one.id] for one in fit]) if fit else None
        failpoint.reached("reporter.sent")
        with self._database.begin() as tx:
            for one in claimed:
                if one.id in unfit:
                    text = f"over {audit.datagram_bytes} bytes, which no datagram takes"
                    audit_messages.fail(tx, one.id, one.attempt, text, None)
                elif reason is None:
                    audit_messages.sent(tx, one.id, one.attempt)
                else:
                    delay = delay_after(
                        one.attempt - one.attempts_before, audit.maximum_attempts, audit
                    )
                    audit_messages.fail(tx, one.id, one.attempt, reason, delay)
        self._tell(claimed, len(unfit), reason)
        return reason is None

    def _run(self) -> None:
        audit = self._settings.audit
        failures = 0
        while not self._stopping.is_set():
            try:
                taken = self.send_some()
            except DatabaseUnavailableError as error:
                log.error("database_unavailable", role="send", error=error_name(error))
                taken = None
            if taken is None:
                self._stopping.wait(audit.poll_seconds)
                continue
            failures = 0 if taken else failures + 1
            if failures:
                pause = growing(failures, audit.retry_seconds, audit.retry_maximum_seconds)
                self._stopping.wait(max(pause, audit.poll_seconds))

    def _line(self, one: AuditMessage) -> bytes:
        facility = self._settings.audit.facility
        return syslog.line(one.content, one.happened_at, one.severity, facility, self._host)

    def _try(self, lines: Sequence[bytes]) -> str | None:
        """Return why the repository did not take messages, or None."""
        try:
            line.send(lines, self._settings.audit, self._credentials)
        except TransportError as error:
            return str(error)
        return None

    def _tell(self, claimed: Sequence[AuditMessage], unfit: int, reason: str | None) -> None:
        if unfit:
            log.error("audit_messages_dead", count=unfit, reason="too long for a datagram")
        sent = len(claimed) - unfit
        if reason is None:
            log.info("audit_messages_sent", count=sent)
            return
        limit = self._settings.audit.maximum_attempts
        dead = sum(one.attempt - one.attempts_before >= limit for one in claimed) - unfit
        if dead > 0:
            log.error("audit_messages_dead", count=dead, reason=reason)
        log.warning("audit_messages_failed", count=sent, reason=reason)
