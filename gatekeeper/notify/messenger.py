"""The messenger: sends what waits in the outbox, beside the deliveries and delaying none.

Each channel has a thread of its own and one message under way, so that a dead one delays no other.
A claim needs no heartbeat: an attempt is cut at its deadline, which is well before the lease ends.
A message is sent at least once: what is cut off between the receiver's answer and our commit is
sent again under the same delivery id.
"""

from __future__ import annotations

import threading
import time

from gatekeeper.errors import ConfigurationError, TransportError
from gatekeeper.log import error_name, get_logger
from gatekeeper.notify import mail, webhook
from gatekeeper.notify.render import Message, render
from gatekeeper.send.retrying import delay_after
from gatekeeper.settings import NotifySettings, Settings
from storage import channels, failpoint, notifications
from storage.engine import Database, DatabaseUnavailableError
from storage.records import Channel, ChannelKind, Notification

log = get_logger()


class Messenger:
    """Sends what is due until told to stop.

    Args:
        database: where the outbox is.
        settings: ``[notify]`` and our AE title.
        name: who claims, unique among running senders.
    """

    def __init__(self, database: Database, settings: Settings, name: str) -> None:
        self._database = database
        self._settings = settings
        self._name = name
        self._stopping = threading.Event()
        self._busy: dict[str, threading.Thread] = {}
        self._thread = threading.Thread(target=self._run, name="messenger", daemon=True)

    def start(self) -> None:
        """Start."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Claim nothing more, and let what is under way end, for so long at most."""
        deadline = time.monotonic() + seconds
        self._stopping.set()
        for thread in (self._thread, *self._busy.values()):
            thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._busy = {name: one for name, one in self._busy.items() if one.is_alive()}
            try:
                started = self._start_some()
            except DatabaseUnavailableError as error:
                log.error("database_unavailable", role="send", error=error_name(error))
                started = False
            if not started:
                self._stopping.wait(self._settings.notify.poll_seconds)

    def _start_some(self) -> bool:
        """Start on one message of each channel that has one; False when there was none."""
        limits = self._settings.notify
        with self._database.read() as tx:
            known = {one.name: one for one in channels.listing(tx)}
            due = [
                name
                for name in notifications.due_channels(tx)
                if name not in self._busy
                and (name not in known or known[name].enabled)
                and notifications.room(tx, name, limits.hourly)
            ]
        started = False
        for name in due:
            if len(self._busy) >= limits.at_once or self._stopping.is_set():
                break
            with self._database.begin() as tx:
                claimed = notifications.claim(
                    tx, name, self._name, limits.lease_seconds, limits.hourly
                )
            if claimed is not None:
                self._start(claimed, known.get(name))
                started = True
        return started

    def _start(self, claimed: Notification, channel: Channel | None) -> None:
        thread = threading.Thread(
            target=attempt,
            args=(self._database, self._settings, claimed, channel),
            name=f"notify-{claimed.id}",
            daemon=True,
        )
        self._busy[claimed.channel] = thread
        thread.start()


def attempt(
    database: Database, settings: Settings, claimed: Notification, channel: Channel | None
) -> None:
    """Make one attempt at a claimed notification, and end its claim.

    A database that cannot be reached ends the attempt; the lease then runs out and the
    notification is taken up again.
    """
    limits = settings.notify
    known = log.bind(notification=claimed.id, channel=claimed.channel, attempt=claimed.attempt)
    try:
        if channel is None:
            reason: str | None = f"channel {claimed.channel} is not known"
            delay = None
        else:
            reason = _send(database, settings, claimed, channel)
            made = claimed.attempt - claimed.attempts_before
            delay = delay_after(made, limits.maximum_attempts, limits)
        failpoint.reached("messenger.sent")
        with database.begin() as tx:
            if reason is None:
                held = notifications.sent(tx, claimed.id, claimed.attempt)
            else:
                held = notifications.fail(tx, claimed.id, claimed.attempt, reason, delay)
    except DatabaseUnavailableError as error:
        known.error("notification_abandoned", error=error_name(error))
        return
    if not held:
        known.warning("notification_taken_over")
    elif reason is None:
        known.info("notification_sent")
    elif delay is None:
        known.error("notification_dead", reason=reason)
    else:
        known.warning("notification_failed", reason=reason, seconds=round(delay, 1))


def deliver(message: Message, channel: Channel, settings: NotifySettings) -> None:
    """Hand a message to a channel.

    Raises:
        ConfigurationError: if the settings or the channel's address do not allow it.
        TransportError: if it was not taken.
    """
    transport = mail.send if channel.kind is ChannelKind.EMAIL else webhook.send
    transport(message, channel.address, settings)


def _send(
    database: Database, settings: Settings, claimed: Notification, channel: Channel
) -> str | None:
    """Send a notification; return why the channel did not take it, or None."""
    with database.read() as tx:
        members = notifications.gathered(tx, claimed.id)
    site, lines = settings.listen.ae_title, settings.notify.digest_lines
    message = render(claimed, channel.details, site, members, lines)
    try:
        deliver(message, channel, settings.notify)
    except (ConfigurationError, TransportError) as error:
        return str(error)
    return None
