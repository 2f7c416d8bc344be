"""Settings of the metrics that the web role gives out."""

from __future__ import annotations

from dataclasses import dataclass

from gatekeeper.settings.documented import setting


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """Metrics for Prometheus, at /metrics of the web role; health at /health and /ready."""

    networks: tuple[str, ...] = setting(
        ("127.0.0.0/8", "::1/128"),
        "networks whose callers get the metrics without a token, unless they come through a proxy "
        "that says so; others need a token with the scope metrics",
    )
    cache_seconds: float = setting(
        5.0,
        "how long collected metrics are given out again, to whoever asks",
        unit="s",
        minimum=0,
        maximum=300,
    )
    wait_seconds: float = setting(
        8.0,
        "longest wait for metrics to be collected, and for the checks of /ready; then 503",
        unit="s",
        minimum=0.1,
        maximum=300,
    )
    maximum_devices: int = setting(
        200,
        "different AE titles, and processes, that are told apart; the rest are one, (other)",
        minimum=1,
        maximum=10000,
    )
    maximum_rows: int = setting(
        20000,
        "most rows of new instances that one collection reads; the rest is for the next",
        minimum=100,
        maximum=1000000,
    )
    flush_seconds: float = setting(
        5.0,
        "how often a listener writes its counts into the spool, for the web role to read",
        unit="s",
        minimum=0.05,
        maximum=60,
    )
