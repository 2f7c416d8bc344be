"""Settings of notifications: the mail server, webhooks, and how often and how long is tried."""

from __future__ import annotations

from dataclasses import dataclass

from gatekeeper.settings.documented import setting


@dataclass(frozen=True, slots=True)
class NotifySettings:
    """Telling people what happens: e-mail and signed webhooks. Channels are in the database."""

    smtp_host: str = setting("", "mail server; empty means that no e-mail can be sent")
    smtp_port: int = setting(587, "its port", minimum=1, maximum=65535)
    smtp_tls: str = setting(
        "starttls",
        "TLS to the mail server, its certificate verified: after STARTTLS, from the start (tls), "
        "or none; there is no fallback to plain text",
        choices=("starttls", "tls", "none"),
    )
    smtp_user: str = setting("", "user at the mail server; empty logs in as nobody")
    smtp_password: str = setting(
        "", "its password; from the environment, or from a file that only the service may read"
    )
    from_address: str = setting("", "sender of e-mails, an address that the mail server takes")
    webhook_key: str = setting(
        "",
        "secret that signs webhooks, at least 32 characters; from the environment, or from a file "
        "that only the service may read",
    )
    plain_hosts: tuple[str, ...] = setting(
        (), "hosts whose webhooks may be called by http; all others by https alone"
    )
    ca: str = setting(
        "",
        "PEM file of the CA certificates that the mail server and webhooks must lead to; empty "
        "means those of the operating system",
    )
    connect_timeout: float = setting(
        10.0, "wait for the TCP connection", unit="s", minimum=0.1, maximum=600
    )
    attempt_seconds: float = setting(
        30.0, "longest time for one message from connecting on", unit="s", minimum=0.1, maximum=600
    )
    poll_seconds: float = setting(
        2.0, "wait between looks at an empty outbox", unit="s", minimum=0.05, maximum=60
    )
    at_once: int = setting(8, "channels sent to at once, one message each", minimum=1, maximum=100)
    maximum_attempts: int = setting(
        12, "attempts before a notification is set aside as dead", minimum=1, maximum=1000
    )
    retry_seconds: float = setting(
        30.0, "delay before the second attempt; doubles each time", unit="s", minimum=0
    )
    retry_maximum_seconds: float = setting(
        3600.0, "longest delay between attempts", unit="s", minimum=0
    )
    hourly: int = setting(
        20,
        "most messages to a channel in any hour; the last one that it has room for is a digest of "
        "everything that waits",
        minimum=1,
        maximum=10000,
    )
    digest_lines: int = setting(
        50,
        "notifications that a digest names one by one; the rest are counted",
        minimum=1,
        maximum=1000,
    )
    keep_days: float = setting(
        90.0,
        "how long what was sent or given up stays on record; as long, the same event is told once",
        unit="days",
        minimum=1,
    )

    @property
    def lease_seconds(self) -> float:
        """How long a claim holds: longer than an attempt can take, looking up names included."""
        return self.connect_timeout + self.attempt_seconds + 60.0
