"""Settings of DICOM audit messages: where they go, how, and how long and how many wait."""

from __future__ import annotations

from dataclasses import dataclass

from gatekeeper.settings.documented import setting


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """DICOM audit messages (PS3.15 A.5) to the site's audit repository, by syslog."""

    host: str = setting("", "audit repository; empty means that no audit message is made")
    port: int = setting(6514, "its port", minimum=1, maximum=65535)
    protocol: str = setting(
        "tls",
        "how syslog travels: by TLS with the files of [tls] (RFC 5425), or by UDP (RFC 5426), "
        "which nobody confirms and anybody can read",
        choices=("tls", "udp"),
    )
    certificate: str = setting(
        "",
        "SHA-256 fingerprint of the repository's certificate, when it is to be this one and need "
        "not name the host",
    )
    close_notify: bool = setting(
        True,
        "whether a batch counts as taken only after the repository's own close_notify (RFC 5425 "
        "4.4); false takes any orderly end of the connection for that, as for receivers that send "
        "none, such as rsyslog with its gtls driver",
    )
    facility: int = setting(
        10,
        "syslog facility (RFC 5424 6.2.1); 10 is security and authorization",
        minimum=0,
        maximum=23,
    )
    source: str = setting("", "AuditSourceID of the messages; empty means listen.ae_title")
    enterprise_site: str = setting("", "AuditEnterpriseSiteID of the messages; empty for none")
    queries: bool = setting(
        True,
        "whether DICOMweb queries are audited; the message holds the query, which may name "
        "patients",
    )
    repeat_seconds: float = setting(
        60.0,
        "time in which the same refused node, or the same retrieval of one study by one caller, is "
        "one message",
        unit="s",
        minimum=1,
        maximum=86400,
    )
    datagram_bytes: int = setting(
        32768,
        "largest message by UDP; a larger one is set aside as dead",
        unit="bytes",
        minimum=480,
        maximum=65507,
    )
    backlog: int = setting(
        100_000,
        "most messages that wait; one that finds so many is not kept, but counted and told of",
        minimum=100,
        maximum=10_000_000,
    )
    at_once: int = setting(
        50,
        "messages sent over one connection, and rows looked at in one tick",
        minimum=1,
        maximum=1000,
    )
    connect_timeout: float = setting(
        10.0, "wait for the TCP connection", unit="s", minimum=0.1, maximum=600
    )
    attempt_seconds: float = setting(
        30.0,
        "longest time for one connection from its beginning on",
        unit="s",
        minimum=0.1,
        maximum=600,
    )
    poll_seconds: float = setting(
        2.0, "wait between looks at an empty outbox", unit="s", minimum=0.05, maximum=60
    )
    maximum_attempts: int = setting(
        500,
        "attempts before a message is set aside as dead; with the delays below, three days",
        minimum=1,
        maximum=10000,
    )
    retry_seconds: float = setting(
        5.0, "delay before the second attempt; doubles each time", unit="s", minimum=0
    )
    retry_maximum_seconds: float = setting(
        600.0, "longest delay between attempts", unit="s", minimum=0
    )
    keep_days: float = setting(
        7.0, "how long what was sent or given up stays on record", unit="days", minimum=0.01
    )

    @property
    def enabled(self) -> bool:
        """Whether audit messages are made."""
        return bool(self.host)

    @property
    def lease_seconds(self) -> float:
        """How long a claim holds: longer than an attempt can take, looking up names included."""
        return self.connect_timeout + self.attempt_seconds + 60.0
